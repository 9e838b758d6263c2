"""No protocol learns from the labels that it is judged by, and a check that would tell.

The check judges twice, the second time with the test labels shuffled among the images:
whatever has been learned or chosen without them answers as before.
"""

import keras
import numpy as np
import pytest

from selfsup_tf.evaluation.classification import Classification, count_answers
from selfsup_tf.evaluation.features import extract_features, weights_hash
from selfsup_tf.evaluation.linear import fit_lbfgs
from selfsup_tf.evaluation.results import PROTOCOLS, evaluate, transfer


def encoder_of_tints():
    images = keras.Input((8, 8, 3))
    # About grey, so that the direction of a tint tells its class.
    h = keras.layers.GlobalAveragePooling2D()(images - 0.5)
    mix = keras.layers.Dense(
        6, kernel_initializer=keras.initializers.Orthogonal(seed=1)
    )
    return keras.Model(images, mix(h))


def tinted(count, seed, classes=6):
    """Images whose mean colour tells the class, under noise that often hides it."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, count)
    tint = np.random.default_rng(0).uniform(60, 190, (classes, 3))[labels]
    tint = tint + random.normal(0, 45, (count, 3))
    images = tint[:, None, None] + random.normal(0, 9, (count, 8, 8, 3))
    return np.clip(images, 0, 255).astype(np.uint8), labels


SHUFFLES = 3  # one alone may happen to choose as the true labels do
TRAIN, TEST = tinted(200, 1), tinted(90, 2)


def answers(protocol, shuffles=SHUFFLES):
    """How often each class is answered: with the true test labels, and with others."""
    images, labels = TEST
    shuffled = [np.random.default_rng(n).permutation(labels) for n in range(shuffles)]
    encoder = encoder_of_tints()
    given = (labels, *shuffled)
    found = [protocol(encoder, TRAIN, (images, judges)) for judges in given]
    assert found[0].top_1 > found[1].top_1 + 0.1  # the labels do matter to the score
    counts = [np.sum(one.confusion, axis=0).tolist() for one in found]
    return counts[0], counts[1:]


CLASSIFIERS = {
    name: protocol
    for name, protocol in PROTOCOLS.items()
    if name not in ("retrieval", "robustness")  # they have tests of this of their own
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_answers_do_not_depend_on_the_test_labels(name):
    before, after = answers(CLASSIFIERS[name])
    assert after == [before] * SHUFFLES


def test_sgd_does_not_either():
    def sgd(encoder, train, test):
        return PROTOCOLS["linear"](
            encoder, train, test, preset="simclr", epochs=3, learning_rate=4.0
        )

    before, after = answers(sgd, shuffles=1)
    assert after == [before]


@pytest.mark.parametrize("leak", ["fitted on them", "penalty chosen by them"])
def test_a_planted_leak_is_caught(leak):
    def leaky(encoder, train, test):
        seen, judged = (extract_features(encoder, data) for data in (train, test))
        if leak == "fitted on them":
            classify, _ = fit_lbfgs(judged, 6, (10.0,))
            scores = classify(judged.features)
        else:
            tried = [
                fit_lbfgs(seen, 6, (c,))[0](judged.features)
                for c in (1e-5, 1e-3, 1e-1, 1.0, 10.0)
            ]
            scores = max(
                tried, key=lambda scores: (scores.argmax(1) == judged.labels).mean()
            )
        return Classification(**count_answers(scores, judged.labels))

    before, after = answers(leaky)
    assert after != [before] * SHUFFLES


def test_the_encoder_stays_as_it_is():
    encoder = encoder_of_tints()
    before = weights_hash(encoder)
    for name in PROTOCOLS:
        options = {"ranks": (1,)} if name == "retrieval" else {}
        evaluate(name, encoder, TRAIN, TEST, compare_untrained=False, **options)
        assert weights_hash(encoder) == before


def test_transfer_is_knn_and_linear(tmp_path):
    encoder = encoder_of_tints()
    path = tmp_path / "transfer.json"
    near, probe = transfer(encoder, TRAIN, TEST, name="tints", path=path)
    assert near.trained == PROTOCOLS["knn"](encoder, TRAIN, TEST)
    assert probe.trained == PROTOCOLS["linear"](encoder, TRAIN, TEST)
    assert path.is_file()


def test_a_gain_that_is_sure_has_an_interval_above_nothing():
    encoder = encoder_of_tints()
    found = evaluate("knn", encoder, TRAIN, TEST, k=5)
    literal = []
    hits = [np.asarray(r.per_image, float) for r in (found.trained, found.untrained)]
    draws = np.random.default_rng(0).integers(0, 90, (1000, 90))
    for draw in draws:
        literal.append(100 * (hits[0][draw].mean() - hits[1][draw].mean()))
    expected = np.percentile(literal, [2.5, 97.5])
    np.testing.assert_allclose(found.gain_interval, expected, atol=1e-9)
    assert found.gain_interval[0] <= found.gain <= found.gain_interval[1]
