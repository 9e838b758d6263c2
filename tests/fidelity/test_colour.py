"""Colours against their float64 references, in the three ways in which they run.

The inputs and the parameters are float32 numbers, which the references take as they
are, so that what differs is rounding alone. U is the unit roundoff: an operation on
numbers up to 1 is wrong by U at most, one on numbers up to 8 by 4 U.
"""

import colorsys
import itertools

import keras
import numpy as np
import numpy_views as reference
import pytest
import tensorflow as tf
from ways import each_way, run_each_way, run_one_by_one

from selfsup_tf.data import colour, layers, random
from selfsup_tf.models.preprocessing import normalize

U = 2.0**-24
SIDE = 8
# The mean adds up the pixels of a channel, in whatever order.
MEAN = SIDE**2 * U
MEAN_RGB, STD_RGB = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def images():
    """Noise, black, white, grey, primary colours, ties: (12, 8, 8, 3) float32."""
    rng = np.random.default_rng(0)
    batch = rng.uniform(size=(12, SIDE, SIDE, 3)).astype(np.float32)
    batch[7] = np.float32(rng.integers(0, 4, size=(SIDE, SIDE, 3)) / 3)
    batch[8], batch[9], batch[10] = 0, 1, 0.5
    batch[11] = rng.integers(0, 2, size=(SIDE, SIDE, 3))
    return batch


def _values(low, high):
    return np.linspace(low, high, 12, dtype=np.float32)


# Of each operation: ours, the reference, what is drawn, and the largest rounding error.
OPERATIONS = {
    # One product, up to 1.8.
    "multiply": (
        colour.scale_brightness,
        reference.scale_brightness,
        _values(0, 1.8),
        2 * U,
    ),
    # One sum.
    "add": (
        colour.shift_brightness,
        reference.shift_brightness,
        _values(-0.8, 0.8),
        U,
    ),
    # The mean counts |1 - factor| times; a difference, a product, a sum.
    "contrast": (
        colour.adjust_contrast,
        reference.adjust_contrast,
        _values(0, 1.8),
        MEAN + 6 * U,
    ),
    # A division, two differences, a product.
    "saturation": (
        colour.adjust_saturation,
        reference.adjust_saturation,
        _values(0, 1.8),
        8 * U,
    ),
    # The hue is good to some 7 U of a turn and is multiplied by 6.
    "hue": (
        colour.adjust_hue,
        reference.adjust_hue,
        _values(-0.5, 0.5),
        64 * U,
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_equal_their_references(images, name):
    ours, slow, values, tolerance = OPERATIONS[name]
    expected = [
        slow(x.astype(float), float(v)) for x, v in zip(images, values, strict=True)
    ]
    results = run_each_way(ours, images, values)
    for way, actual in (results | run_one_by_one(ours, images, values)).items():
        np.testing.assert_allclose(
            actual, expected, rtol=0, atol=tolerance, err_msg=way
        )


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("add", tf.image.adjust_brightness),
        ("contrast", tf.image.adjust_contrast),
        ("saturation", tf.image.adjust_saturation),
        ("hue", tf.image.adjust_hue),
    ],
)
def test_operations_equal_those_of_tf_image(images, name, theirs):
    """Which SimCLR's reference calls; they round as often as ours."""
    ours, _, values, tolerance = OPERATIONS[name]
    expected = [theirs(x, v) for x, v in zip(images, values, strict=True)]
    actual = ours(tf.constant(images), values)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2 * tolerance)


def test_the_reference_of_hue_and_saturation_equals_colorsys(images):
    """Python's own HSV."""
    image = images[7].astype(float)
    turned = reference.adjust_hue(image, 0.15)
    faded = reference.adjust_saturation(image, 1.4)
    for place in itertools.product(range(SIDE), range(SIDE)):
        h, s, v = colorsys.rgb_to_hsv(*image[place])
        expected = colorsys.hsv_to_rgb((h + 0.15) % 1, s, v)
        np.testing.assert_allclose(turned[place], expected, atol=1e-12)
        expected = colorsys.hsv_to_rgb(h, min(1, 1.4 * s), v)
        np.testing.assert_allclose(faded[place], expected, atol=1e-12)


def test_grayscale_equals_its_reference_and_tf_image(images):
    expected = [reference.to_grayscale(image.astype(float)) for image in images]
    for way, actual in run_each_way(colour.to_grayscale, images).items():
        # Three weights and products, two sums.
        np.testing.assert_allclose(actual, expected, rtol=0, atol=5 * U, err_msg=way)
    # TensorFlow's weights have four digits and sum to .9999, as ours.
    theirs = tf.image.rgb_to_grayscale(images) + tf.zeros(3)
    np.testing.assert_allclose(theirs, expected, rtol=0, atol=1e-4)


def test_solarize_equals_its_reference(images):
    """The threshold itself, which image 10 holds, is inverted."""
    images = images.copy()
    images[10, :, :, 1] = np.nextafter(np.float32(0.5), np.float32(0))
    expected = [reference.solarize(image.astype(float), 0.5) for image in images]
    assert {0.5, images[10, 0, 0, 1]} <= set(np.unique(expected))
    results = run_each_way(lambda x: colour.solarize(x, 0.5), images)
    for way, actual in results.items():
        np.testing.assert_allclose(actual, expected, rtol=0, atol=U, err_msg=way)
    flat = tf.constant([0.3, 0.7, 0.69])[None, None, :, None]
    np.testing.assert_allclose(
        colour.solarize(flat, 0.7).numpy().ravel(), [0.3, 0.3, 0.69], atol=U
    )


def test_normalize_equals_its_reference(images):
    inputs = keras.Input(images.shape[1:])
    network = keras.Model(inputs, normalize(inputs, MEAN_RGB, STD_RGB))
    expected = [
        reference.normalize(image.astype(float), MEAN_RGB, STD_RGB) for image in images
    ]
    for way, actual in run_each_way(network, images).items():
        # Two constants, a difference and a division, all of numbers up to 2.7.
        np.testing.assert_allclose(actual, expected, rtol=0, atol=16 * U, err_msg=way)


# What an operation makes of an error in its input, at most, by its parameter; of the
# saturation and the hue the largest derivative of their formulas.
AMPLIFICATION = {
    "brightness": lambda v, mode: v if mode == "multiply" else 1.0,
    "contrast": lambda v, mode: v + abs(1 - v),
    "saturation": lambda v, mode: 1 + 2 * v,
    "hue": lambda v, mode: 7.0,
}


@pytest.mark.parametrize("mode", ["multiply", "add"])
def test_jitter_equals_its_reference_in_the_order_of_each_image(images, mode):
    """Clipped after each operation; batches and single images, in all three ways."""
    layer = layers.ColorJitter(probability=1.0, brightness_mode=mode)
    keys = random.image_keys(0, 0, tf.range(12), 0)
    params = layer.sample(keys, (SIDE, SIDE))
    names = ("brightness", "contrast", "saturation", "hue")
    rows = [OPERATIONS[mode if name == "brightness" else name] for name in names]
    expected, tolerance = [], []
    for number, image in enumerate(images):
        values = [float(params[name][number]) for name in names]
        order = params["order"][number].numpy()
        slow = [row[1] for row in rows]
        expected.append(reference.jitter(image.astype(float), slow, values, order))
        error = 0.0
        for which in order:
            name = names[which]
            error = AMPLIFICATION[name](values[which], mode) * error + rows[which][3]
        tolerance.append(error)
    expected = np.array(expected)
    assert len({tuple(order) for order in params["order"].numpy()}) >= 8
    # A twelfth of a level of 8 bits: no mistake of meaning is as small.
    assert max(tolerance) < 1 / 255 / 12

    def compare(actual, some, way):
        for result, right, bound in zip(
            actual, expected[some], np.array(tolerance)[some], strict=True
        ):
            np.testing.assert_allclose(result, right, rtol=0, atol=bound, err_msg=way)

    def apply(x, *flat):
        return layer.apply(x, tf.nest.pack_sequence_as(params, flat))

    flat = tf.nest.flatten(params)
    for way, actual in run_each_way(apply, images, *flat).items():
        compare(actual, slice(None), way)
    for way, run in each_way(apply).items():
        for number in range(0, 12, 3):
            some = slice(number, number + 1)
            actual = run(tf.constant(images[some]), *(value[some] for value in flat))
            compare(actual, some, way)
