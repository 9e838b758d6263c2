"""Images in memory: arrays, alone or with labels."""

import functools
import math
from typing import Any

import numpy as np
import tensorflow as tf

from selfsup_tf.data.channels import MOST, choose_channels, to_channels
from selfsup_tf.data.depth import as_bytes
from selfsup_tf.data.indexed import IndexedSource
from selfsup_tf.data.source import Reading, SourceKind, fingerprint
from selfsup_tf.errors import InputError, check

_BLOCK_BYTES = 2**22  # images gathered by one op; many ops for little work are slow
_CLASSES = 2**20  # more than any data have: labels beyond are other numbers
_PIXELS = 64  # of each image, at least, that are looked at to tell it from others
ALPHA = ("If the fourth channel is an alpha channel, drop it: x[..., :3].",)


def array_source(
    name: str,
    images: np.ndarray,
    *,
    labels: np.ndarray | None = None,
    class_names: tuple[str, ...] | None = None,
    channels: int | None = None,
) -> IndexedSource:
    """Makes a source of images held in memory, never as a constant of a graph.

    Args:
        name: For logs.
        images: uint8 (N, H, W, C).
        labels: int64 (N,), or None.
        class_names: Of the labels.
        channels: See `Reading`.

    Raises:
        InputError: Images of so many channels can't be made of these.
    """
    with tf.device("/CPU:0"):
        table = tf.convert_to_tensor(images)
    height, width, found = table.shape[1:]
    shape = (height, width, choose_channels(found, channels, name))

    def images_at(indices: tf.Tensor) -> tf.Tensor:
        return to_channels(tf.gather(table, indices), shape[-1])

    @functools.cache
    def identify(indices: bytes) -> str:
        chosen = np.frombuffer(indices, np.int64)
        other = [] if shape[-1] == (3 if found == 1 else found) else [shape[-1]]
        return fingerprint(table.numpy(), labels, class_names, chosen, *other)

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
        channels=shape[-1],
        image_shape=shape,
        notes=ALPHA if found == 4 else (),
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
    images: Any,
    labels: Any = None,
    *,
    name: str = "arrays",
    num_classes: int = 0,
    channels: int | None = None,
) -> IndexedSource:
    """Checks arrays and makes a source of them.

    Args:
        images: (N, H, W) or (N, H, W, C), C from 1 to 16; uint8, uint16, or floats in
            [0, 1].
        labels: Integers (N,) or (N, 1), -1 for an image without one; or None.
        name: For logs.
        num_classes: The least number of classes, for a part that lacks some.
        channels: See `Reading`.

    Raises:
        InputError: The arrays are not of these shapes, dtypes and ranges.
    """
    images = as_bytes(check_images(images))
    if labels is None:
        return array_source(name, images, channels=channels)
    labels = check_labels(labels, len(images))
    num_classes = max(num_classes, int(labels.max()) + 1)
    return array_source(
        name,
        images,
        labels=labels,
        class_names=tuple(map(str, range(num_classes))),
        channels=channels,
    )


def check_images(images: Any) -> np.ndarray:
    """Checks images and brings them to (N, H, W, C).

    Raises:
        InputError: Their shape or dtype is another.
    """
    expected = f"images of shape (N, H, W) or (N, H, W, C), C from 1 to {MOST}"
    try:
        images = np.asarray(images)
    except ValueError as error:
        advice = "Give images of one size, or a folder of files."
        raise InputError(expected, str(error), advice) from error
    shape = images.shape
    received = f"shape {shape}, dtype {images.dtype}"
    is_cube = images.ndim == 3 and shape[0] == shape[1] > MOST >= shape[2]
    if is_cube or (images.ndim == 3 and shape[-1] in (1, 3, 4)):
        raise InputError(expected, received, "For a single image, give x[None].")
    check(images.ndim in (3, 4), expected, received, "Stack the images along axis 0.")
    images = images[..., None] if images.ndim == 3 else images
    _, first, *_, last = images.shape
    is_first = first <= MOST and last == images.shape[2] != first
    if last > MOST or is_first:
        advice = f"Choose the channels that matter: x[..., :{MOST}]."
        if first <= MOST:
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
        labels.min() >= -1 and 0 <= labels.max() < _CLASSES,
        f"labels that count classes from 0, below {_CLASSES}, or -1 for none",
        f"labels from {labels.min()} to {labels.max()}",
        "Number them with np.unique(y, return_inverse=True)[1], or give no labels.",
    )
    return labels.astype(np.int64)


def _open(data: Any, split: str, reading: Reading) -> IndexedSource:
    check_whole(split)
    if not isinstance(data, tuple):
        return from_arrays(data, channels=reading.channels)
    check(
        len(data) == 2,
        "a tuple (images, labels)",
        f"a tuple of {len(data)}",
        "Give images alone, or with their labels.",
    )
    return from_arrays(*data, channels=reading.channels)


SOURCE = SourceKind(
    takes="an array of images or (images, labels)",
    recognises=lambda data, _: isinstance(data, np.ndarray | tf.Tensor | list | tuple),
    open=_open,
    from_python=True,
)
