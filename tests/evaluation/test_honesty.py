"""No protocol learns from the labels that it is judged by, and a check that would tell.

The check judges twice, the second time with the test labels shuffled among the images:
whatever has been learned or chosen without them answers as before.
"""

import keras
import numpy as np
import pytest

from selfsup_tf.evaluation.features import extract_features, weights_hash
from selfsup_tf.evaluation.measures.classification import Classification, count_answers
from selfsup_tf.evaluation.measures.knn import knn
from selfsup_tf.evaluation.measures.linear import linear_probe
from selfsup_tf.evaluation.measures.linear_fit import fit_lbfgs
from selfsup_tf.evaluation.running import evaluate
from selfsup_tf.models.untrained import untrained_copy


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


@pytest.mark.parametrize("protocol", [knn, linear_probe])
def test_answers_do_not_depend_on_the_test_labels(protocol):
    before, after = answers(protocol)
    assert after == [before] * SHUFFLES


def test_sgd_does_not_either():
    def sgd(encoder, train, test):
        options = {"preset": "simclr", "epochs": 3, "learning_rate": 4.0}
        return linear_probe(encoder, train, test, **options)

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
    for name in ("knn", "linear", "retrieval", "robustness"):
        options = {"ranks": (1,)} if name == "retrieval" else {}
        evaluate(name, encoder, TRAIN, TEST, untrained=False, **options)
        assert weights_hash(encoder) == before


def test_transfer_is_knn_and_linear(tmp_path):
    encoder = encoder_of_tints()
    found = evaluate("transfer", encoder, TRAIN, TEST, data="tints")
    assert found.title == "Transfer to tints"
    near, probe = knn(encoder, TRAIN, TEST), linear_probe(encoder, TRAIN, TEST)
    expected = {"knn": near.to_dict(), "linear": probe.to_dict()}
    assert found.details["trained"] == expected
    values = {(row.group, row.name): row.value for row in found.rows}
    assert values["k-NN", "top_1"] == near.top_1
    assert values["Linear probe", "top_1"] == probe.top_1


def test_a_gain_that_is_sure_has_an_interval_above_nothing():
    encoder = encoder_of_tints()
    beside = evaluate("knn", encoder, TRAIN, TEST, k=5).rows[0].beside["untrained"]
    literal = []
    both = (encoder, untrained_copy(encoder))
    hits = [np.asarray(knn(e, TRAIN, TEST, k=5).per_image, float) for e in both]
    draws = np.random.default_rng(0).integers(0, 90, (1000, 90))
    for draw in draws:
        literal.append(hits[0][draw].mean() - hits[1][draw].mean())
    expected = np.percentile(literal, [2.5, 97.5])
    np.testing.assert_allclose(beside.gain_interval, expected, atol=1e-9)
    assert beside.gain_interval[0] <= beside.gain <= beside.gain_interval[1]
