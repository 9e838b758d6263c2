"""The linear probe: against scikit-learn, frozen, and blind to the test set."""

import keras
import numpy as np
import pytest
import sklearn.linear_model
import tensorflow as tf

from selfsup_tf.data.sources import open_source
from selfsup_tf.data.stored_vectors import StoredVectors
from selfsup_tf.errors import InputError
from selfsup_tf.evaluation.features import extract_features, weights_hash
from selfsup_tf.evaluation.measures.linear import (
    TrunkChangedError,
    linear_classifier,
    linear_probe,
)
from selfsup_tf.evaluation.measures.linear_fit import (
    choose_inverse_penalty,
    fit_lbfgs,
    fit_sgd,
)


def pooling_encoder(layers=(), size=8):
    images = keras.Input((size, size, 3))
    h = keras.layers.Conv2D(
        8, 3, kernel_initializer=keras.initializers.Orthogonal(seed=2)
    )(images)
    h = keras.layers.BatchNormalization()(h)
    for layer in layers:
        h = layer(h)
    return keras.Model(images, keras.layers.GlobalAveragePooling2D()(h))


def coloured(count, seed, noise=20, size=8):
    """Images of three classes, told apart by their tint under noise."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, count)
    tint = 128 + 30 * np.eye(3)[labels][:, None, None, :]
    pixels = tint + random.normal(0, noise, (count, 1, 1, 3))
    pixels = pixels + random.normal(0, 10, (count, size, size, 3))
    return np.clip(pixels, 0, 255).astype(np.uint8), labels


TRAIN, TEST = coloured(300, 1), coloured(100, 2)


def test_lbfgs_is_a_logistic_regression_on_standardised_features():
    encoder = pooling_encoder()
    before = weights_hash(encoder)
    result = linear_probe(encoder, TRAIN, TEST)
    train, test = (extract_features(encoder, data) for data in (TRAIN, TEST))
    mean, std = train.features.mean(0), train.features.std(0)
    model = sklearn.linear_model.LogisticRegression(
        C=result.fit["inverse_penalty"], max_iter=500
    )
    model.fit((train.features - mean) / std, train.labels)
    expected = model.score((test.features - mean) / std, test.labels)
    assert result.top_1 == pytest.approx(expected, abs=0.011)
    assert result.top_1 > 0.6
    assert result.trunk_hash == before == weights_hash(encoder)
    assert result.fit["converged"]
    assert (result.num_train, result.num_test) == (300, 100)


def test_the_penalty_is_the_best_on_the_split():
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 200)
    # One telling dimension among many of noise: only a strong penalty generalises.
    features = random.normal(size=(200, 150)).astype(np.float32)
    features[:, 0] += 1.5 * labels
    candidates = (100.0, 1.0, 0.01, 0.001)
    alone = {
        c: choose_inverse_penalty(features, labels, (c,))[1]["split_accuracy"]
        for c in candidates
    }
    best, fit = choose_inverse_penalty(features, labels, candidates)
    assert fit["split_accuracy"] == max(alone.values()) == alone[best]
    assert best == min(c for c in candidates if alone[c] == alone[best])
    assert len(set(alone.values())) > 1
    assert fit["split_fitted"] + fit["split_judged"] == 200
    assert 35 <= fit["split_judged"] <= 40


def test_a_class_that_train_lacks_is_never_predicted():
    images, labels = TRAIN
    two = labels < 2
    result = linear_probe(pooling_encoder(), (images[two], labels[two]), TEST)
    assert result.num_classes == 3
    assert 0 < result.top_1 <= (TEST[1] < 2).mean()


def test_sgd_learns_and_leaves_the_trunk_alone():
    encoder = pooling_encoder()
    before = weights_hash(encoder)
    options = dict(preset="byol", epochs=8, batch_size=64, learning_rate=4.0)
    result = linear_probe(encoder, TRAIN, TEST, **options)
    assert result.top_1 > 0.6
    assert result.trunk_hash == before == weights_hash(encoder)
    assert result.fit["steps"] == 8 * (300 // 64)
    assert result.fit["learning_rate"] == pytest.approx(4 * 64 / 256)
    assert result.fit["train_loss"] < np.log(3)
    assert linear_probe(encoder, TRAIN, TEST, **options) == result


def test_sgd_on_images_of_many_sizes():
    """As of images too large, or of other sizes, to be cropped as a batch."""
    encoder, source = pooling_encoder(), open_source(TRAIN)
    options = dict(epochs=8, batch_size=64, learning_rate=4.0, weight_decay=0.0, seed=0)
    classify, _ = fit_sgd(encoder, source, 3, batched_pixels=0, **options)
    scores = classify(extract_features(encoder, TEST).features)
    assert (scores.argmax(1) == TEST[1]).mean() > 0.6


class Counter(keras.layers.Layer):
    """Assigns to a weight in inference, too, as a probe's trunk must not."""

    def build(self, shape):
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, inputs):
        self.calls.assign_add(1.0)
        return inputs


@pytest.mark.parametrize("preset", ["lbfgs", "byol"])
def test_a_trunk_that_changes_is_caught(preset):
    encoder = pooling_encoder([Counter()])
    epochs = {"epochs": 1} if preset == "byol" else {}
    with pytest.raises(TrunkChangedError, match="frozen"):
        linear_probe(encoder, TRAIN, TEST, preset=preset, **epochs)


def test_options_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match=r"received epochs=3, learning_rate=0.1"):
        linear_probe(pooling_encoder(), TRAIN, TEST, epochs=3, learning_rate=0.1)
    with pytest.raises(InputError, match="Perhaps you meant: lbfgs"):
        linear_probe(pooling_encoder(), TRAIN, TEST, preset="lbgfs")
    wrong = {"batch_size": 0, "epochs": 0, "learning_rate": -0.1, "weight_decay": -1.0}
    for name, value in (*wrong.items(), ("learning_rate", float("nan"))):
        options = {"preset": "byol", name: value}
        with pytest.raises(InputError, match=f"expected {name} "):
            linear_probe(pooling_encoder(), TRAIN, TEST, **options)
    vectors = StoredVectors(
        "a.npz", (), np.zeros((4, 2), np.float32), np.arange(4), None
    )
    with pytest.raises(InputError, match="which draws crops; received vectors"):
        linear_probe(vectors, TRAIN, TEST, preset="byol")


def test_a_diverged_probe_is_refused():
    class Huge(keras.layers.Layer):
        def call(self, inputs):
            return inputs * tf.constant(1e20)

    with pytest.raises(InputError, match="finite loss"):
        linear_probe(pooling_encoder([Huge()]), TRAIN, TEST, preset="byol", epochs=2)


def select(data, classes):
    """The images of the first classes."""
    images, labels = data
    return images[labels < classes], labels[labels < classes]


@pytest.mark.parametrize("classes", [2, 3])
def test_its_probabilities_are_the_probes(classes):
    encoder = pooling_encoder()
    train, test = (select(data, classes) for data in (TRAIN, TEST))
    before = weights_hash(encoder)
    classifier, names = linear_classifier(encoder, train)
    assert names == tuple(map(str, range(classes)))
    assert weights_hash(encoder) == before
    assert encoder in classifier.layers
    logits = classifier.predict(test[0] / np.float32(255), verbose=0)
    assert logits.shape == (len(test[1]), classes)
    classify, _ = fit_lbfgs(extract_features(encoder, train), classes)
    expected = classify(extract_features(encoder, test).features)
    # Standardising before or within the kernel: float32 of numbers up to 100.
    np.testing.assert_allclose(logits, expected, atol=1e-3)
    assert (logits.argmax(1) == test[1]).mean() > 0.6


def test_a_class_without_images_is_never_the_answer():
    encoder, (images, labels) = pooling_encoder(), TRAIN
    labels = np.where(labels == 1, 3, labels)
    classifier, names = linear_classifier(encoder, (images, labels))
    assert len(names) == 4
    logits = classifier.predict(images / np.float32(255), verbose=0)
    assert set(logits.argmax(1)) == {0, 2, 3}
    assert np.isfinite(logits.astype(np.float16)).all()


def test_a_classifier_of_images_without_labels_is_refused():
    with pytest.raises(InputError, match="labelled images"):
        linear_classifier(pooling_encoder(), TRAIN[0])
