"""Images in memory: arrays, alone or with labels."""

import functools
import math
from typing import Any

import numpy as np
import tensorflow as tf

from selfsup_tf.data.decode import HELD
from selfsup_tf.data.indexed import IndexedSource
from selfsup_tf.data.source import Reading, SourceKind, fingerprint
from selfsup_tf.errors import InputError, check

_BLOCK_BYTES = 2**22  # images gathered by one op; many ops for little work are slow
_CLASSES = 2**20  # more than any data have: labels beyond are other numbers
_PIXELS = 64  # of each image, at least, that are looked at to tell it from others
_CHUNK = 1024  # float images converted at once: a whole copy in float would be 4 times


def array_source(
    name: str,
    images: np.ndarray,
    *,
    labels: np.ndarray | None = None,
    class_names: tuple[str, ...] | None = None,
) -> IndexedSource:
    """Makes a source of images held in memory, never as a constant of a graph.

    Args:
        name: For logs.
        images: uint8 (N, H, W, 1) or (N, H, W, 3).
        labels: int64 (N,), or None.
        class_names: Of the labels.
    """
    with tf.device("/CPU:0"):
        table = tf.convert_to_tensor(images)
    shape = (*table.shape[1:3], 3)

    def images_at(indices: tf.Tensor) -> tf.Tensor:
        found = tf.gather(table, indices)
        return found if found.shape[-1] == 3 else tf.image.grayscale_to_rgb(found)

    @functools.cache
    def identify(indices: bytes) -> str:
        chosen = np.frombuffer(indices, np.int64)
        return fingerprint(table.numpy(), labels, class_names, chosen)

    def digest() -> str:
        pixels = tf.reshape(table, (table.shape[0], -1))
        # An odd step, so that neither one channel nor one column is all that is seen.
        few = pixels[:, :: pixels.shape[1] // _PIXELS | 1].numpy()
        return fingerprint(tuple(table.shape), few)

    return IndexedSource(
        name,
        len(images),
        images_at,
        lambda indices: identify(indices.tobytes()),
        labels=labels,
        class_names=class_names,
        image_shape=shape,
        block=max(1, min(256, _BLOCK_BYTES // math.prod(shape))),
        digest=digest,
    )


def check_whole(split: str) -> None:
    """Raises InputError for any split but train."""
    check(
        split == "train",
        "the split train, which is all that arrays and datasets have",
        repr(split),
        "Leave the split out, or give the images of that split.",
    )


def from_arrays(
    images: Any, labels: Any = None, *, name: str = "arrays", num_classes: int = 0
) -> IndexedSource:
    """Checks arrays and makes a source of them.

    Args:
        images: (N, H, W), (N, H, W, 1) or (N, H, W, 3); uint8, uint16, or floats in
            [0, 1].
        labels: Integers (N,) or (N, 1), or None.
        name: For logs.
        num_classes: The least number of classes, for a part that lacks some.

    Raises:
        InputError: The arrays are not of these shapes, dtypes and ranges.
    """
    images = as_bytes(check_images(images))
    if labels is None:
        return array_source(name, images)
    labels = check_labels(labels, len(images))
    num_classes = max(num_classes, int(labels.max()) + 1)
    return array_source(
        name, images, labels=labels, class_names=tuple(map(str, range(num_classes)))
    )


def check_images(images: Any) -> np.ndarray:
    """Checks images and brings them to (N, H, W, C), with C 1 or 3.

    Raises:
        InputError: Their shape or dtype is another.
    """
    expected = "images of shape (N, H, W, 3), (N, H, W, 1) or (N, H, W)"
    try:
        images = np.asarray(images)
    except ValueError as error:
        advice = "Give images of one size, or a folder of files."
        raise InputError(expected, str(error), advice) from error
    shape = images.shape
    received = f"shape {shape}, dtype {images.dtype}"
    if images.ndim == 3 and shape[-1] in (1, 3, 4):
        raise InputError(expected, received, "For a single image, give x[None].")
    check(images.ndim in (3, 4), expected, received, "Stack the images along axis 0.")
    images = images[..., None] if images.ndim == 3 else images
    if images.shape[-1] not in (1, 3):
        advice = "Grey or RGB is needed; drop an alpha channel with x[..., :3]."
        if images.shape[1] in (1, 3):
            advice = "Put the channels last: np.moveaxis(x, 1, -1)."
        raise InputError(expected, received, advice)
    check(images.size > 0, "at least one image", received, "Give images that exist.")
    check(
        images.dtype in (np.uint8, np.uint16)
        or np.issubdtype(images.dtype, np.floating),
        "images of dtype uint8 or uint16, or floats in [0, 1]",
        received,
        'If the values are within [0, 255], use x.astype("uint8").',
    )
    return images


def as_bytes(images: np.ndarray) -> np.ndarray:
    """Converts images to uint8.

    Floats in [0, 1] are multiplied by 255 and rounded. Of an image of 16 bits the upper
    8 are kept of the fewest that hold its largest value, as `decode_image` does.

    Raises:
        InputError: A float is NaN or outside [0, 1].
    """
    if images.dtype == np.uint8:
        return images
    result = np.empty(images.shape, np.uint8)
    if images.dtype == np.uint16:
        for image, scaled in zip(images, result, strict=True):
            bits = HELD[np.argmax(image.max() < 2**HELD)]
            scaled[:] = image >> (bits - 8)
        return result
    low, high = np.inf, -np.inf
    for start in range(0, len(images), _CHUNK):
        chunk = images[start : start + _CHUNK].astype(np.float32)
        low, high = np.minimum(low, chunk.min()), np.maximum(high, chunk.max())
        if low >= 0 and high <= 1:
            result[start : start + _CHUNK] = np.rint(chunk * 255)
    check(
        not np.isnan(low),
        "images of finite numbers",
        "NaN among them",
        "Find them with np.isnan(x).any((1, 2, 3)), and leave those images out.",
    )
    check(
        low >= 0 and high <= 1,
        "floats in [0, 1]",
        f"values from {low:g} to {high:g}",
        "Divide by 255, or whatever brings them into [0, 1], or give uint8.",
    )
    return result


def check_labels(labels: Any, size: int) -> np.ndarray:
    """Checks labels and converts them to int64 (N,).

    Raises:
        InputError: They are not N integers of 0 or more.
    """
    labels = np.asarray(labels)
    received = f"shape {labels.shape}, dtype {labels.dtype}"
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    check(
        labels.ndim == 1,
        "labels of shape (N,)",
        received,
        "From one-hot rows, take y.argmax(-1).",
    )
    check(
        len(labels) == size,
        f"a label for each of the {size} images",
        f"{len(labels)} labels",
        "Give images and labels of one length.",
    )
    check(
        np.issubdtype(labels.dtype, np.integer),
        "integer labels",
        received,
        'Use y.astype("int64"); for names, np.unique(y, return_inverse=True)[1].',
    )
    check(
        labels.min() >= 0 and labels.max() < _CLASSES,
        f"labels that count classes from 0, below {_CLASSES}",
        f"labels from {labels.min()} to {labels.max()}",
        "Number them with np.unique(y, return_inverse=True)[1], or give no labels.",
    )
    return labels.astype(np.int64)


def _open(data: Any, split: str, reading: Reading) -> IndexedSource:
    check_whole(split)
    if not isinstance(data, tuple):
        return from_arrays(data)
    check(
        len(data) == 2,
        "a tuple (images, labels)",
        f"a tuple of {len(data)}",
        "Give images alone, or with their labels.",
    )
    return from_arrays(*data)


SOURCE = SourceKind(
    takes="an array of images or (images, labels)",
    recognises=lambda data, _: isinstance(data, np.ndarray | tf.Tensor | list | tuple),
    open=_open,
    from_python=True,
)
