"""Counting answers, and the intervals around them, against scikit-learn and loops."""

import dataclasses
import json

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from selfsup_tf.data.sources import open_source
from selfsup_tf.errors import InputError
from selfsup_tf.evaluation.measures.classification import (
    Classification,
    check_classes,
    count_answers,
)
from selfsup_tf.evaluation.measures.intervals import Scored, bootstrap_interval
from selfsup_tf.evaluation.text import format_classes


def answers(count=120, classes=7, seed=0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes - 1, count)  # the last class has no images
    scores = random.normal(size=(count, classes)) + 1.5 * np.eye(classes)[labels]
    scores[:, 2] = -9  # a class that is never predicted
    return scores, labels


def test_equals_the_classification_report_of_scikit_learn():
    scores, labels = answers()
    names = [f"class {n}" for n in range(7)]
    found = Classification(**count_answers(scores, labels, names))
    report = sklearn.metrics.classification_report(
        labels,
        scores.argmax(1),
        labels=range(7),
        target_names=names,
        output_dict=True,
        zero_division=0,
    )
    for row in found.per_class:
        expected = report[row["name"]]
        for ours, theirs in (("f1", "f1-score"), ("support", "support")):
            assert row[ours] == pytest.approx(expected[theirs])
        assert row["precision"] == pytest.approx(expected["precision"])
        assert row["recall"] == pytest.approx(expected["recall"])
    assert found.top_1 == pytest.approx((scores.argmax(1) == labels).mean())
    assert found.num_classes == 7 and found.num_test == 120


def test_confusion_counts_each_image_once():
    scores, labels = answers()
    found = count_answers(scores, labels)
    literal = np.zeros((7, 7), int)
    for label, row in zip(labels, scores, strict=True):
        literal[label, int(np.argmax(row))] += 1
    np.testing.assert_array_equal(found["confusion"], literal)
    assert found["class_names"] == tuple("0123456")


def test_top_5_by_a_literal_sort():
    scores, labels = answers()
    hits = [
        label in np.argsort(-row)[:5] for label, row in zip(labels, scores, strict=True)
    ]
    found = count_answers(scores, labels)
    assert found["top_5"] == pytest.approx(np.mean(hits))
    assert count_answers(scores[:, :5], labels % 5)["top_5"] is None


def test_equal_scores_count_in_parts_whatever_the_classes_numbers():
    labels = np.array([0, 0, 1, 2, 5, 6])
    scores = np.zeros((6, 7), np.float32)
    scores[1, [0, 3]] = 1
    scores[2, 1] = scores[3, 4] = 2
    scores[:, 6] = -np.inf
    found = count_answers(scores, labels)
    assert found["top_1"] == pytest.approx((1 / 6 + 1 / 2 + 1 + 0 + 1 / 6 + 0) / 6)
    assert found["top_5"] == pytest.approx((5 / 6 + 1 + 1 + 4 / 5 + 5 / 6 + 0) / 6)
    assert np.sum(found["confusion"]) == pytest.approx(6)
    assert np.trace(found["confusion"]) / 6 == pytest.approx(found["top_1"])
    number = np.array([3, 5, 0, 6, 2, 1, 4])
    other = count_answers(scores[:, np.argsort(number)], number[labels])
    for name in ("top_1", "top_5", "top_1_interval", "top_5_interval"):
        assert other[name] == pytest.approx(found[name])
    for old, new in enumerate(number):
        for name in ("precision", "recall", "f1", "support"):
            expected = found["per_class"][old][name]
            assert other["per_class"][new][name] == pytest.approx(expected)


def test_plain_values_and_a_table():
    scores, labels = answers()
    found = Classification(**count_answers(scores, labels, ["ant", "bee"]))
    values = json.loads(json.dumps(found.to_dict()))
    assert "per_image" not in values
    assert values["class_names"] == ["ant", "bee", "2", "3", "4", "5", "6"]
    lines = format_classes(found.per_class).splitlines()
    assert len(lines) == 8
    assert lines[1].split()[0] == "ant"
    assert f"{100 * found.per_class[0]['recall']:.2f} %" in lines[1]


def test_the_interval_is_that_of_the_binomial():
    """The mean of N resampled hits is a binomial over N, whose quantiles are known."""
    hits = np.arange(400) < 260
    low, high = bootstrap_interval(hits, resamples=20_000)
    exact = scipy.stats.binom(400, 260 / 400).ppf([0.025, 0.975])
    # 20,000 resamples put a quantile within .2 points of probability (2 standard
    # errors of a share of .025), less than one image either way.
    assert abs(round(400 * low) - exact[0]) <= 1
    assert abs(round(400 * high) - exact[1]) <= 1
    assert low < 0.65 < high


def test_the_interval_of_a_literal_bootstrap():
    values = np.random.default_rng(3).normal(2, 1, 50)
    means = []
    drawn = np.random.default_rng(0).integers(0, 50, (1000, 50))
    for row in drawn:
        means.append(sum(values[i] for i in row) / 50)
    expected = np.percentile(means, [2.5, 97.5])
    np.testing.assert_allclose(bootstrap_interval(values), expected, rtol=1e-12)


@pytest.mark.parametrize("count", [1, 8, 30, 2000])
def test_hits_alone_leave_room_for_a_miss(count):
    """Clopper and Pearson's bound, whose upper end is 1 and below which is 1 in 40."""
    low, high = bootstrap_interval(np.ones(count))
    by_chance = scipy.stats.binom(count, low).pmf(count)
    assert high == 1 and by_chance == pytest.approx(0.025)
    assert bootstrap_interval(np.zeros(count)) == pytest.approx((0.0, 1 - low))
    assert bootstrap_interval(np.array([0.25])) == (0.25, 0.25)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hits(Scored):
    pass


@pytest.mark.parametrize("images", [40, 4000])
@pytest.mark.parametrize(("won", "lost"), [(1, 0), (4, 0), (5, 0), (6, 0), (9, 3)])
def test_a_gain_of_a_few_images_is_no_more_than_a_coin_tells(images, won, lost):
    ours, theirs = np.zeros(images), np.zeros(images)
    ours[:won], theirs[won : won + lost] = 1, 1
    one, other = Hits(per_image=ours), Hits(per_image=theirs)
    low, high = one.gain_interval(other)
    p = scipy.stats.binomtest(won, won + lost).pvalue
    assert (low > 0) == (p < 0.05)
    assert other.gain_interval(one) == pytest.approx((-high, -low), abs=2 / images)


def test_no_values_are_refused():
    with pytest.raises(InputError, match="one image or more"):
        bootstrap_interval(np.zeros(0))


def test_numbered_classes_may_lack_the_last_and_others_may_not():
    images = np.zeros((6, 4, 4, 3), np.uint8)
    test = open_source((images, np.array([0, 1, 1, 0, 1, 0])))
    check_classes(test, ("0", "1", "2"), partly=True)
    check_classes(test, ("0", "1"))
    for names in (("cat", "dog"), ("0",), ("0", "2", "1")):
        with pytest.raises(InputError, match="the classes that the classifier tells"):
            check_classes(test, names, partly=True)
    with pytest.raises(InputError, match="the classes that the classifier tells"):
        check_classes(test, ("0", "1", "2"))
