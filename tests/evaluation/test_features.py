"""Extraction, the hash of an encoder and its untrained copy."""

import os
import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from selfsup_tf.errors import InputError
from selfsup_tf.evaluation.features import (
    extract_features,
    image_size,
    weights_hash,
)
from selfsup_tf.evaluation.kept_arrays import read_arrays, write_arrays
from selfsup_tf.models.preprocessing import normalize
from selfsup_tf.models.untrained import untrained_copy


def small_encoder(size=8):
    """Normalisations of both kinds, convolution, BatchNorm, a model in a model."""
    body = keras.Sequential(
        [
            keras.Input((size, size, 3)),
            keras.layers.Conv2D(4, 3, use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
        ],
        name="body",
    )
    adapted = keras.layers.Normalization()
    images = keras.Input((size, size, 3))
    h = normalize(images, (0.4, 0.5, 0.6), (0.2, 0.2, 0.3))
    h = body(adapted(h))
    h = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(6, 3)(h))
    adapted.adapt(np.random.default_rng(9).normal(3, 2, (20, size, size, 3)))
    return keras.Model(images, h)


def train_a_little(encoder):
    """Moves every weight, BatchNorm's statistics included."""
    generator = np.random.default_rng(5)
    for layer in [*encoder.layers, *encoder.get_layer("body").layers]:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.BatchNormalization):
            layer.set_weights(
                [w + generator.uniform(0.1, 1, w.shape) for w in layer.get_weights()]
            )
    return encoder


@pytest.fixture(scope="module")
def encoder():
    return train_a_little(small_encoder())


def images(count, size=8, seed=0):
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (count, size, size, 3), np.uint8)


def test_every_example_once_with_a_remainder(encoder):
    x, y = images(23), np.arange(23) % 3
    found = extract_features(encoder, (x, y), batch_size=5)
    np.testing.assert_array_equal(found.indices, np.arange(23))
    np.testing.assert_array_equal(found.labels, y)
    assert found.features.dtype == np.float32
    expected = encoder(tf.constant(x / 255.0, tf.float32), training=False).numpy()
    np.testing.assert_allclose(found.features, expected, rtol=1e-4, atol=1e-5)


def test_a_broken_encoder_is_refused():
    encoder = small_encoder()
    encoder.layers[-2].bias.assign([np.nan] * 6)
    with pytest.raises(InputError, match="NaN or infinity"):
        extract_features(encoder, images(4))


def test_an_encoder_of_free_size_is_refused():
    inputs = keras.Input((None, None, 3))
    outputs = keras.layers.GlobalAveragePooling2D()(inputs)
    with pytest.raises(InputError, match="fixed S"):
        image_size(keras.Model(inputs, outputs))


def test_an_encoder_of_maps_or_of_two_outputs_is_refused():
    inputs = keras.Input((8, 8, 3))
    maps = keras.layers.Conv2D(4, 3)(inputs)
    h = keras.layers.GlobalAveragePooling2D()(maps)
    for outputs in (maps, [h, h]):
        with pytest.raises(InputError, match="one output is a vector of each image"):
            image_size(keras.Model(inputs, outputs))


def test_the_hash_sees_any_weight(encoder, tmp_path):
    original = weights_hash(encoder)
    encoder.save(tmp_path / "encoder.keras")
    loaded = keras.saving.load_model(tmp_path / "encoder.keras")
    assert weights_hash(loaded) == original
    seen = {original}
    for weight in loaded.weights:
        value = weight.numpy()
        weight.assign(value + 1)
        seen.add(weights_hash(loaded))
        weight.assign(value)
    assert len(seen) == 1 + len(loaded.weights)
    assert weights_hash(loaded) == original


def test_the_untrained_copy_is_the_same_network_afresh(encoder):
    before = weights_hash(encoder)
    copy = untrained_copy(encoder)
    assert weights_hash(encoder) == before
    assert [tuple(w.shape) for w in copy.weights] == [
        tuple(w.shape) for w in encoder.weights
    ]
    norm = copy.get_layer("body").layers[1]
    for weight, value in zip(norm.get_weights(), (1, 0, 0, 1), strict=True):
        np.testing.assert_array_equal(weight, np.full(4, value, np.float32))
    kernels = [m.get_layer("body").layers[0].get_weights()[0] for m in (encoder, copy)]
    assert np.abs(kernels[0] - kernels[1]).min() > 0
    assert np.abs(kernels[1]).max() < 1


def test_the_untrained_copy_keeps_the_normalisation(encoder):
    copy = untrained_copy(encoder)
    x = tf.constant(images(2) / 255.0, tf.float32)
    starts = [keras.Model(m.inputs, m.layers[2].output) for m in (encoder, copy)]
    outputs = [start(x).numpy() for start in starts]
    np.testing.assert_array_equal(*outputs)
    assert np.abs(outputs[0] - x.numpy()).min() > 0.1


def test_the_untrained_copy_follows_from_its_seed_alone(encoder):
    state = random.getstate()
    numpy_state = np.random.get_state()[1].tolist()
    first = weights_hash(untrained_copy(encoder, seed=3))
    assert random.getstate() == state
    assert np.random.get_state()[1].tolist() == numpy_state
    random.random()
    tf.random.uniform(())
    assert weights_hash(untrained_copy(encoder, seed=3)) == first
    assert weights_hash(untrained_copy(encoder, seed=4)) != first


def counted_encoder():
    """An encoder, and the list of the batches that it was called with."""
    calls = []

    class Spy(keras.layers.Layer):
        def call(self, images):
            tf.py_function(lambda: calls.append(1), [], [])
            return images

        def get_config(self):
            return super().get_config()

    images = keras.Input((8, 8, 3))
    h = keras.layers.Conv2D(4, 3)(Spy()(images))
    h = keras.layers.GlobalAveragePooling2D()(h)
    return keras.Model(images, h), calls


def test_a_cache_spares_the_second_extraction(tmp_path):
    labels = np.arange(20) % 3
    encoder, calls = counted_encoder()
    first = extract_features(encoder, (images(20), labels), cache=tmp_path)
    spent = len(calls)
    again = extract_features(encoder, (images(20), labels), cache=tmp_path)
    assert spent > 0 and len(calls) == spent
    np.testing.assert_array_equal(again.features, first.features)
    np.testing.assert_array_equal(again.labels, labels)
    np.testing.assert_array_equal(again.indices, np.arange(20))


def test_a_cache_knows_encoders_and_images_apart(tmp_path):
    x, labels = images(20), np.arange(20) % 3
    encoder = small_encoder()
    extract_features(encoder, (x, labels), cache=tmp_path)
    changes = (x[::-1], labels), (x[:19], labels[:19]), (x, (labels + 1) % 3)
    for changed in changes:
        plain = extract_features(encoder, changed)
        cached = extract_features(encoder, changed, cache=tmp_path)
        np.testing.assert_array_equal(cached.features, plain.features)
        np.testing.assert_array_equal(cached.labels, plain.labels)
    train_a_little(encoder)
    moved = extract_features(encoder, (x, labels), cache=tmp_path)
    plain = extract_features(encoder, (x, labels))
    np.testing.assert_array_equal(moved.features, plain.features)
    assert len(list(tmp_path.iterdir())) == 5


def test_a_constant_that_is_no_weight_makes_another_encoder(tmp_path):
    images = np.full((4, 8, 8, 3), 100, np.uint8)
    found = []
    for mean in (0.1, 0.3):
        inputs = keras.Input((8, 8, 3))
        h = normalize(inputs, (mean,) * 3, (0.2,) * 3)
        encoder = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(h))
        found.append(extract_features(encoder, images, cache=tmp_path).features)
    assert not np.allclose(*found)


def test_a_damaged_cache_is_made_again(tmp_path):
    encoder = small_encoder()
    first = extract_features(encoder, images(5), cache=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    again = extract_features(encoder, images(5), cache=tmp_path)
    np.testing.assert_array_equal(again.features, first.features)
    assert file.stat().st_size > 100


def test_a_cache_keeps_within_its_limit(tmp_path):
    for n in range(4):
        write_arrays(tmp_path, f"a{n}", {"x": np.zeros(150)}, limit=3000)
        os.utime(tmp_path / f"a{n}.npz", (n, n))
    assert read_arrays(tmp_path, "a0") is None
    assert read_arrays(tmp_path, "a3") is not None
    assert sum(f.stat().st_size for f in tmp_path.iterdir()) <= 3000
    # Another process may delete files at the same time: this one can't be looked at.
    (tmp_path / "gone.npz").symlink_to(tmp_path / "nowhere")
    write_arrays(tmp_path, "a4", {"x": np.zeros(15)}, limit=3000)
    (tmp_path / "gone.npz").unlink()
    write_arrays(tmp_path, "huge", {"x": np.zeros(1000)}, limit=3000)
    assert read_arrays(tmp_path, "huge") is None


def test_datasets_without_an_identity_are_not_cached(tmp_path):
    dataset = tf.data.Dataset.from_tensor_slices(images(3))
    extract_features(small_encoder(), dataset, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []
