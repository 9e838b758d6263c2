"""Pairs of SimCLR's views a second by the packages that PyTorch's users take.

`input_pipeline.py --peers` runs this file in an environment of its own:

    python benchmarks/input_pipeline_peers.py FOLDER --peer=lightly --blur=0.5

Each makes the views of `ViewConfig()`: a crop of 8 to 100 % by torchvision's law,
bicubic; flip; jitter .8, .8, .8, .2 of four images in five; one in five without
colours; blur of 23 pixels, sigma .1 to 2. lightly's are those of its SimCLRTransform,
which resizes bilinearly and blurs as far as sigma asks. JPEG files are read from the
folder, batches come from a DataLoader with a worker for each core.
"""

import argparse
import itertools
import os
import pathlib
import time

import torch

_JITTER = {"brightness": 0.8, "contrast": 0.8, "saturation": 0.8, "hue": 0.2}
_AREA, _ASPECT, _SIGMA, _TAPS = (0.08, 1.0), (3 / 4, 4 / 3), (0.1, 2.0), 23


class _Pairs(torch.utils.data.Dataset):
    """Pairs of views of files, over and over."""

    def __init__(self, folder, read, view):
        files = itertools.chain(
            *(pathlib.Path(folder).rglob(f"*.{end}") for end in ("jpg", "jpeg", "JPEG"))
        )
        self.files = sorted(map(str, files))
        self.read, self.view = read, view

    def __len__(self):
        return 10**7

    def __getitem__(self, index):
        image = self.read(self.files[index % len(self.files)])
        return self.view(image), self.view(image)


def albumentations(folder, size, blur, scale=True):
    """Views of float32 in [0, 1]; `scale=False` leaves bytes, to be scaled later."""
    import albumentations as A
    import cv2
    from albumentations.pytorch import ToTensorV2

    cv2.setNumThreads(0)

    def read(path):
        return cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)

    operations = [
        A.RandomResizedCrop(
            (size, size), scale=_AREA, ratio=_ASPECT, interpolation=cv2.INTER_CUBIC
        ),
        A.HorizontalFlip(p=0.5),
        A.ColorJitter(**_JITTER, p=0.8),
        A.ToGray(p=0.2),
    ]
    if blur:
        limits = {"blur_limit": (_TAPS, _TAPS), "sigma_limit": _SIGMA}
        operations.append(A.GaussianBlur(**limits, p=blur))
    if scale:
        operations.append(A.ToFloat(max_value=255))
    compose = A.Compose([*operations, ToTensorV2()])
    return _Pairs(folder, read, lambda image: compose(image=image)["image"])


def albumentations_bytes(folder, size, blur):
    """Views of bytes."""
    return albumentations(folder, size, blur, scale=False)


def lightly(folder, size, blur):
    """Its SimCLRTransform and LightlyDataset, as its documentation shows them."""
    from lightly.data import LightlyDataset
    from lightly.transforms import SimCLRTransform

    transform = SimCLRTransform(
        input_size=size, gaussian_blur=blur, sigmas=_SIGMA, normalize=None
    )
    return LightlyDataset(str(folder), transform=transform)


def torchvision(folder, size, blur):
    """Its transforms v2, of tensors of bytes."""
    import PIL.Image
    from torchvision.transforms import v2

    operations = [
        v2.RandomResizedCrop(
            size, _AREA, _ASPECT, v2.InterpolationMode.BICUBIC, antialias=True
        ),
        v2.RandomHorizontalFlip(),
        v2.RandomApply([v2.ColorJitter(**_JITTER)], 0.8),
        v2.RandomGrayscale(0.2),
    ]
    if blur:
        operations.append(v2.RandomApply([v2.GaussianBlur(_TAPS, _SIGMA)], blur))
    compose = v2.Compose([*operations, v2.ToDtype(torch.float32, scale=True)])

    def read(path):
        with PIL.Image.open(path) as image:
            return v2.functional.pil_to_tensor(image.convert("RGB"))

    return _Pairs(folder, read, compose)


PEERS = {
    peer.__name__: peer
    for peer in (albumentations, albumentations_bytes, lightly, torchvision)
}


def main() -> None:
    """Prints the rate alone."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--peer", choices=PEERS, required=True)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--blur", type=float, default=0.5)
    parser.add_argument("--seconds", type=float, default=5.0)
    flags = parser.parse_args()
    dataset = PEERS[flags.peer](flags.folder, flags.size, flags.blur)
    # Without an end, at which workers would start anew.
    endless = torch.utils.data.RandomSampler(
        dataset, replacement=True, num_samples=10**7
    )
    batches = iter(
        torch.utils.data.DataLoader(
            dataset,
            batch_size=flags.batch_size,
            num_workers=os.cpu_count(),
            sampler=endless,
        )
    )
    start = time.perf_counter()
    while time.perf_counter() - start < 2:
        next(batches)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < flags.seconds:
        next(batches)
        count += flags.batch_size
    print(count / (time.perf_counter() - start))


if __name__ == "__main__":
    main()
