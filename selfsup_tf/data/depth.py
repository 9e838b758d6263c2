"""Images of 16 bits and of floats in the 8 bits that everything is learned from."""

import numpy as np
import tensorflow as tf

from selfsup_tf.errors import check

# Bits that cameras and scanners give, in images of 16.
_HELD = np.array([8, 10, 12, 14, 16], np.int32)
_CHUNK = 1024  # float images converted at once: a whole copy in float would be 4 times


def to_bytes(deep: tf.Tensor) -> tf.Tensor:
    """An image of 16 bits in 8: the upper ones of the fewest that hold all of it."""
    unused = tf.cast(held_by(deep) - 8, tf.uint16)
    return tf.cast(tf.bitwise.right_shift(deep, unused), tf.uint8)


def held_by(values: tf.Tensor) -> tf.Tensor:
    """The fewest bits of 8, 10, 12, 14 and 16 that hold an image of 16, int32 ()."""
    largest = tf.reduce_max(tf.cast(values, tf.int32))
    return tf.reduce_min(tf.where(largest < 2**_HELD, _HELD, 16))


def as_bytes(images: np.ndarray) -> np.ndarray:
    """Converts images to uint8.

    Floats in [0, 1] are multiplied by 255 and rounded. Of an image of 16 bits the upper
    8 are kept of the fewest that hold its largest value, as `to_bytes` does.

    Raises:
        InputError: A float is NaN or outside [0, 1].
    """
    if images.dtype == np.uint8:
        return images
    result = np.empty(images.shape, np.uint8)
    if images.dtype == np.uint16:
        for image, scaled in zip(images, result, strict=True):
            bits = _HELD[np.argmax(image.max() < 2**_HELD)]
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
