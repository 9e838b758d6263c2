"""Layers that move pixels: boxes by their statistics, resampling exactly."""

import keras
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import tensorflow as tf

from selfsup_tf.data import augment, geometry, random

KEYS = random.image_keys(0, 0, tf.range(10_000), 0)
DRAWS = random.uniform(KEYS, geometry.CROP_DRAWS)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return tf.constant(rng.uniform(size=(24, 20, 28, 3)).astype(np.float32))


def _boxes(height, width, area=(0.08, 1.0), aspect=(3 / 4, 4 / 3)):
    shape = (height, width)
    return geometry.crop_boxes(DRAWS, shape, area=area, aspect=aspect).numpy()


def test_boxes_have_uniform_area_and_log_uniform_aspect():
    """On images so large that rounding is nothing and every draw fits."""
    side = 100_000
    y, x, tall, wide = _boxes(side, side, area=(0.1, 0.5)).astype(float).T
    checks = {
        "area": (tall * wide / side**2, 0.1, 0.4),
        "aspect": (np.log(wide / tall), np.log(3 / 4), np.log(16 / 9)),
        "y": (y / (side - tall), 0, 1),
        "x": (x / (side - wide), 0, 1),
    }
    for name, (values, low, width) in checks.items():
        test = scipy.stats.kstest(values, "uniform", args=(low, width))
        assert test.pvalue > 1e-4, name
    together = np.corrcoef([values for values, _, _ in checks.values()]) - np.eye(4)
    assert np.abs(together).max() < 0.05


@pytest.mark.parametrize(
    ("height", "width"), [(32, 32), (224, 300), (20, 500), (500, 20), (1, 1), (1, 60)]
)
def test_boxes_lie_inside_and_keep_the_bounds(height, width):
    y, x, tall, wide = _boxes(height, width).T
    assert min(y.min(), x.min()) >= 0 and min(tall.min(), wide.min()) >= 1
    assert (y + tall).max() <= height and (x + wide).max() <= width
    if min(height, width) >= 32:
        # A side is rounded by half a pixel at most, of nine in the smallest crop.
        assert (wide / tall).min() > 0.67 and (wide / tall).max() < 1.5
        assert (tall * wide).min() / (height * width) > 0.07


@pytest.mark.parametrize(
    ("height", "width", "aspect", "box"),
    [
        (20, 500, (3 / 4, 4 / 3), (0, 236, 20, 27)),
        (500, 20, (3 / 4, 4 / 3), (236, 0, 27, 20)),
        (30, 30, (1.2, 1.2), (2, 0, 25, 30)),
        (30, 30, (0.5, 0.5), (0, 7, 30, 15)),
    ],
)
def test_where_no_draw_fits_the_largest_central_box_is_taken(
    height, width, aspect, box
):
    """Areas of the whole image, in aspects that it doesn't have, never fit."""
    boxes = _boxes(height, width, area=(1.0, 1.0), aspect=aspect)
    np.testing.assert_array_equal(np.unique(boxes, axis=0), [box])


def test_boxes_of_images_of_different_sizes_equal_those_drawn_alone():
    shapes = tf.constant([[30, 40], [100, 60], [7, 7]])
    options = {"area": (0.08, 1.0), "aspect": (3 / 4, 4 / 3)}
    together = geometry.crop_boxes(DRAWS[:3], (shapes[:, 0], shapes[:, 1]), **options)
    for number, (height, width) in enumerate(shapes.numpy()):
        draws = DRAWS[number : number + 1]
        alone = geometry.crop_boxes(draws, (height, width), **options)
        np.testing.assert_array_equal(together[number], alone[0])


@pytest.mark.parametrize("size", [6, 16, 32])
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
def test_crop_equals_tf_image_resize(images, method, antialias, size):
    boxes = geometry.crop_boxes(
        DRAWS[:24], images.shape[1:3], area=(0.02, 1.0), aspect=(0.5, 2.0)
    )
    options = {"size": size, "method": method, "antialias": antialias}
    actual = geometry.crop_and_resize(images, boxes, **options)
    for image, box, result in zip(images, boxes.numpy(), actual, strict=True):
        y, x, h, w = box
        expected = tf.image.resize(
            image[y : y + h, x : x + w], (size, size), method, antialias=antialias
        )
        np.testing.assert_allclose(result, expected, atol=1e-5)
        one = geometry.crop_and_resize_one(image, tf.constant(box), **options)
        np.testing.assert_array_equal(one, expected)


def test_a_crop_of_bytes_equals_a_crop_of_floats(images):
    bytes_ = tf.cast(tf.round(images[0] * 255), tf.uint8)
    box = tf.constant([2, 3, 11, 13])
    options = {"size": 16, "method": "bicubic", "antialias": False}
    actual = geometry.crop_and_resize_one(bytes_, box, **options)
    floats = geometry.as_float(bytes_)
    expected = geometry.crop_and_resize_one(floats, box, **options)
    np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_crop_layer_stays_in_range_and_crops_one_alike(images):
    layer = augment.RandomResizedCrop(24)
    results = layer(images, KEYS[:24])
    assert results.shape == (24, 24, 24, 3)
    assert results.numpy().min() >= 0 and results.numpy().max() <= 1
    for image, key, result in zip(images, KEYS[:24], results, strict=True):
        np.testing.assert_allclose(layer.call_one(image, key), result, atol=1e-5)


def test_flip_mirrors_half_of_the_images(images):
    layer = augment.RandomHorizontalFlip()
    many = tf.tile(images[:1, :1, :2], [10_000, 1, 1, 1])
    results = layer(many, KEYS).numpy()
    mirrored = (results == many.numpy()[:, :, ::-1]).all(axis=(1, 2, 3))
    same = (results == many.numpy()).all(axis=(1, 2, 3))
    assert (mirrored ^ same).all()
    assert scipy.stats.binomtest(int(mirrored.sum()), 10_000, 0.5).pvalue > 1e-4


def test_rotate90_takes_each_turn_equally_often(images):
    layer = augment.RandomRotate90(probability=0.75)
    square = images[0, :4, :4].numpy()
    results = layer(tf.tile(square[None], [10_000, 1, 1, 1]), KEYS).numpy()
    matches = [(results == np.rot90(square, k)).all(axis=(1, 2, 3)) for k in range(4)]
    assert (np.sum(matches, axis=0) == 1).all()
    assert scipy.stats.chisquare(np.sum(matches, axis=1)).pvalue > 1e-4


def test_rotation_draws_its_angle_uniformly():
    degrees = augment.RandomRotation(30.0).sample(KEYS, (8, 8))["degrees"].numpy()
    assert scipy.stats.kstest(degrees, "uniform", args=(-30, 60)).pvalue > 1e-4


@pytest.mark.parametrize("shape", [(9, 9), (8, 13)])
def test_rotation_equals_scipys(images, shape):
    batch = images[:4, : shape[0], : shape[1]]
    degrees = tf.constant([0.0, 90.0, -33.3, 170.0])
    actual = geometry.rotate(batch, degrees).numpy()
    np.testing.assert_array_equal(actual[0], batch[0])
    for image, angle, result in zip(batch, degrees.numpy(), actual, strict=True):
        expected = scipy.ndimage.rotate(
            image.numpy().astype(float), angle, reshape=False, order=1, mode="reflect"
        )
        np.testing.assert_allclose(result, expected, atol=1e-4)


LAYERS = [
    augment.RandomResizedCrop(
        12, area=(0.3, 0.6), aspect=(0.9, 1.1), interpolation="bilinear", salt=4
    ),
    augment.RandomResizedCrop(20, antialias=True),
    augment.RandomHorizontalFlip(probability=0.6),
    augment.RandomRotate90(probability=0.6),
    augment.RandomRotation(15.0, probability=0.6),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_config_round_trip(images, layer):
    config = keras.saving.serialize_keras_object(layer)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()
    square = images[:, :20, :20]
    np.testing.assert_array_equal(layer(square, KEYS[:24]), again(square, KEYS[:24]))


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_eager_equals_tf_data_and_a_compiled_step(images, layer):
    square, keys = images[:, :20, :20], KEYS[:24]
    eager = layer(square, keys)
    dataset = tf.data.Dataset.from_tensors((square, keys)).map(layer)
    compiled = tf.function(layer, jit_compile=True)(square, keys)
    np.testing.assert_allclose(eager, next(iter(dataset)), atol=1e-5)
    np.testing.assert_allclose(eager, compiled, atol=1e-5)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_an_image_is_augmented_alike_in_any_batch(images, layer):
    square, keys = images[:, :20, :20], KEYS[:24]
    whole = layer(square, keys).numpy()
    for some in ([5], [17, 3]):
        part = layer(tf.gather(square, some), tf.gather(keys, some))
        np.testing.assert_allclose(part, whole[some], atol=1e-6)
