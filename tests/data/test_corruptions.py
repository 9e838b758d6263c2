"""Corruptions against SciPy, Pillow and colorsys; noise by its statistics."""

import colorsys
import io

import numpy as np
import PIL.Image
import pytest
import scipy.ndimage
import scipy.stats
import tensorflow as tf

from selfsup_tf.data import corruptions
from selfsup_tf.errors import InputError


def smooth(count, size, seed=0):
    """Images with edges and slopes, float32 (count, size, size, 3) in [0, 1]."""
    random = np.random.default_rng(seed)
    coarse = random.uniform(0, 1, (count, 4, 4, 3))
    images = tf.image.resize(coarse, (size, size), "bilinear").numpy()
    images[:, size // 3 : size // 2] = random.uniform(0, 1, (count, 1, 1, 3))
    return images.astype(np.float32)


def corrupt(images, name, strength, **options):
    options = {"indices": tf.range(len(images), dtype=tf.int64)} | options
    return corruptions.corrupt(tf.constant(images), name, strength, **options).numpy()


# 32 pixels are corrupted as CIFAR-10-C, 80 as ImageNet-C, whose widest kernel is wider
# than half of such an image.
@pytest.mark.parametrize("size", [32, 80])
@pytest.mark.parametrize("strength", [1, 3, 5])
def test_blur_is_scipys(size, strength):
    images = smooth(3, size)
    blurred = corrupt(images, "blur", strength)
    sigma = corruptions.strengths("blur", size)[strength - 1]
    expected = [
        scipy.ndimage.gaussian_filter(
            image.astype(np.float64), (sigma, sigma, 0), mode="nearest", truncate=4.0
        )
        for image in images
    ]
    # Two products of up to 80 positive terms that sum to 1 at most, each rounded to
    # 2^-24 in float32.
    np.testing.assert_allclose(blurred, expected, atol=2 * 80 * 2.0**-24)
    assert np.abs(blurred - images).max() > 0.01


@pytest.mark.parametrize("size", [32, 80])
@pytest.mark.parametrize("strength", [1, 2, 3, 4, 5])
def test_jpeg_is_pillows(size, strength):
    images = smooth(2, size)
    spoilt = corrupt(images, "jpeg", strength)
    quality = corruptions.strengths("jpeg", size)[strength - 1]
    for image, found in zip(np.round(images * 255), spoilt * 255, strict=True):
        data = io.BytesIO()
        PIL.Image.fromarray(image.astype(np.uint8)).save(data, "JPEG", quality=quality)
        # Both use libjpeg-turbo, so not a pixel differs.
        np.testing.assert_allclose(found, PIL.Image.open(data), atol=1e-4)


@pytest.mark.parametrize("strength", [1, 3, 5])
def test_brightness_is_of_hsv(strength):
    random = np.random.default_rng(3)
    images = random.uniform(0, 1, (2, 6, 6, 3)).astype(np.float32)
    images[0, 0] = [[0, 0, 0], [1, 1, 1], [0.5] * 3, [1, 0, 0], [0, 0.2, 0], [0.9] * 3]
    spoilt = corrupt(images, "brightness", strength)
    shift = corruptions.strengths("brightness", 6)[strength - 1]
    for pixel, found in zip(images.reshape(-1, 3), spoilt.reshape(-1, 3), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel.astype(float))
        expected = colorsys.hsv_to_rgb(hue, saturation, min(value + shift, 1.0))
        # A sum, a quotient and a product of numbers up to 1.
        np.testing.assert_allclose(found, expected, atol=4 * 2.0**-24)


@pytest.mark.parametrize("strength", [1, 5])
def test_noise_is_normal_and_white(strength):
    grey = np.full((16, 32, 32, 3), 0.5, np.float32)
    noise = corrupt(grey, "noise", strength) - 0.5
    scale = corruptions.strengths("noise", 32)[strength - 1]
    # At five standard deviations or more from the borders, hardly any is clipped.
    found = scipy.stats.kstest(noise.ravel() / scale, "norm")
    assert found.pvalue > 0.01
    count = noise.size
    assert abs(noise.mean()) < 4 * scale / np.sqrt(count)
    assert noise.std() == pytest.approx(scale, rel=4 / np.sqrt(2 * count))
    neighbours = {
        "right": (noise[:, :, 1:], noise[:, :, :-1]),
        "below": (noise[:, 1:], noise[:, :-1]),
        "channel": (noise[..., 1:], noise[..., :-1]),
        "image": (noise[1:], noise[:-1]),
        # The halves of a pair of Box and Muller's.
        "half": (noise[:, 16:], noise[:, :16]),
    }
    for name, (one, other) in neighbours.items():
        correlation = np.corrcoef(one.ravel(), other.ravel())[0, 1]
        assert abs(correlation) < 4 / np.sqrt(one.size), name
    tails = np.abs(noise / scale) > 3
    assert tails.mean() == pytest.approx(0.0027, abs=4 * np.sqrt(0.0027 / count))


def test_noise_follows_from_seed_index_and_strength():
    grey = np.full((6, 16, 16, 3), 0.5, np.float32)
    whole = corrupt(grey, "noise", 2)
    # XLA's sine of a whole vector and of a remainder may differ in the last bit.
    rounding = {"atol": 1e-6, "rtol": 0}
    for start, stop in ((0, 1), (1, 4), (4, 6)):
        part = corrupt(grey[start:stop], "noise", 2, indices=np.arange(start, stop))
        np.testing.assert_allclose(part, whole[start:stop], **rounding)
    order = np.array([3, 0, 5, 1, 2, 4])
    shuffled = corrupt(grey, "noise", 2, indices=order)
    np.testing.assert_allclose(shuffled, whole[order], **rounding)

    first = (whole - 0.5).ravel()
    for other in (
        corrupt(grey, "noise", 2, seed=1),
        corrupt(grey, "noise", 3),
        corrupt(grey, "noise", 2, indices=np.arange(6) + 6),
    ):
        correlation = np.corrcoef(first, (other - 0.5).ravel())[0, 1]
        assert abs(correlation) < 4 / np.sqrt(first.size)


@pytest.mark.parametrize("name", corruptions.CORRUPTIONS)
@pytest.mark.parametrize("size", [32, 80])
def test_each_strength_spoils_more(name, size):
    images = smooth(4, size)
    spoilt = [corrupt(images, name, strength) for strength in corruptions.STRENGTHS]
    for result in spoilt:
        assert result.dtype == np.float32
        assert result.shape == images.shape
        assert (result.min() >= 0) & (result.max() <= 1)
    errors = [np.abs(result - images).mean() for result in spoilt]
    assert errors == sorted(errors)
    assert errors[0] > 1e-3


def test_what_there_is_not_is_refused():
    images = smooth(1, 8)
    with pytest.raises(InputError, match="Perhaps you meant: blur"):
        corrupt(images, "blurr", 1)
    for strength in (0, 6):
        with pytest.raises(InputError, match="a strength of 1 to 5"):
            corrupt(images, "blur", strength)
