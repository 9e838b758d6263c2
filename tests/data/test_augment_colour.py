"""Colour layers as layers. What they compute and draw: tests/fidelity."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from selfsup_tf.data import augment, random

KEYS = random.image_keys(0, 0, tf.range(12), 0)


@pytest.fixture(scope="module")
def images():
    """Noise, black, white, grey, and primary colours: (12, 8, 8, 3)."""
    rng = np.random.default_rng(0)
    batch = rng.uniform(size=(12, 8, 8, 3)).astype(np.float32)
    batch[8], batch[9], batch[10] = 0, 1, 0.5
    batch[11] = rng.integers(0, 2, size=(8, 8, 3))
    return tf.constant(batch)


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
