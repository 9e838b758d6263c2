"""Images in memory."""

import functools
import math
from typing import Any

import numpy as np
import tensorflow as tf

from selfsup_tf.data.source import (
    Count,
    Share,
    Source,
    counted,
    fingerprint,
    index_blocks,
    left,
    on_host,
)
from selfsup_tf.errors import InputError, check

_BLOCK_BYTES = 2**22  # images gathered by one op; many ops for little work are slow
_CLASSES = 2**20  # more than any data have: labels beyond are other numbers
_CHUNK = 1024  # float images converted at once: a whole copy in float would be 4 times


class ArraySource(Source):
    """Images held in memory as one tensor, never as a constant of a graph.

    Args:
        name: For logs.
        images: uint8 (N, H, W, 1) or (N, H, W, 3).
        labels: int64 (N,), or None.
        class_names: Of the labels.
        indices: int64 (size,), rising: the elements of this part; None for all.
    """

    def __init__(
        self,
        name: str,
        images: np.ndarray | tf.Tensor,
        *,
        labels: np.ndarray | None = None,
        class_names: tuple[str, ...] | None = None,
        indices: np.ndarray | None = None,
    ):
        with tf.device("/CPU:0"):
            self._images = tf.convert_to_tensor(images)
        self._labels = labels
        self._class_names = class_names
        self.name = name
        self.indices = np.arange(len(images)) if indices is None else indices
        self.labelled = labels is not None
        self.image_shape = (*self._images.shape[1:3], 3)

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the classes, or None."""
        return self._class_names

    @property
    def labels(self) -> np.ndarray | None:
        """Labels, int64 (size,), or None."""
        return self._labels[self.indices] if self.labelled else None

    @functools.cached_property
    def fingerprint(self) -> str:
        """Of the bytes of all images."""
        return fingerprint(
            self._images.numpy(), self._labels, self._class_names, self.indices
        )

    def ordered(self, *, labels: bool = True) -> tf.data.Dataset:
        """See `Source.ordered`."""
        return self._read(labels)

    def shuffled(
        self,
        *,
        seed: int,
        epoch: Count,
        start: Count = 0,
        labels: bool = True,
        share: Share | None = None,
    ) -> tf.data.Dataset:
        """See `Source.shuffled`."""
        return self._read(labels, key=(seed, epoch), start=start, share=share)

    def select(self, indices: np.ndarray, name: str) -> "ArraySource":
        """See `Source.select`. The images are shared, not copied."""
        return ArraySource(
            name,
            self._images,
            labels=self._labels,
            class_names=self._class_names,
            indices=indices,
        )

    def _read(
        self,
        labels: bool,
        *,
        key: tuple[int, Count] | None = None,
        start: Count = 0,
        share: Share | None = None,
    ) -> tf.data.Dataset:
        block = max(1, min(256, _BLOCK_BYTES // math.prod(self.image_shape)))
        blocks = index_blocks(
            self.indices, block=block, key=key, start=start, share=share
        )
        table = None
        if labels and self.labelled:
            table = on_host(self._labels, tf.int64)

        def take(indices: tf.Tensor) -> dict[str, tf.Tensor]:
            images = tf.gather(self._images, indices)
            if images.shape[-1] == 1:
                images = tf.image.grayscale_to_rgb(images)
            element = {"image": images, "index": indices}
            if table is not None:
                element["label"] = tf.gather(table, indices)
            return element

        elements = blocks.map(take, num_parallel_calls=tf.data.AUTOTUNE).unbatch()
        return counted(elements, left(self.size, start, share))


def from_arrays(
    images: Any, labels: Any = None, *, name: str = "arrays", num_classes: int = 0
) -> ArraySource:
    """A source over arrays, which are checked first.

    Args:
        images: (N, H, W), (N, H, W, 1) or (N, H, W, 3); uint8, or floats in [0, 1].
        labels: Integers (N,) or (N, 1), or None.
        name: For logs.
        num_classes: The least number of classes, for a part that lacks some.

    Raises:
        InputError: The arrays are not of these shapes, dtypes and ranges.
    """
    images = as_bytes(check_images(images))
    if labels is None:
        return ArraySource(name, images)
    labels = check_labels(labels, len(images))
    num_classes = max(num_classes, int(labels.max()) + 1)
    return ArraySource(
        name, images, labels=labels, class_names=tuple(map(str, range(num_classes)))
    )


def check_images(images: Any) -> np.ndarray:
    """The images as (N, H, W, C), with C 1 or 3, dtype uint8 or a float.

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
        images.dtype == np.uint8 or np.issubdtype(images.dtype, np.floating),
        "images of dtype uint8, or floats in [0, 1]",
        received,
        'If the values are within [0, 255], use x.astype("uint8").',
    )
    return images


def as_bytes(images: np.ndarray) -> np.ndarray:
    """Images as uint8; floats in [0, 1] are multiplied by 255 and rounded.

    Raises:
        InputError: A float is NaN or outside [0, 1].
    """
    if images.dtype == np.uint8:
        return images
    result = np.empty(images.shape, np.uint8)
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
    """The labels as int64 (N,).

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
