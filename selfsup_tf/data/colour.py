"""What pixels become: pure operations on batches, with one parameter for each image.

All take images (N, H, W, C) float32 in [0, 1] and parameters (N,) float32. They don't
clip, except where said. Saturation, hue and luma are of RGB.

What is fastest under XLA on a CPU differs between a batch of small images and a single
large one, which is why some are written twice; benchmarks/input_pipeline.py times both.
"""

import math

import tensorflow as tf

from selfsup_tf.data import geometry

OF_RGB = ("saturation", "hue", "grayscale")
"""The operations that images of other than three channels are spared."""

# Below this, two channels of an image of 8 bits are equal.
_TINY = 1e-12
_LUMA = (0.2989, 0.587, 0.114)


def applies(operation: str, images: tf.Tensor) -> bool:
    """Whether images (N, H, W, C) have the channels that an operation is of."""
    return operation not in OF_RGB or images.shape[-1] == 3


def scale_brightness(images: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Multiplies every pixel."""
    return images * _each(factor)


def shift_brightness(images: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    """Adds to every pixel, as `tf.image.adjust_brightness`."""
    return images + _each(shift)


def adjust_contrast(images: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Scales about the mean of each channel, as `tf.image.adjust_contrast`."""
    mean = _channel_means(images)
    return (images - mean) * _each(factor) + mean


def _channel_means(images: tf.Tensor) -> tf.Tensor:
    """(N, 1, 1, C).

    Parts of the image are added to one another first, in vectors: where channels come
    last, XLA adds what is left number by number.
    """
    count, height, width, channels = images.shape
    if None in (height, width):
        return tf.reduce_mean(images, axis=(1, 2), keepdims=True)
    parts = math.gcd(height, 8)
    shape = [count or tf.shape(images)[0], parts, height // parts, width, channels]
    total = tf.add_n(tf.unstack(tf.reshape(images, shape), axis=1))
    return tf.reduce_sum(total, axis=(1, 2), keepdims=True) / (height * width)


def adjust_saturation(images: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Scales S of HSV up to 1, as `tf.image.adjust_saturation`.

    V stays, and each channel lies V S below it in proportion, so no hue is needed.
    """
    value, chroma = _value_and_chroma(tf.unstack(images, axis=-1))
    factor = tf.minimum(_each(factor)[..., 0], value / tf.maximum(chroma, _TINY))
    value, factor = value[..., tf.newaxis], factor[..., tf.newaxis]
    return value - (value - images) * factor


def adjust_hue(images: tf.Tensor, turns: tf.Tensor) -> tf.Tensor:
    """Shifts H of HSV by parts of a turn, as `tf.image.adjust_hue`."""
    red, green, blue = channels = tf.unstack(images, axis=-1)
    value, chroma = _value_and_chroma(channels)
    per_chroma = 1 / tf.maximum(chroma, _TINY)
    sextant = tf.where(
        (red >= green) & (red >= blue),
        (green - blue) * per_chroma,
        tf.where(
            green >= blue,
            (blue - red) * per_chroma + 2,
            (red - green) * per_chroma + 4,
        ),
    )
    hue = sextant * (1 / 6) + _each(turns)[..., 0]

    def channel(value, chroma, hue, offset):
        # A remainder by floor, since XLA takes ten times as long for a modulo.
        turn = hue + offset
        turn = turn - tf.floor(turn)
        share = tf.clip_by_value(tf.abs(6 * turn - 3) - 1, 0.0, 1.0)
        return value - chroma * (1 - share)

    offsets, parts = (0.0, 4 / 6, 2 / 6), (value, chroma, hue)
    if images.shape[0] == 1:
        # The channels of a pixel fill vectors, though each computes the hue anew.
        parts = (part[..., tf.newaxis] for part in parts)
        return channel(*parts, tf.constant(offsets))
    return tf.stack([channel(*parts, offset) for offset in offsets], axis=-1)


def to_grayscale(images: tf.Tensor) -> tf.Tensor:
    """All three channels replaced by the luma."""
    return tf.concat([luma(images)] * 3, axis=-1)


def luma(images: tf.Tensor) -> tf.Tensor:
    """The grey of RGB, (..., 1), as `tf.image.rgb_to_grayscale`."""
    red, green, blue = tf.unstack(images, axis=-1)
    return (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue)[..., tf.newaxis]


def solarize(images: tf.Tensor, threshold: float) -> tf.Tensor:
    """Inverts the pixels at or above the threshold, channel by channel."""
    return tf.where(images >= threshold, 1 - images, images)


def gaussian_blur(images: tf.Tensor, sigma: tf.Tensor, taps: int) -> tf.Tensor:
    """Blurs with a Gaussian of `taps` pixels, cut off and normalised.

    The image is padded with zeros, which darkens its border, as the reference does
    (google-research/simclr, tf2/data_util.py gaussian_blur, padding="SAME").

    Args:
        images: (N, H, W, C) float32.
        sigma: (N,) standard deviations in pixels, above 0.
        taps: Length of the kernel, odd.
    """
    count, height, width, channels = images.shape
    if count == 1 and 1 < taps <= min(height, width) // 2:
        lines = tf.reshape(images, [1, height * width * channels])
        lines = _blur_along(lines, sigma, taps, height, width * channels)
        lines = tf.reshape(lines, [height, width * channels])
        lines = _blur_along(lines, sigma, taps, width, channels)
        return tf.reshape(lines, images.shape)
    rows = _band_matrix(height, sigma, taps)
    columns = rows if height == width else _band_matrix(width, sigma, taps)
    return geometry.multiply_rows_and_columns(images, rows, columns)


def _blur_along(
    lines: tf.Tensor, sigma: tf.Tensor, taps: int, length: int, step: int
) -> tf.Tensor:
    """Blurs lines (L, length * step) of pixels that lie `step` numbers apart.

    Shifted copies are added up, which XLA turns into vectors. It does not where it has
    to ask of every number whether it is padding, so that the pixels whose kernel
    reaches over an end are a product with a small matrix. The kernel is symmetric.
    """
    reach = taps // 2
    inside, near = length - 2 * reach, 2 * reach

    def shifted(by):
        return lines[:, by * step : (by + inside) * step]

    weights = _band_matrix(near + 1, sigma, taps)[0, reach]
    middle = shifted(reach) * weights[reach]
    for tap in range(reach):
        middle += (shifted(tap) + shifted(near - tap)) * weights[tap]

    ends = _band_matrix(near, sigma, taps)[0]

    def end(pixels, rows):
        pixels = tf.reshape(pixels, [-1, near, step])
        return tf.reshape(rows @ pixels, [-1, reach * step])

    first = end(lines[:, : near * step], ends[:reach])
    last = end(lines[:, -near * step :], ends[reach:])
    return tf.concat([first, middle, last], axis=1)


def _band_matrix(length: int, sigma: tf.Tensor, taps: int) -> tf.Tensor:
    """(N, length, length): row i holds the kernel centred on pixel i."""
    reach = taps // 2
    sigma = sigma[:, tf.newaxis]
    offsets = tf.range(-reach, reach + 1, dtype=tf.float32)
    total = tf.reduce_sum(tf.exp(-0.5 * (offsets / sigma) ** 2), -1, keepdims=True)
    pixel = tf.range(length, dtype=tf.float32)
    distance = tf.abs(pixel[:, tf.newaxis] - pixel)
    sigma, total = sigma[:, :, tf.newaxis], total[:, :, tf.newaxis]
    weights = tf.exp(-0.5 * (distance / sigma) ** 2) / total
    return tf.where(distance <= reach, weights, 0.0)


def _each(parameter: tf.Tensor) -> tf.Tensor:
    """(N,) as (N, 1, 1, 1)."""
    return parameter[:, tf.newaxis, tf.newaxis, tf.newaxis]


def _value_and_chroma(channels: list[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    """V of HSV, and how far the smallest channel lies below it, (N, H, W)."""
    red, green, blue = channels
    value = tf.maximum(tf.maximum(red, green), blue)
    return value, value - tf.minimum(tf.minimum(red, green), blue)
