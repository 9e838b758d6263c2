"""Corruptions of images: blur, noise, JPEG and brightness, each in five strengths.

Reference: Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations", ICLR 2019. The strengths are those of its authors'
repository, hendrycks/robustness: up to 64 pixels CIFAR-10-C's, from
ImageNet-C/create_c/make_cifar_c.py, and above ImageNet-C's, from
ImageNet-C/create_c/make_imagenet_c.py; in both files the functions gaussian_blur,
gaussian_noise, jpeg_compression and brightness.

What differs from the benchmark: these are 4 of its 19 kinds, so no mean over them is
its mCE. They act on what the encoder sees, after the evaluation view. Images stay
float32, where CIFAR-10-C cuts them to whole numbers and ImageNet-C saves them as JPEG
of quality 85 again. The noise is drawn by a hash of the image's index.

Legend: N images, S their height and width.
"""

import functools
import math

import numpy as np
import scipy.ndimage
import tensorflow as tf

from selfsup_tf.data import geometry, random
from selfsup_tf.errors import check, check_one_of

_SMALL = 64  # pixels up to which an image is corrupted as CIFAR-10-C's
_CIFAR_10_C = {
    "blur": (0.4, 0.6, 0.7, 0.8, 1.0),
    "noise": (0.04, 0.06, 0.08, 0.09, 0.10),
    "jpeg": (80, 65, 58, 50, 40),
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
}
_IMAGENET_C = {
    "blur": (1.0, 2.0, 3.0, 4.0, 6.0),
    "noise": (0.08, 0.12, 0.18, 0.26, 0.38),
    "jpeg": (25, 18, 15, 10, 7),
    "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
}
CORRUPTIONS = tuple(_CIFAR_10_C)
STRENGTHS = (1, 2, 3, 4, 5)
_NOISE_SALT = 19  # sets its draws apart from those of a run's views
_REACH = 4.0  # of the blur's kernel, in standard deviations


def strengths(name: str, size: int) -> tuple[float, ...]:
    """The parameters of the five strengths of a corruption, from mild to harsh.

    Args:
        name: blur: sigma in pixels. noise: standard deviation, of images in [0, 1].
            jpeg: quality of 100. brightness: what is added to V of HSV.
        size: S.

    Raises:
        InputError: There is no such corruption.
    """
    check_one_of(name, CORRUPTIONS, "a corruption")
    return (_CIFAR_10_C if size <= _SMALL else _IMAGENET_C)[name]


def corrupt(
    images: tf.Tensor,
    name: str,
    strength: int,
    *,
    indices: tf.Tensor,
    seed: int = 0,
) -> tf.Tensor:
    """Corrupts a batch of images.

    Args:
        images: (N, S, S, C) float32 in [0, 1], of a static S.
        name: One of `CORRUPTIONS`.
        strength: 1, the mildest, to 5.
        indices: (N,) integers that name the images within their source. An image's
            noise follows from (seed, index, strength), whatever its batch.
        seed: Of the noise.

    Returns:
        (N, S, S, C) float32 in [0, 1].

    Raises:
        InputError: There is no such corruption or strength.
    """
    size = images.shape[1]
    values = strengths(name, size)
    check(strength in STRENGTHS, "a strength of 1 to 5", strength, "5 is the harshest.")
    value = values[strength - 1]
    if name == "blur":
        return _blur(images, tf.constant(_blur_matrix(size, value), tf.float32))
    if name == "noise":
        keys = random.image_keys(seed, 0, indices, strength)
        return _add_noise(images, keys, tf.constant(value, tf.float32))
    if name == "jpeg":
        return _jpeg(images, tf.constant(value, tf.int32))
    return _brighten(images, tf.constant(value, tf.float32))


@functools.lru_cache(maxsize=16)
def _blur_matrix(size: int, sigma: float) -> np.ndarray:
    """The blur as a matrix, (1, S, S) float64: row i holds the kernel around pixel i.

    Beyond the border the image goes on with its outermost pixels. That and the reach
    are what skimage.filters.gaussian, which the benchmark calls, does by default.
    """
    matrix = scipy.ndimage.gaussian_filter1d(
        np.eye(size), sigma, axis=0, mode="nearest", truncate=_REACH
    )
    return matrix[np.newaxis]


@tf.function(autograph=False)
def _blur(images: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    blurred = geometry.multiply_rows_and_columns(images, matrix, matrix)
    return tf.clip_by_value(blurred, 0.0, 1.0)


# XLA draws and adds in a pass; without, each step of the hash would be one.
@tf.function(jit_compile=True, autograph=False)
def _add_noise(images: tf.Tensor, keys: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    count = math.prod(images.shape[1:])
    half = (count + 1) // 2
    draws = random.uniform(random.fold_in(keys, _NOISE_SALT), 2 * half)
    # Box and Muller: two uniform draws make two normal ones. 1 - u is never 0.
    radius = tf.sqrt(-2.0 * tf.math.log(1.0 - draws[:, :half]))
    angle = (2 * math.pi) * draws[:, half:]
    normal = tf.concat([radius * tf.cos(angle), radius * tf.sin(angle)], axis=1)
    noise = tf.reshape(normal[:, :count], (-1, *images.shape[1:]))
    return tf.clip_by_value(images + scale * noise, 0.0, 1.0)


@tf.function(autograph=False)
def _jpeg(images: tf.Tensor, quality: tf.Tensor) -> tf.Tensor:
    def compress(image):
        # As accurate as what the benchmark's library decodes with.
        return tf.image.adjust_jpeg_quality(image, quality, "INTEGER_ACCURATE")

    pixels = tf.cast(tf.round(images * 255.0), tf.uint8)
    pixels = tf.map_fn(compress, pixels)
    return geometry.as_float(tf.ensure_shape(pixels, images.shape))


@tf.function(jit_compile=True, autograph=False)
def _brighten(images: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    """Raises V of HSV, up to 1; hue and saturation stay, black becomes grey.

    With both of them fixed, all channels are in proportion to V.
    """
    value = tf.reduce_max(images, axis=-1, keepdims=True)
    target = tf.minimum(value + shift, 1.0)
    share = images / tf.where(value > 0, value, 1.0)
    return tf.where(value > 0, share, 1.0) * target
