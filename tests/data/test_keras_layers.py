"""The augmentations in anybody's Keras program: alone, in models, in tf.data."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import byol_tf
import dino_tf
import selfsup_tf as selfsup
from selfsup_tf import layers
from selfsup_tf.data import random
from selfsup_tf.data.views import View, evaluation_view

EVERY = {
    "crop": lambda **options: layers.RandomResizedCrop(16, **options),
    "flip": lambda **options: layers.RandomHorizontalFlip(**options),
    "quarter turns": lambda **options: layers.RandomRotate90(**options),
    "rotation": lambda **options: layers.RandomRotation(20.0, **options),
    "jitter": lambda **options: layers.ColorJitter(**options),
    "grayscale": lambda **options: layers.RandomGrayscale(**options),
    "blur": lambda **options: layers.RandomGaussianBlur(**options),
    "solarize": lambda **options: layers.RandomSolarize(**options),
    "view": lambda **options: layers.RandomView(16, **options),
}


@pytest.fixture(scope="module")
def images():
    """Float in [0, 1], (12, 40, 40, 3)."""
    return np.random.default_rng(0).random((12, 40, 40, 3), np.float32)


@pytest.mark.parametrize("name", EVERY)
def test_a_layer_takes_images_alone(name, images):
    layer = EVERY[name](seed=3)
    first, second = layer(images), layer(images)
    assert first.dtype == "float32"
    # A view clips at its end; a layer alone may round beyond.
    assert tf.reduce_min(first) >= -1e-6 and tf.reduce_max(first) <= 1 + 1e-6
    assert not np.array_equal(first, second)  # other draws at every call
    assert np.array_equal(first, EVERY[name](seed=3)(images))
    assert not np.array_equal(first, EVERY[name](seed=4)(images))
    same = np.asarray(EVERY[name](seed=3)(images[:1].repeat(12, 0)))
    assert len({row.tobytes() for row in same}) > 1  # each image has its own draws
    one = layer(images[0])
    assert one.shape == first.shape[1:]


@pytest.mark.parametrize("name", EVERY)
def test_out_of_training_images_are_left_alone(name, images):
    layer = EVERY[name]()
    rest = np.asarray(layer(images, training=False))
    if name == "view":
        np.testing.assert_array_equal(rest, evaluation_view(tf.constant(images), 16))
    elif name == "crop":
        whole = tf.image.resize(images, (16, 16), "bicubic")
        np.testing.assert_allclose(rest, np.clip(whole, 0, 1), atol=1e-6)
    else:
        np.testing.assert_array_equal(rest, images)


def test_whole_numbers_are_of_255(images):
    whole = (255 * images).astype(np.uint8)
    found = layers.RandomRotate90(seed=1)(whole)
    expected = layers.RandomRotate90(seed=1)(whole * np.float32(1 / 255))
    np.testing.assert_array_equal(found, expected)


def test_a_model_of_layers_trains_is_saved_and_rests(images, tmp_path):
    model = keras.Sequential(
        [
            keras.Input((40, 40, 3)),
            layers.RandomResizedCrop(16),
            layers.ColorJitter(),
            layers.RandomView(12, byol_tf.recipes.imagenet().views[1]),
            keras.layers.Conv2D(2, 3),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )
    model.compile("sgd", "mse")
    model.fit(images, np.zeros((12, 2)), verbose=0)
    still = model.predict(images, verbose=0)
    np.testing.assert_array_equal(still, model.predict(images, verbose=0))
    assert not np.array_equal(model(images, training=True), still)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict(images, verbose=0), still, rtol=1e-6)
    assert again.layers[2].view == byol_tf.recipes.imagenet().views[1]


def test_a_dataset_maps_a_layer_over_batches_and_images_of_any_size(images):
    batches = tf.data.Dataset.from_tensor_slices(images).batch(4)
    drawn = list(batches.map(layers.ColorJitter()).map(layers.RandomView(16)))
    assert [tuple(one.shape) for one in drawn] == [(4, 16, 16, 3)] * 3
    sizes = tf.data.Dataset.from_generator(
        lambda: iter([images[0], images[1][:30], images[2][:, :20]]),
        output_signature=tf.TensorSpec((None, None, 3), tf.float32),
    )
    for layer in (layers.RandomResizedCrop(16), layers.RandomView(16)):
        drawn = [one.numpy() for one in sizes.map(layer)]
        assert [one.shape for one in drawn] == [(16, 16, 3)] * 3
    jittered = [one.shape for one in sizes.map(layers.ColorJitter())]
    assert jittered == [one.shape for one in sizes]


def test_with_a_run_s_keys_a_view_is_that_of_the_run(images):
    config = byol_tf.recipes.imagenet().views[0]
    keys = random.image_keys(1, 2, tf.range(12), 1)
    found = layers.RandomView(16, config)(images, keys)
    np.testing.assert_array_equal(found, View(config, 16)(tf.constant(images), keys))


def test_the_size_that_is_asked_for_wins_over_that_of_the_view(images):
    view = layers.RandomView(20, dino_tf.recipes.imagenet().views[-1])
    assert view.view.size not in (None, 20)
    for training in (True, False):
        assert view(images, training=training).shape[1:3] == (20, 20)


def test_the_layers_are_found_where_a_person_looks():
    assert selfsup.layers is layers and "ColorJitter" in dir(selfsup.layers)
