"""Augmentations as layers. What they compute and draw: tests/fidelity."""

import keras
import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf

from selfsup_tf.data import crop_boxes, geometry, layers, random
from selfsup_tf.errors import InputError

KEYS = random.image_keys(0, 0, tf.range(200), 0)


@pytest.fixture(scope="module")
def images():
    """Noise, black, white, grey, and primary colours: (24, 20, 28, 3)."""
    rng = np.random.default_rng(0)
    batch = rng.uniform(size=(24, 20, 28, 3)).astype(np.float32)
    batch[20], batch[21], batch[22] = 0, 1, 0.5
    batch[23] = rng.integers(0, 2, size=(20, 28, 3))
    return tf.constant(batch)


def test_a_law_that_is_none_is_refused():
    with pytest.raises(InputError, match="one of log_uniform, log_uniform_clipped"):
        layers.RandomResizedCrop(24, law="uniform")


def test_a_crop_of_bytes_equals_a_crop_of_floats(images):
    bytes_ = tf.cast(tf.round(images[0] * 255), tf.uint8)
    box = tf.constant([2, 3, 11, 13])
    options = {"size": 16, "method": "bicubic", "antialias": False}
    actual = geometry.crop_and_resize_one(bytes_, box, **options) / 255
    floats = geometry.as_float(bytes_)
    expected = geometry.crop_and_resize_one(floats, box, **options)
    np.testing.assert_allclose(actual, expected, atol=1e-6)


@pytest.mark.parametrize("law", crop_boxes.LAWS)
def test_crop_layer_stays_in_range_and_crops_one_alike(images, law):
    layer = layers.RandomResizedCrop(24, law=law)
    results = layer(images, KEYS[:24])
    assert results.shape == (24, 24, 24, 3)
    assert results.numpy().min() >= 0 and results.numpy().max() <= 1
    for image, key, result in zip(images, KEYS[:24], results, strict=True):
        np.testing.assert_allclose(layer.call_one(image, key), result, atol=1e-5)


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
    layers.RandomResizedCrop(
        12, area=(0.3, 0.6), aspect=(0.9, 1.1), interpolation="bilinear", salt=4
    ),
    layers.RandomResizedCrop(20, antialias=True, law="log_uniform_clipped"),
    layers.RandomResizedCrop(16, law="distorted_box"),
    layers.RandomHorizontalFlip(probability=0.6),
    layers.RandomRotate90(probability=0.6),
    layers.RandomRotation(15.0, probability=0.6),
    layers.ColorJitter(brightness=0.1, hue=0.3, brightness_mode="add", salt=9),
    layers.RandomGrayscale(probability=0.4),
    layers.RandomGaussianBlur(sigma=(0.2, 0.9), size=0.4, probability=0.7),
    layers.RandomSolarize(threshold=0.3, probability=0.7),
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
        # One image alone takes the branches it needs, which round in another order.
        np.testing.assert_allclose(part, whole[some], atol=1e-5)


def test_images_not_chosen_are_left_alone(images):
    layer, keys = layers.ColorJitter(probability=0.5), KEYS[:24]
    chosen = layer.sample(random.fold_in(keys, layer.salt), (20, 28))["chosen"]
    assert 0 < chosen.numpy().sum() < 24
    same = (layer(images, keys).numpy() == images.numpy()).all(axis=(1, 2, 3))
    assert same[~chosen.numpy()].all()


def test_a_precision_policy_leaves_the_images_in_float32(images):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        layer = layers.ColorJitter()
    finally:
        keras.config.set_dtype_policy("float32")
    assert layer(images, KEYS[:24]).dtype == tf.float32
