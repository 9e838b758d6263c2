"""Boxes, resizing, flips, the blur and whole views against their float64 references.

U is the unit roundoff of float32, as in test_colour.py.
"""

import dataclasses

import numpy as np
import numpy_views as reference
import pytest
import tensorflow as tf
from ways import run_each_way, run_one_by_one

from selfsup_tf.config import ViewConfig
from selfsup_tf.data import colour, crop_boxes, geometry, layers, random, views

U = 2.0**-24
AREA, ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)
# Square and small, square, tall, wide; three so long that none or few draws fit.
SHAPES = [(32, 32), (224, 224), (300, 200), (200, 300), (7, 5)]
SHAPES += [(20, 500), (500, 20), (100, 1250)]
LAWS = {
    "log_uniform": reference.torchvision_box,
    "log_uniform_clipped": reference.byol_box,
    "distorted_box": reference.distorted_box,
}


@pytest.mark.parametrize("law", LAWS)
def test_boxes_equal_those_of_the_reference_given_its_draws(law):
    """700 boxes of images of each shape, in one batch, in all three ways.

    A side within some 1e-5 of half a pixel may be rounded either way in float32, which
    two boxes are allowed.
    """
    shapes = np.repeat(SHAPES, 700, axis=0)
    keys = random.image_keys(1, 0, tf.range(len(shapes)), 0)
    draws = random.uniform(keys, crop_boxes.crop_draws(law))
    options = {"area": AREA, "aspect": ASPECT}
    expected = [
        LAWS[law](row, *shape, **options)
        for row, shape in zip(draws.numpy().tolist(), shapes.tolist(), strict=True)
    ]

    def boxes(rows, heights, widths):
        return crop_boxes.crop_boxes(rows, (heights, widths), law=law, **options)

    for way, actual in run_each_way(boxes, draws, *shapes.T).items():
        differ = (actual.numpy() != expected).any(axis=1)
        assert differ.sum() <= 2, (way, shapes[differ])


def test_other_bounds_reach_the_reference_too():
    """Where the area's own bounds turn attempts away, and aspects far from 1."""
    keys = random.image_keys(2, 0, tf.range(2000), 0)
    for area, aspect in [((0.3, 0.31), (0.5, 2.0)), ((0.02, 0.12), (1.0, 1.5))]:
        for law, slow in LAWS.items():
            draws = random.uniform(keys, crop_boxes.crop_draws(law))
            actual = crop_boxes.crop_boxes(
                draws, (37, 53), area=area, aspect=aspect, law=law
            )
            rows = draws.numpy().tolist()
            expected = [slow(row, 37, 53, area=area, aspect=aspect) for row in rows]
            assert (actual.numpy() != expected).any(axis=1).sum() <= 2, law


def test_boxes_of_the_default_law_are_those_of_earlier_runs():
    """What a run draws may not change under it."""
    layer = layers.RandomResizedCrop(32)
    keys = random.fold_in(random.image_keys(7, 3, tf.range(4), 1), layer.salt)
    assert layer.sample(keys, (300, 200))["boxes"].numpy().tolist() == [
        [45, 100, 83, 91],
        [59, 12, 212, 181],
        [133, 10, 145, 183],
        [58, 64, 109, 85],
    ]


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return rng.uniform(size=(6, 20, 28, 3)).astype(np.float32)


BOXES = [(0, 0, 20, 28), (3, 5, 11, 13), (19, 27, 1, 1), (1, 0, 2, 28), (0, 9, 20, 3)]
BOXES.append((4, 4, 16, 16))


@pytest.mark.parametrize("size", [6, 16])
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
def test_crop_and_resize_equals_its_reference_and_tf_image(
    images, method, antialias, size
):
    """Boxes of the whole image, of one pixel, of a few rows or columns.

    The weights of an axis add up to 1.5 in magnitude at most; a place of up to 28
    pixels is good to 16 U, where the kernel has a slope below 1.5 and up to 12 pixels
    count, and as many are added up: 36 U an axis, and half as much again for the other.
    """
    options = {"size": size, "method": method, "antialias": antialias}
    expected = [
        reference.crop_and_resize(image.astype(float), box, **options)
        for image, box in zip(images, BOXES, strict=True)
    ]
    tolerance = 128 * U

    def crop(batch, boxes):
        return geometry.crop_and_resize(batch, boxes, **options)

    for way, actual in run_each_way(crop, images, BOXES).items():
        np.testing.assert_allclose(
            actual, expected, rtol=0, atol=tolerance, err_msg=way
        )
    for image, box, right in zip(images, BOXES, expected, strict=True):
        y, x, h, w = box
        theirs = tf.image.resize(
            image[y : y + h, x : x + w], (size, size), method, antialias=antialias
        )
        np.testing.assert_allclose(theirs, right, rtol=0, atol=tolerance)
        one = geometry.crop_and_resize_one(
            tf.constant(image), tf.constant(box), **options
        )
        np.testing.assert_array_equal(one, theirs)


def test_flip_equals_its_reference(images):
    layer = layers.RandomHorizontalFlip(probability=1.0)
    keys = random.image_keys(0, 0, tf.range(6), 0)
    expected = [reference.flip(image) for image in images]
    for way, actual in run_each_way(layer, images, keys).items():
        np.testing.assert_array_equal(actual, expected, err_msg=way)


TAPS = {224: 23, 128: 13, 96: 9, 64: 7, 32: 3}


def test_taps_are_those_of_both_references():
    """SimCLR divides by ten in whole numbers, BYOL in fractions: the same."""
    layer = layers.RandomGaussianBlur()
    for height in range(8, 1025):
        for name in ("simclr", "byol"):
            assert layer.taps(height) == reference.blur_taps(height, name)
    assert {height: layer.taps(height) for height in TAPS} == TAPS


@pytest.mark.parametrize(("height", "taps"), TAPS.items())
def test_blur_has_the_weights_of_its_reference(height, taps):
    """A bright pixel in the middle shows them, one in the corner where they end."""
    sigmas = np.array([0.1, 0.7, 2.0], np.float32)
    dots = np.zeros((3, height, height, 3), np.float32)
    middle, reach = height // 2, taps // 2
    dots[:, middle, middle] = 1
    dots[:, 0, 0] = 1
    layer = layers.RandomGaussianBlur(probability=1.0)
    blurred = layer.apply(tf.constant(dots), {"sigma": tf.constant(sigmas)}).numpy()
    for sigma, image in zip(sigmas, blurred, strict=True):
        kernel = reference.blur_kernel(float(sigma), taps)
        expected = np.zeros((height, height))
        window = slice(middle - reach, middle + reach + 1)
        expected[window, window] = np.outer(kernel, kernel)
        expected[: reach + 1, : reach + 1] += np.outer(kernel[reach:], kernel[reach:])
        for channel in range(3):
            # exp(-a) is wrong by some a U of itself, and a exp(-a) is below .4.
            np.testing.assert_allclose(
                image[..., channel], expected, rtol=0, atol=16 * U
            )


@pytest.mark.parametrize(("shape", "taps"), [((24, 24), 5), ((17, 26), 23)], ids=str)
def test_blur_equals_its_reference_and_the_convolutions_of_simclr(shape, taps):
    """Borders included: they darken, since zeros are padded."""
    rng = np.random.default_rng(1)
    images = rng.uniform(size=(4, *shape, 3)).astype(np.float32)
    images[3] = 1
    sigmas = np.array([0.1, 0.8, 2.0, 2.0], np.float32)
    expected = np.array(
        [
            reference.gaussian_blur(image.astype(float), float(sigma), taps)
            for image, sigma in zip(images, sigmas, strict=True)
        ]
    )
    assert expected[3, 0, 0, 0] < 0.5 < 0.9 < expected[3, 8, 12, 0]

    def blur(batch, sigma):
        return colour.gaussian_blur(batch, sigma, taps)

    # As many products and sums as taps, twice, of weights good to 8 U.
    tolerance = (2 * taps + 16) * U
    results = run_each_way(blur, images, sigmas)
    for way, actual in (results | run_one_by_one(blur, images, sigmas)).items():
        np.testing.assert_allclose(
            actual, expected, rtol=0, atol=tolerance, err_msg=way
        )
    for image, sigma, right in zip(images, sigmas, expected, strict=True):
        kernel = reference.blur_kernel(float(sigma), taps).astype(np.float32)
        theirs = image[np.newaxis]
        for form in ((1, taps, 1, 1), (taps, 1, 1, 1)):
            weights = np.tile(kernel.reshape(form), (1, 1, 3, 1))
            theirs = tf.nn.depthwise_conv2d(theirs, weights, [1, 1, 1, 1], "SAME")
        np.testing.assert_allclose(theirs[0], right, rtol=0, atol=tolerance)


SIMCLR = ViewConfig(crop_law="distorted_box")
BYOL_1 = ViewConfig(
    crop_law="log_uniform_clipped",
    brightness=0.4,
    brightness_mode="add",
    contrast=0.4,
    saturation=0.2,
    hue=0.1,
    blur=1.0,
)
BYOL_2 = dataclasses.replace(BYOL_1, blur=0.1, solarize=0.2)


@pytest.mark.parametrize(
    "config", [SIMCLR, BYOL_1, BYOL_2], ids=["simclr", "byol 1", "byol 2"]
)
def test_a_view_is_the_operations_in_the_order_of_its_reference(config):
    """Crop, clip, flip, jitter, grayscale, blur, solarize, clip.

    google-research/simclr, tf2/data_util.py preprocess_for_train and batch_random_blur;
    deepmind-research, byol/utils/augmentations.py _postprocess_image. (SimCLR clips
    after the grayscale rather than after the crop.) Eagerly; that a view is the same
    compiled and one by one is a test of tests/data/test_views.py.
    """
    rng = np.random.default_rng(2)
    images = rng.integers(0, 256, (24, 30, 40, 3), np.uint8)
    keys = random.image_keys(3, 0, tf.range(24), 0)
    view = views.View(config, 20)
    assert view.crop.law == config.crop_law
    composed = {type(layer): layer for layer in (view.crop, *view.layers)}
    drawn, chosen = {}, {}
    for kind, layer in composed.items():
        shape = (30, 40) if layer is view.crop else (20, 20)
        drawn[kind] = layer.sample(random.fold_in(keys, layer.salt), shape)
        always = tf.ones(24, tf.bool)
        chosen[kind] = drawn[kind].get("chosen", always).numpy()
    first = {
        "multiply": reference.scale_brightness,
        "add": reference.shift_brightness,
    }[config.brightness_mode]
    operations = {
        "brightness": first,
        "contrast": reference.adjust_contrast,
        "saturation": reference.adjust_saturation,
        "hue": reference.adjust_hue,
    }
    expected = []
    for n, image in enumerate(images):
        box = drawn[layers.RandomResizedCrop]["boxes"][n].numpy()
        x = reference.crop_and_resize(image / 255, box, 20, "bicubic", False)
        x = np.clip(x, 0, 1)
        if chosen[layers.RandomHorizontalFlip][n]:
            x = reference.flip(x)
        if chosen[layers.ColorJitter][n]:
            params = drawn[layers.ColorJitter]
            values = [float(params[name][n]) for name in operations]
            order = params["order"][n].numpy()
            x = reference.jitter(x, list(operations.values()), values, order)
        if chosen[layers.RandomGrayscale][n]:
            x = reference.to_grayscale(x)
        if chosen[layers.RandomGaussianBlur][n]:
            sigma = float(drawn[layers.RandomGaussianBlur]["sigma"][n])
            x = reference.gaussian_blur(x, sigma, reference.blur_taps(20, "byol"))
        if layers.RandomSolarize in composed and chosen[layers.RandomSolarize][n]:
            x = reference.solarize(x, 0.5)
        expected.append(np.clip(x, 0, 1))
    # Each operation but the certain ones is met, and left out.
    for kind, flags in chosen.items():
        if composed[kind].probability < 1:
            assert 0 < flags.sum() < 24, kind
    # The errors of test_colour.py, through all of them: below a tenth of a level.
    actual = view(tf.constant(images), keys)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=0.1 / 255)
