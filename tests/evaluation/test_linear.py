"""The linear probe: against scikit-learn, frozen, and blind to the test set."""

import keras
import numpy as np
import pytest
import sklearn.linear_model
import tensorflow as tf

from selfsup_tf.data.sources import open_source
from selfsup_tf.errors import InputError
from selfsup_tf.evaluation.features import extract_features, weights_hash
from selfsup_tf.evaluation.linear import TrunkChangedError, linear_probe
from selfsup_tf.evaluation.linear_fit import choose_inverse_penalty, fit_sgd


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
    result = linear_probe(encoder, TRAIN, TEST, inverse_penalties=(0.1,))
    train, test = (extract_features(encoder, data) for data in (TRAIN, TEST))
    mean, std = train.features.mean(0), train.features.std(0)
    model = sklearn.linear_model.LogisticRegression(C=0.1, max_iter=500)
    model.fit((train.features - mean) / std, train.labels)
    expected = model.score((test.features - mean) / std, test.labels)
    assert result.top_1 == pytest.approx(expected, abs=0.011)
    assert result.top_1 > 0.6
    assert result.trunk_hash == before == weights_hash(encoder)
    assert result.fit["converged"]
    assert (result.num_train, result.num_test) == (300, 100)


def test_the_penalty_is_chosen_without_the_test_set():
    encoder = pooling_encoder()
    images, labels = TEST
    honest = linear_probe(encoder, TRAIN, TEST)
    for seed in range(3):
        noise = np.random.default_rng(seed).permutation(labels)
        planted = linear_probe(encoder, TRAIN, (images, noise))
        assert planted.fit == honest.fit
        assert planted.top_1 < honest.top_1 - 0.2


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
    options = dict(optimizer="sgd", epochs=8, batch_size=64, learning_rate=4.0)
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


@pytest.mark.parametrize("optimizer", ["lbfgs", "sgd"])
def test_a_trunk_that_changes_is_caught(optimizer):
    encoder = pooling_encoder([Counter()])
    epochs = {"epochs": 1} if optimizer == "sgd" else {}
    with pytest.raises(TrunkChangedError, match="frozen"):
        linear_probe(encoder, TRAIN, TEST, optimizer=optimizer, **epochs)


def test_options_of_sgd_are_refused_beside_lbfgs():
    with pytest.raises(InputError, match=r"received epochs=3, learning_rate=0.1"):
        linear_probe(pooling_encoder(), TRAIN, TEST, epochs=3, learning_rate=0.1)


@pytest.mark.parametrize("optimizer", ["lbfgs", "sgd"])
def test_no_labels_are_refused(optimizer):
    with pytest.raises(InputError, match="labelled train set"):
        linear_probe(pooling_encoder(), TRAIN[0], TEST, optimizer=optimizer)
    with pytest.raises(InputError, match="labelled test set"):
        linear_probe(pooling_encoder(), TRAIN, TEST[0], optimizer=optimizer)


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(InputError, match="Perhaps you meant: lbfgs"):
        linear_probe(pooling_encoder(), TRAIN, TEST, optimizer="lbgfs")


def test_a_diverged_probe_is_refused():
    class Huge(keras.layers.Layer):
        def call(self, inputs):
            return inputs * tf.constant(1e20)

    with pytest.raises(InputError, match="finite loss"):
        linear_probe(pooling_encoder([Huge()]), TRAIN, TEST, optimizer="sgd", epochs=2)
