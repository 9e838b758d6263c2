"""Channels of images: three as a rule, one where a run asks for it, or up to 16.

Grey and RGB stand for each other. Images of any other number are learned from as they
are: nothing here knows what their channels mean.
"""

import numpy as np
import tensorflow as tf

from selfsup_tf.data import colour
from selfsup_tf.data.decode import decode_image
from selfsup_tf.errors import check

MOST = 16
INTERCHANGEABLE = (1, 3)
"""Grey and RGB, which are made of each other."""


def choose_channels(found: int, asked: int | None, name: str) -> int:
    """How many channels images are read with: as asked, else 3 of grey, else their own.

    Args:
        found: As they are stored.
        asked: By the run, or by the network that is to see them; None for no wish.
        name: Of the images.

    Raises:
        InputError: There are too many, or the two numbers don't fit.
    """
    check(
        1 <= found <= MOST,
        f"images of 1 to {MOST} channels",
        f"{found} in {name}",
        f"Choose those that matter: x[..., :{MOST}].",
    )
    channels = asked or (3 if found == 1 else found)
    check(
        channels == found or {channels, found} <= set(INTERCHANGEABLE),
        f"images of {counted(channels)}",
        f"{found} in {name}",
        f"Use --channels={found}, or images and an encoder of one number of channels.",
    )
    return channels


def counted(channels: int) -> str:
    """The number within a sentence: 1 channel, 5 channels."""
    return f"{channels} channel{'s' * (channels > 1)}"


def to_channels(images: tf.Tensor, channels: int) -> tf.Tensor:
    """Makes RGB of grey by repeating it, and grey of RGB by its luma, rounded.

    Args:
        images: uint8 (..., C), C being `channels`, or 1 or 3.
        channels: The number wanted.
    """
    found = images.shape[-1]
    if found == channels:
        return images
    if found == 1:
        return tf.repeat(images, channels, axis=-1)
    luma = colour.luma(tf.cast(images, tf.float32))
    return tf.cast(tf.round(luma), tf.uint8)


def decode_channels(contents: tf.Tensor, channels: int, *, exif: bool) -> tf.Tensor:
    """Decodes a file as `decode_image` does, to uint8 (H, W, channels).

    Of other numbers than 1 and 3 it is a PNG of `planes`.
    """
    if channels in INTERCHANGEABLE:
        return to_channels(decode_image(contents, exif=exif), channels)
    stacked = tf.io.decode_png(contents, channels=1)
    image = tf.reshape(stacked, (channels, -1, tf.shape(stacked)[1]))
    return tf.transpose(image, (1, 2, 0))


def planes(image: np.ndarray) -> np.ndarray:
    """The channels of an image (H, W, C), one below the other: (C H, W)."""
    return np.moveaxis(image, -1, 0).reshape(-1, image.shape[1])


def to_picture(images: np.ndarray | tf.Tensor) -> np.ndarray:
    """What is shown of images (..., C): the first three channels, or the first in grey.

    Returns:
        (..., 3) of the same dtype.
    """
    images = np.asarray(images)
    shown = [0, 1, 2] if images.shape[-1] >= 3 else [0, 0, 0]
    return images[..., shown]
