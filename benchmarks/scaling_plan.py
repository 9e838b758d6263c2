"""What a run of ResNet-50 at 224 px needs, in memory and between devices: arithmetic.

python benchmarks/scaling_plan.py
python benchmarks/scaling_plan.py --batch_sizes=8192 --devices 8 64 --memories 24 80

Nothing is trained: the numbers follow from the model that the recipe imagenet_v2 of
SimCLR builds (two views, projector 2048-2048-128, LARS). GB are 10^9 bytes.

Memory of a device:

  state        weights, LARS's velocity and gradients, float32; with accumulate also the
               sum of the gradients
  views        of this step and of the one that is prefetched, float32. They are there
               whole, also with accumulate
  activations  what the backward pass needs of the forward pass, each tensor once: the
               input of each Conv2D, Dense and BatchNormalization, the output of each
               ReLU, both of MaxPooling2D. Mixed precision keeps BatchNormalization's
               input in float32, in which Keras computes it. With remat: the inputs of
               the blocks so far and twice what one block keeps, for its gradients
               are as large, at the worst block
  outputs      with accumulate: representations and projections of all micro-batches,
               and the gradients by them
  logits       of NT-Xent: PLAIN_COPIES of 2 N times 2 G, or TILE_COPIES of a tile

Workspaces of convolutions, gradients of activations and what TensorFlow itself takes
are not in it: --spare of the memory is left for them. K is the smallest power of two
for --accumulate that fits, "-" where none does.

Between devices, for each device and step: the bytes that a ring all-reduce sends,
2 (R - 1) / R of the tensor. Gradients are float32. NT-Xent's gather is an all-reduce of
(G, 128) for each view, and its gradient another. A synchronised BatchNormalization of C
channels sums 3 C numbers forward and 2 C backward; remat goes forward twice, and
accumulate=K, which is not in the table, does it 2 K times forward and K times backward.
"""

import argparse
import math
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from kept_activations import kept_activations, leaves

from selfsup_tf.config import EncoderConfig
from selfsup_tf.methods import find_method
from selfsup_tf.models.rematerialisation import rematerialised
from simclr_tf.log_sum_exp import PLAIN_LOGITS, TILE_LOGITS

VIEWS = 2
FLOAT32 = 4
PLAIN_COPIES, TILE_COPIES = 3, 4
"""Of the logits that live at once (simclr_tf/log_sum_exp.py)."""
PRECISIONS = ("float32", "mixed_bfloat16")
GB, MIB = 10**9, 2**20


def main() -> None:
    """Prints the tables."""
    flags = _parse_flags()
    networks = {name: _Network(name, flags.image_size) for name in PRECISIONS}
    _print_network(networks, flags)
    for batch_size in flags.batch_sizes:
        _print_memory(networks, flags, batch_size)
    _print_traffic(networks["float32"], flags)
    _print_check()


def _parse_flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--image_size", default=224, type=int)
    parser.add_argument("--batch_sizes", nargs="+", default=[4096, 32768], type=int)
    parser.add_argument("--devices", nargs="+", default=[1, 8, 16, 32, 128], type=int)
    parser.add_argument(
        "--memories", nargs="+", default=[16, 32, 80, 141], type=int, help="GB"
    )
    parser.add_argument("--spare", default=0.1, type=float, help="share left free")
    return parser.parse_args()


class _Network:
    """The model of a run, and bytes that are read off it."""

    def __init__(self, precision, image_size, recipe="imagenet_v2", **overrides):
        package = find_method("simclr")
        config = package.recipe(recipe)(
            precision=precision, image_size=image_size, **overrides
        )
        method = package.load()(config)
        method.build()
        model = method.model
        count = [math.prod(v.shape) for v in method.trainable_variables]
        self.parameters = sum(count)
        self.encoder_parameters = method.encoder.count_params()
        self.view = FLOAT32 * image_size**2 * 3
        self.features = model.output["projection_1"].shape[-1]
        self.outputs = self.features + model.output["representation_1"].shape[-1]
        self.channels = [
            math.prod(layer.gamma.shape)
            for layer in leaves(model)
            if isinstance(layer, keras.layers.BatchNormalization)
        ]
        self.plain = VIEWS * kept_activations(model).total
        self.remat = VIEWS * kept_activations(rematerialised(model)).peak

    def state(self, accumulate):
        copies = 4 if accumulate > 1 else 3
        return copies * FLOAT32 * self.parameters

    def need(self, images, batch_size, accumulate, *, remat):
        """Bytes on a device that has so many of the batch's images."""
        activations = self.remat if remat else self.plain
        kept = 2 * VIEWS * FLOAT32 * self.outputs if accumulate > 1 else 0
        return (
            self.state(accumulate)
            + 2 * VIEWS * images * self.view
            + images // accumulate * activations
            + images * kept
            + _logits(images, batch_size)[-1]
        )

    def accumulate(self, images, batch_size, memory, *, remat):
        """The smallest K that fits, or None."""
        count = 1
        while images % count == 0:
            if self.need(images, batch_size, count, remat=remat) <= memory:
                return count
            count *= 2
        return None


def _logits(images, batch_size):
    """Candidates in a tile, None for all; and the bytes of the logits."""
    rows, columns = VIEWS * images, VIEWS * batch_size
    if rows * columns <= PLAIN_LOGITS:
        return None, PLAIN_COPIES * FLOAT32 * rows * columns
    tile = math.ceil(columns / math.ceil(rows * columns / TILE_LOGITS))
    return tile, TILE_COPIES * FLOAT32 * rows * tile


def _print_network(networks, flags):
    network = networks["float32"]
    print(
        f"ResNet-50, {flags.image_size} px, SimCLR: {network.parameters:,} trainable "
        f"parameters\n{network.encoder_parameters:,} numbers in the encoder, moving "
        f"statistics included\nState: {network.state(1) / GB:.2f} GB, "
        f"{network.state(2) / GB:.2f} GB with accumulate. "
        f"Views: {VIEWS * network.view / 1e6:.2f} MB for an image and step\n"
    )
    print("Activations for an image, two views, MB")
    print(f"{'precision':18}{'plain':>8}{'remat':>8}{'ratio':>7}")
    for name, network in networks.items():
        plain, remat = network.plain / 1e6, network.remat / 1e6
        print(f"{name:18}{plain:8.1f}{remat:8.1f}{remat / plain:7.2f}")


def _print_memory(networks, flags, batch_size):
    sizes = "".join(f"{size:4}" for size in flags.memories)
    print(
        f"\nBatch {batch_size:,}: GB on a device, and the K that fits it into so many "
        "GB\n"
        f"{'devices':>7}{'images':>8}  {'layers in':10}{'views':>5}"
        f"{'plain':>8}{'remat':>8}   K:{sizes}   remat:{sizes}"
    )
    for devices in flags.devices:
        for name, network in networks.items():
            images = batch_size // devices
            cells = ""
            for remat in (False, True):
                need = network.need(images, batch_size, 1, remat=remat)
                cells += f"{need / GB:8.1f}"
            print(
                f"{devices:7}{images:8}  {name.removeprefix('mixed_'):10}"
                f"{2 * VIEWS * images * network.view / GB:5.1f}{cells}"
                f"     {_counts(network, flags, images, batch_size, remat=False)}"
                f"         {_counts(network, flags, images, batch_size, remat=True)}"
            )


def _counts(network, flags, images, batch_size, *, remat):
    counts = [
        network.accumulate(
            images, batch_size, size * GB * (1 - flags.spare), remat=remat
        )
        for size in flags.memories
    ]
    return "".join(f"{count or '-':>4}" for count in counts)


def _print_traffic(network, flags):
    channels = sum(network.channels)
    print(
        f"\nSent by each device in a step, MB; {len(network.channels)} "
        f"BatchNormalizations of {channels:,} channels together; NT-Xent\n"
        f"{'batch':>7}{'devices':>9}{'gradients':>11}{'statistics':>12}{'+ remat':>9}"
        f"{'gather':>8}  {'logits':>13}{'tile':>6}{'MB':>5}{'MB plain':>10}"
    )
    for batch_size in flags.batch_sizes:
        for devices in flags.devices:
            ring = 2 * (devices - 1) / devices / 1e6
            images = batch_size // devices
            rows, columns = VIEWS * images, VIEWS * batch_size
            tile, logits = _logits(images, batch_size)
            gather = 2 * VIEWS * FLOAT32 * batch_size * network.features
            print(
                f"{batch_size:7}{devices:9}"
                f"{ring * FLOAT32 * network.parameters:11.1f}"
                f"{ring * FLOAT32 * 5 * channels:12.2f}"
                f"{ring * FLOAT32 * 8 * channels:9.2f}"
                f"{ring * gather:8.1f}  {f'{rows} x {columns}':>13}{tile or '-':>6}"
                f"{logits / 1e6:5.0f}"
                f"{PLAIN_COPIES * FLOAT32 * rows * columns / 1e6:10.0f}"
            )


def _print_check():
    """The cases that benchmarks/rematerialisation.py measures, by the same rule."""
    encoders = {
        "resnet50:1.0:imagenet:64:64": EncoderConfig(name="resnet50"),
        "resnet18:0.25:small_stride2:32:256": EncoderConfig(
            name="resnet18", width=0.25, stem="small_stride2"
        ),
    }
    print(
        "\nTo compare with benchmarks/rematerialisation.py: activations, MiB\n"
        f"{'encoder':40}{'precision':16}{'plain':>9}{'remat':>9}{'ratio':>7}"
    )
    for case, encoder in encoders.items():
        image_size, batch_size = map(int, case.split(":")[-2:])
        for precision in PRECISIONS:
            network = _Network(precision, image_size, "cifar10_cpu", encoder=encoder)
            plain = batch_size * network.plain / MIB
            remat = batch_size * network.remat / MIB
            print(
                f"{case:40}{precision:16}{plain:9.0f}{remat:9.0f}{remat / plain:7.2f}"
            )


if __name__ == "__main__":
    main()
