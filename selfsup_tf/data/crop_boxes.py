"""Where crops lie: boxes as a pure function of uniform draws, by three laws.

A box is (y, x, height, width) in whole pixels, int32. The laws of the references differ
in how large their crops are (see `crop_boxes`), which is a strength of augmentation.
"""

import math

import tensorflow as tf

from selfsup_tf.data import random

_ATTEMPTS = 10
_DISTORTED_ATTEMPTS = 100
# tf.image.sample_distorted_bounding_box as SimCLR calls it: min_object_covered, the
# object being the whole image. So no crop is smaller, whatever its area's lower bound.
_COVERED = 0.1


def crop_draws(law: str) -> int:
    """Uniform draws that `crop_boxes` takes for an image."""
    return 2 * _LAWS[law][1] + 2


def crop_boxes(
    draws: tf.Tensor,
    shape: tuple,
    *,
    area: tuple[float, float],
    aspect: tuple[float, float],
    law: str = "log_uniform",
) -> tf.Tensor:
    """A crop for each row of draws.

    The laws, and the mean share of an image of 500 x 375 pixels by the papers' bounds:

    - "log_uniform" (.43): area uniform, aspect log-uniform; of ten such draws the first
      that fits into the image, and where none does, the largest centred box within the
      bounds of the aspect. Torchvision's RandomResizedCrop.
    - "log_uniform_clipped" (.52): one such draw, each of its sides cut down to the
      image's. BYOL's own (deepmind-research, byol/utils/dataset.py).
    - "distorted_box" (.37): aspect uniform, then the height uniform over the whole
      numbers that the bounds of the area and the image leave; of 100 such draws the
      first that covers a tenth of the image, else all of it. A crop never touches the
      image's last row or column, unless it spans all of them. TensorFlow's
      sample_distorted_bounding_box as SimCLR calls it (google-research/simclr,
      tf2/data_util.py; tensorflow, kernels/image/sample_distorted_bounding_box_op.cc).

    Args:
        draws: (N, crop_draws(law)) float32, uniform in [0, 1).
        shape: Height and width of the images, each an int or (N,) integers.
        area: Bounds of the share of the image's area.
        aspect: Bounds of width / height in pixels.
        law: How area and aspect are drawn.

    Returns:
        (N, 4) int32 boxes that lie inside the images.
    """
    count = tf.shape(draws)[:1]
    height, width = (
        tf.broadcast_to(tf.cast(side, tf.float32), count) for side in shape
    )
    box = _LAWS[law][0](draws, height, width, area=area, aspect=aspect)
    return tf.cast(tf.stack(box, axis=-1), tf.int32)


def _log_uniform(draws, height, width, *, area, aspect):
    tall, wide = _sides(draws[:, :-2], height, width, area=area, aspect=aspect)
    fits = (tall >= 1) & (wide >= 1)
    fits &= (tall <= height[:, tf.newaxis]) & (wide <= width[:, tf.newaxis])
    found, tall, wide = _first(fits, tall, wide)

    whole = width / height
    most_wide = tf.minimum(width, tf.round(height * aspect[1]))
    most_tall = tf.minimum(height, tf.round(width / aspect[0]))
    tall = tf.where(found, tall, tf.where(whole < aspect[0], most_tall, height))
    wide = tf.where(found, wide, tf.where(whole > aspect[1], most_wide, width))
    tall, wide = tf.maximum(tall, 1.0), tf.maximum(wide, 1.0)

    top = tf.floor(draws[:, -2] * (height - tall + 1))
    left = tf.floor(draws[:, -1] * (width - wide + 1))
    top = tf.where(found, top, tf.floor((height - tall) / 2))
    left = tf.where(found, left, tf.floor((width - wide) / 2))
    return top, left, tall, wide


def _log_uniform_clipped(draws, height, width, *, area, aspect):
    tall, wide = _sides(draws[:, :-2], height, width, area=area, aspect=aspect)
    tall = tf.clip_by_value(tall[:, 0], 1.0, height)
    wide = tf.clip_by_value(wide[:, 0], 1.0, width)
    top = tf.floor(draws[:, -2] * (height - tall + 1))
    left = tf.floor(draws[:, -1] * (width - wide + 1))
    return top, left, tall, wide


def _distorted_box(draws, height, width, *, area, aspect):
    ratio = random.between(draws[:, :_DISTORTED_ATTEMPTS], *aspect)
    most_tall, most_wide = height[:, tf.newaxis], width[:, tf.newaxis]
    pixels = most_wide * most_tall
    least, most = (share * most_wide * most_tall for share in area)
    low = tf.round(tf.sqrt(least / ratio))
    high = tf.round(tf.sqrt(most / ratio))
    # The tallest box of this aspect that, rounded, is no wider than the image.
    fitting = tf.floor((most_wide + 0.5) / ratio)
    fitting -= tf.cast(tf.round(fitting * ratio) > most_wide, tf.float32)
    high = tf.where(tf.round(high * ratio) > most_wide, fitting, high)
    high = tf.minimum(high, most_tall)
    low = tf.minimum(low, high)
    tall = low + tf.floor(draws[:, _DISTORTED_ATTEMPTS:-2] * (high - low + 1))
    # One row more or less where rounding has led out of the bounds of the area.
    tall += tf.cast(tall * tf.round(tall * ratio) < least, tf.float32)
    tall -= tf.cast(tall * tf.round(tall * ratio) > most, tf.float32)
    wide = tf.round(tall * ratio)
    covered = tall * wide
    fits = (covered >= least) & (covered <= most) & (covered / pixels >= _COVERED)
    fits &= (tall >= 1) & (wide >= 1) & (tall <= most_tall) & (wide <= most_wide)
    found, tall, wide = _first(fits, tall, wide)
    tall, wide = tf.where(found, tall, height), tf.where(found, wide, width)
    # One place short of the last: the op's Uniform(n) is below n.
    top = tf.floor(draws[:, -2] * (height - tall))
    left = tf.floor(draws[:, -1] * (width - wide))
    return top, left, tall, wide


_LAWS = {
    "log_uniform": (_log_uniform, _ATTEMPTS),
    "log_uniform_clipped": (_log_uniform_clipped, 1),
    "distorted_box": (_distorted_box, _DISTORTED_ATTEMPTS),
}
LAWS = tuple(_LAWS)


def _sides(
    draws: tf.Tensor, height: tf.Tensor, width: tf.Tensor, *, area, aspect
) -> tuple[tf.Tensor, tf.Tensor]:
    """Heights and widths (N, M) of uniform area and log-uniform aspect, rounded."""
    share, ratio = tf.split(draws, 2, axis=-1)
    share = random.between(share, *area)
    ratio = tf.exp(random.between(ratio, math.log(aspect[0]), math.log(aspect[1])))
    pixels = share * (height * width)[:, tf.newaxis]
    return tf.round(tf.sqrt(pixels / ratio)), tf.round(tf.sqrt(pixels * ratio))


def _first(
    fits: tf.Tensor, tall: tf.Tensor, wide: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Whether any of the M attempts fits (N,), and the sides (N,) of the first."""
    first = tf.argmax(tf.cast(fits, tf.int32), axis=-1, output_type=tf.int32)
    tall, wide = (tf.gather(sides, first, batch_dims=1) for sides in (tall, wide))
    return tf.reduce_any(fits, axis=-1), tall, wide
