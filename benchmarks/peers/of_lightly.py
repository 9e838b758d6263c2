"""SimCLR and BYOL by lightly, as its documentation shows them; `race.py` runs this.

    python benchmarks/peers/of_lightly.py SETTINGS.json

SETTINGS names the method and all constants, an .npz of images (`train` and `test`,
uint8, with `train_labels` and `test_labels`) and where to write: OUT.json, what was
measured, and OUT.npz, the representations at the end. With `every`, epochs, there are
OUT_STEP.npz of `bank` and `test` on the way, too, and a run that was stopped goes on
from the last of them, its order of images and its views drawn anew.

The parts are lightly's: transforms, losses, heads, schedules, the momentum update and
the k-NN. The loops are the examples of its documentation, in plain PyTorch, with what
makes PyTorch faster on few cores: `threads` of its own, and channels_last.
"""

import copy
import json
import math
import pathlib
import sys
import time

import numpy as np
import torch
from lightly.loss import NegativeCosineSimilarity, NTXentLoss
from lightly.models import ResNetGenerator
from lightly.models.modules import (
    BYOLPredictionHead,
    BYOLProjectionHead,
    SimCLRProjectionHead,
)
from lightly.models.utils import deactivate_requires_grad, update_momentum
from lightly.transforms import BYOLTransform, SimCLRTransform
from lightly.transforms.byol_transform import BYOLView1Transform, BYOLView2Transform
from lightly.utils.benchmarking import knn_predict
from lightly.utils.scheduler import CosineWarmupScheduler, cosine_schedule
from PIL import Image
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR


class Views(torch.utils.data.Dataset):
    """Views of images that are in memory."""

    def __init__(self, images, transform):
        self.images, self.transform = images, transform

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.transform(Image.fromarray(self.images[index]))


class Backbone(nn.Module):
    """lightly's ResNet-18 up to its average; its first layer may take every other
    pixel.
    """

    def __init__(self, width, stride, zero_init):
        super().__init__()
        net = ResNetGenerator("resnet-18", width=width)
        if stride != 1:
            planes = net.conv1.out_channels
            net.conv1 = nn.Conv2d(3, planes, 3, stride=stride, padding=1, bias=False)
        self.first = nn.Sequential(net.conv1, net.bn1, nn.ReLU())
        self.blocks = nn.Sequential(net.layer1, net.layer2, net.layer3, net.layer4)
        self.size = net.linear.in_features
        if zero_init:  # of the last BatchNorm of each residual block
            for block in (block for layer in self.blocks for block in layer):
                nn.init.zeros_(block.bn2.weight)

    def forward(self, x):
        return self.blocks(self.first(x)).mean(dim=(2, 3))


class SimCLR(nn.Module):
    """https://docs.lightly.ai/self-supervised-learning/examples/simclr.html"""

    def __init__(self, backbone, settings):
        super().__init__()
        self.backbone = backbone
        hidden, out = settings["projector"]
        norm = settings["batch_norm"]
        self.projection_head = SimCLRProjectionHead(
            backbone.size, hidden, out, batch_norm=norm
        )
        self.criterion = NTXentLoss(temperature=settings["temperature"])

    def loss(self, view_1, view_2, step, total):
        z = [self.projection_head(self.backbone(x)) for x in (view_1, view_2)]
        return self.criterion(*z)


class BYOL(nn.Module):
    """https://docs.lightly.ai/self-supervised-learning/examples/byol.html"""

    def __init__(self, backbone, settings):
        super().__init__()
        self.backbone = backbone
        hidden, out = settings["projector"]
        self.projection_head = BYOLProjectionHead(backbone.size, hidden, out)
        hidden, out = settings["predictor"]
        self.prediction_head = BYOLPredictionHead(out, hidden, out)
        self.backbone_momentum = copy.deepcopy(self.backbone)
        self.projection_head_momentum = copy.deepcopy(self.projection_head)
        deactivate_requires_grad(self.backbone_momentum)
        deactivate_requires_grad(self.projection_head_momentum)
        self.criterion = NegativeCosineSimilarity()
        self.taus = settings["base_tau"], settings["final_tau"]

    def loss(self, view_1, view_2, step, total):
        tau = cosine_schedule(step, total, *self.taus)
        update_momentum(self.backbone, self.backbone_momentum, m=tau)
        update_momentum(self.projection_head, self.projection_head_momentum, m=tau)
        p, z = [], []
        for x in (view_1, view_2):
            p.append(self.prediction_head(self.projection_head(self.backbone(x))))
            with torch.no_grad():
                y = self.backbone_momentum(x)
                z.append(self.projection_head_momentum(y).detach())
        return 0.5 * (self.criterion(p[0], z[1]) + self.criterion(p[1], z[0]))


def make_transform(settings):
    """The views; of BYOL's only the second is solarized."""
    common = settings["views"] | {"normalize": settings["normalize"]}
    if settings["method"] == "simclr":
        return SimCLRTransform(**common)
    return BYOLTransform(
        BYOLView1Transform(**common, solarization_prob=0.0),
        BYOLView2Transform(**common, solarization_prob=settings["solarize"]),
    )


@torch.no_grad()
def represent(backbone, images, normalize):
    """Representations of images as they are, (N, D) float32."""
    backbone.eval()
    mean, std = (torch.tensor(normalize[key]).view(3, 1, 1) for key in ("mean", "std"))
    parts = []
    for start in range(0, len(images), 500):
        x = torch.from_numpy(images[start : start + 500]).permute(0, 3, 1, 2) / 255.0
        parts.append(backbone((x - mean) / std).numpy())
    backbone.train()
    return np.concatenate(parts)


def accuracy(train, train_labels, test, test_labels):
    """Of the k-NN of lightly: k 200, T .1."""
    bank = nn.functional.normalize(torch.from_numpy(train), dim=1).T.contiguous()
    queries = nn.functional.normalize(torch.from_numpy(test), dim=1)
    labels, found = torch.from_numpy(train_labels), []
    for part in queries.split(500):
        found.append(knn_predict(part, bank, labels, int(labels.max()) + 1)[:, 0])
    return float((torch.cat(found).numpy() == test_labels).mean())


class OnTheWay:
    """Representations, and a state to go on from, every so many steps."""

    def __init__(self, settings, data, steps_per_epoch, parts):
        self.out = pathlib.Path(settings["out"])
        self.every = round(settings.get("every", 0) * steps_per_epoch)
        self.data, self.parts, self.settings = data, parts, settings
        self.file = self.out.with_suffix(".state")

    def restore(self):
        """The steps and seconds that are behind."""
        if not (self.every and self.file.is_file()):
            return 0, 0.0
        state = torch.load(self.file)
        for part, values in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(values)
        for drawn in (torch.manual_seed, np.random.seed):  # not again as at the start
            drawn(self.settings["seed"] + state["step"])
        return state["step"], state["seconds"]

    def keep(self, backbone, step, seconds):
        """Where the time has come."""
        if not self.every or step % self.every:
            return
        parts = {
            part: represent(backbone, self.data[part], self.settings["normalize"])
            for part in ("bank", "test")
        }
        np.savez(self.out.with_name(f"{self.out.name}_{step}.npz"), **parts)
        states = [part.state_dict() for part in self.parts]
        beside = self.file.with_suffix(".part")
        torch.save({"step": step, "seconds": seconds, "parts": states}, beside)
        beside.replace(self.file)


def main():
    """Trains, and judges at the end; the time of judging is not counted."""
    settings = json.loads(pathlib.Path(sys.argv[1]).read_text())
    torch.set_num_threads(settings["threads"])
    torch.manual_seed(settings["seed"])
    np.random.seed(settings["seed"])  # some transforms draw from it
    with np.load(settings["images"]) as file:
        data = {name: file[name] for name in file.files}
    parts = (settings[name] for name in ("width", "stride", "zero_init"))
    backbone = Backbone(*parts)
    method = {"simclr": SimCLR, "byol": BYOL}[settings["method"]](backbone, settings)
    in_memory = {"memory_format": torch.channels_last}
    method.to(**in_memory)
    batch = settings["batch_size"]
    loader = torch.utils.data.DataLoader(
        Views(data["train"], make_transform(settings)),
        batch_size=batch,
        shuffle=True,
        drop_last=True,
        num_workers=settings["workers"],
        persistent_workers=settings["workers"] > 0,
    )
    steps_per_epoch = len(loader)
    total = round(settings["epochs"] * steps_per_epoch)
    learned = [p for p in method.parameters() if p.requires_grad]
    spared = [p for p in learned if p.ndim < 2 and not settings["decay_all"]]
    decayed = [p for p in learned if p.ndim >= 2 or settings["decay_all"]]
    optimizer = torch.optim.SGD(
        [{"params": decayed}, {"params": spared, "weight_decay": 0.0}],
        lr=settings["learning_rate"],
        momentum=settings["momentum"],
        weight_decay=settings["weight_decay"],
    )
    if settings["by_epoch"]:
        by_step = None
        by_epoch = CosineAnnealingLR(optimizer, math.ceil(settings["epochs"]))
    else:
        by_step = CosineWarmupScheduler(
            optimizer,
            warmup_epochs=round(settings["warmup_epochs"] * steps_per_epoch),
            max_epochs=total,
            end_value=0.0,
        )
        by_epoch = None
    schedule = by_step or by_epoch
    way = OnTheWay(settings, data, steps_per_epoch, (method, optimizer, schedule))
    step, seconds = way.restore()
    losses, start = [], time.perf_counter() - seconds
    while step < total:
        for views in loader:
            views = (view.to(**in_memory) for view in views)
            loss = method.loss(*views, step, total)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if by_step:
                by_step.step()
            losses.append(loss.item())
            step += 1
            seconds = time.perf_counter() - start
            way.keep(backbone, step, seconds)
            start = time.perf_counter() - seconds
            if step == total:
                break
        if by_epoch:
            by_epoch.step()
    h, queries = (
        represent(backbone, data[part], settings["normalize"])
        for part in ("train", "test")
    )
    found = {
        "epochs": step * batch / len(data["train"]),
        "seconds": seconds,
        "loss": float(np.mean(losses[-10:])),
        "their_knn": accuracy(h, data["train_labels"], queries, data["test_labels"]),
    }
    out = pathlib.Path(settings["out"])
    np.savez(out.with_suffix(".npz"), train=h, test=queries)
    out.with_suffix(".json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
