"""Colour layers: samplers by their statistics, operations exactly."""

import colorsys
import itertools

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from selfsup_tf.data import augment, colour, random

KEYS = random.image_keys(0, 0, tf.range(10_000), 0)


@pytest.fixture(scope="module")
def images():
    """Noise, black, white, grey, and primary colours: (12, 8, 8, 3)."""
    rng = np.random.default_rng(0)
    batch = rng.uniform(size=(12, 8, 8, 3)).astype(np.float32)
    batch[8], batch[9], batch[10] = 0, 1, 0.5
    batch[11] = rng.integers(0, 2, size=(8, 8, 3))
    return tf.constant(batch)


def _per_image(operation, images, values):
    return np.stack(
        [operation(x, v) for x, v in zip(images, values.numpy(), strict=True)]
    )


@pytest.mark.parametrize(
    ("ours", "reference", "low", "high"),
    [
        (colour.shift_brightness, tf.image.adjust_brightness, -0.8, 0.8),
        (colour.adjust_contrast, tf.image.adjust_contrast, 0, 1.8),
        (colour.adjust_saturation, tf.image.adjust_saturation, 0, 1.8),
        (colour.adjust_hue, tf.image.adjust_hue, -0.5, 0.5),
        (colour.scale_brightness, lambda x, f: x * f, 0, 1.8),
    ],
)
def test_operations_equal_those_of_tf_image(images, ours, reference, low, high):
    values = tf.linspace(float(low), float(high), len(images))
    expected = _per_image(reference, images, values)
    for run in (ours, tf.function(ours, jit_compile=True)):
        np.testing.assert_allclose(run(images, values), expected, atol=1e-5)


def test_hue_and_saturation_equal_colorsys(images):
    """Python's own HSV, in float64."""
    turned = colour.adjust_hue(images, tf.fill([12], 0.15)).numpy()
    faded = colour.adjust_saturation(images, tf.fill([12], 1.4)).numpy()
    for place in itertools.product(range(12), range(0, 8, 3), range(0, 8, 3)):
        h, s, v = colorsys.rgb_to_hsv(*map(float, images.numpy()[place]))
        np.testing.assert_allclose(
            turned[place], colorsys.hsv_to_rgb((h + 0.15) % 1, s, v), atol=1e-5
        )
        np.testing.assert_allclose(
            faded[place], colorsys.hsv_to_rgb(h, min(1, 1.4 * s), v), atol=1e-5
        )


def test_grayscale_equals_tf_image(images):
    expected = tf.image.rgb_to_grayscale(images)
    actual = colour.to_grayscale(images)
    assert actual.shape == images.shape
    np.testing.assert_allclose(actual, expected + tf.zeros(3), atol=1e-4)
    np.testing.assert_allclose(
        actual.numpy()[..., 0], images.numpy() @ [0.2989, 0.587, 0.114], atol=1e-6
    )


def test_solarize_inverts_from_the_threshold_on():
    images = tf.constant([0.0, 0.25, 0.5, 0.75, 1.0, 0.49])[None, None, :, None]
    actual = colour.solarize(images, 0.5).numpy().ravel()
    np.testing.assert_allclose(actual, [0, 0.25, 0.5, 0.25, 0, 0.49])


def _blur_in_numpy(image, sigma, taps):
    """Literal: every pixel a weighted sum, zeros outside, float64."""
    reach = taps // 2
    weights = np.exp(-(np.arange(-reach, reach + 1.0) ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    padded = np.pad(image.astype(float), [(reach, reach), (reach, reach), (0, 0)])
    result = np.zeros(image.shape)
    for y, x in itertools.product(range(image.shape[0]), range(image.shape[1])):
        window = padded[y : y + taps, x : x + taps]
        result[y, x] = np.einsum("i,j,ijc->c", weights, weights, window)
    return result


@pytest.mark.parametrize("shape", [(9, 9), (7, 12)])
def test_blur_equals_a_sum_over_its_window(shape):
    rng = np.random.default_rng(1)
    images = rng.uniform(size=(3, *shape, 3)).astype(np.float32)
    sigma = tf.constant([0.1, 0.8, 2.0])
    actual = colour.gaussian_blur(tf.constant(images), sigma, 5)
    for image, s, result in zip(images, sigma.numpy(), actual, strict=True):
        np.testing.assert_allclose(result, _blur_in_numpy(image, s, 5), atol=1e-6)


def test_taps_are_the_references():
    layer = augment.RandomGaussianBlur()
    sizes = {224: 23, 128: 13, 96: 9, 64: 7, 32: 3}
    assert {size: layer.taps(size) for size in sizes} == sizes


def test_normalize():
    images = tf.fill([1, 2, 2, 3], 0.5)
    layer = augment.Normalize((0.5, 0.25, 0.0), (1.0, 0.5, 0.25))
    np.testing.assert_allclose(layer(images)[0, 0, 0], [0, 0.5, 2])


def _assert_uniform(values, low, high):
    assert values.min() >= low and values.max() <= high
    statistics = scipy.stats.kstest(values, "uniform", args=(low, high - low))
    assert statistics.pvalue > 1e-4


def _assert_rate(chosen, probability):
    test = scipy.stats.binomtest(int(chosen.sum()), len(chosen), probability)
    assert test.pvalue > 1e-4


@pytest.mark.parametrize("mode", ["multiply", "add"])
def test_jitter_draws_each_factor_uniformly(mode):
    layer = augment.ColorJitter(
        brightness=0.4, contrast=1.2, saturation=0.2, hue=0.1, brightness_mode=mode
    )
    params = {k: v.numpy() for k, v in layer.sample(KEYS, (8, 8)).items()}
    low, high = (0.6, 1.4) if mode == "multiply" else (-0.4, 0.4)
    _assert_uniform(params["brightness"], low, high)
    _assert_uniform(params["contrast"], 0, 2.2)
    _assert_uniform(params["saturation"], 0.8, 1.2)
    _assert_uniform(params["hue"], -0.1, 0.1)
    _assert_rate(params["chosen"], 0.8)
    _, counts = np.unique(params["order"], axis=0, return_counts=True)
    assert len(counts) == 24
    assert scipy.stats.chisquare(counts).pvalue > 1e-4
    names = ("brightness", "contrast", "saturation", "hue", "chosen")
    together = np.corrcoef([params[name] for name in names]) - np.eye(5)
    assert np.abs(together).max() < 0.05


def test_blur_draws_sigma_uniformly():
    layer = augment.RandomGaussianBlur(sigma=(0.1, 2.0), probability=0.1)
    params = layer.sample(KEYS, (32, 32))
    _assert_uniform(params["sigma"].numpy(), 0.1, 2.0)
    _assert_rate(params["chosen"].numpy(), 0.1)


def test_grayscale_and_solarize_are_drawn_apart():
    images = tf.ones([4000, 1, 1, 3]) * [0.9, 0.6, 0.7]
    gray = augment.RandomGrayscale(probability=0.2)(images, KEYS[:4000]).numpy()
    inverted = augment.RandomSolarize(probability=0.2)(images, KEYS[:4000]).numpy()
    is_gray = gray[:, 0, 0, 0] == gray[:, 0, 0, 1]
    is_inverted = inverted[:, 0, 0, 0] < 0.5
    _assert_rate(is_gray, 0.2)
    _assert_rate(is_inverted, 0.2)
    assert abs(np.corrcoef(is_gray, is_inverted)[0, 1]) < 0.08


@pytest.mark.parametrize("mode", ["multiply", "add"])
def test_jitter_equals_tf_image_in_the_order_of_each_image(images, mode):
    """Clipped after each operation; both ways of computing it."""
    layer = augment.ColorJitter(probability=1.0, brightness_mode=mode)
    params = layer.sample(KEYS[:12], (8, 8))
    first = tf.multiply if mode == "multiply" else tf.image.adjust_brightness
    operations = [
        ("brightness", first),
        ("contrast", tf.image.adjust_contrast),
        ("saturation", tf.image.adjust_saturation),
        ("hue", tf.image.adjust_hue),
    ]
    expected = []
    for number, image in enumerate(images):
        for which in params["order"][number].numpy():
            name, operation = operations[which]
            image = operation(image, params[name][number])
            image = tf.clip_by_value(image, 0.0, 1.0)
        expected.append(image)
    together = layer.apply(images, params)
    np.testing.assert_allclose(together, tf.stack(expected), atol=1e-5)
    for number, image in enumerate(images):
        one = layer.apply(
            image[None], {k: v[number : number + 1] for k, v in params.items()}
        )
        np.testing.assert_allclose(one[0], expected[number], atol=1e-5)


def test_every_image_draws_its_own(images):
    same = tf.repeat(images[:1], 64, axis=0)
    for layer in (
        augment.ColorJitter(probability=1.0),
        augment.RandomGaussianBlur(probability=1.0, sigma=(0.5, 2.0), size=0.5),
    ):
        results = layer(same, KEYS[:64]).numpy()
        assert len(np.unique(results.reshape(64, -1), axis=0)) == 64


def test_images_not_chosen_are_left_alone(images):
    layer = augment.ColorJitter(probability=0.5)
    chosen = layer.sample(random.fold_in(KEYS[:12], layer.salt), (8, 8))["chosen"]
    assert 0 < chosen.numpy().sum() < 12
    results = layer(images, KEYS[:12]).numpy()
    same = (results == images.numpy()).all(axis=(1, 2, 3))
    assert same[~chosen.numpy()].all()
    alone = layer(images[:1], KEYS[:1])
    np.testing.assert_allclose(alone[0], results[0], atol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        augment.ColorJitter(brightness=0.1, hue=0.3, brightness_mode="add", salt=9),
        augment.RandomGrayscale(probability=0.4),
        augment.RandomGaussianBlur(sigma=(0.2, 0.9), size=0.4, probability=0.7),
        augment.RandomSolarize(threshold=0.3, probability=0.7),
        augment.Normalize((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_config_round_trip(images, layer):
    config = keras.saving.serialize_keras_object(layer)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()
    if not isinstance(layer, augment.Normalize):
        np.testing.assert_array_equal(
            layer(images, KEYS[:12]), again(images, KEYS[:12])
        )


@pytest.mark.parametrize(
    "layer",
    [
        augment.ColorJitter(),
        augment.RandomGrayscale(),
        augment.RandomGaussianBlur(size=0.5),
        augment.RandomSolarize(),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_eager_equals_tf_data_and_a_compiled_step(images, layer):
    keys = KEYS[:12]
    eager = layer(images, keys)
    dataset = tf.data.Dataset.from_tensors((images, keys)).map(layer)
    compiled = tf.function(layer, jit_compile=True)(images, keys)
    np.testing.assert_allclose(eager, next(iter(dataset)), atol=1e-5)
    np.testing.assert_allclose(eager, compiled, atol=1e-5)


def test_a_precision_policy_leaves_the_images_in_float32(images):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        layer = augment.ColorJitter()
    finally:
        keras.config.set_dtype_policy("float32")
    assert layer(images, KEYS[:12]).dtype == tf.float32
