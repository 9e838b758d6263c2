"""k-NN against a literal transcription, and the exactness of its counting."""

import itertools

import keras
import numpy as np
import pytest
from toys import clusters, literal_knn

from selfsup_tf.errors import InputError
from selfsup_tf.evaluation.features import Features
from selfsup_tf.evaluation.measures import knn as knn_lib
from selfsup_tf.evaluation.measures.classification import top_hits


@pytest.mark.parametrize("k", [1, 5, 60])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_equals_the_literal_loop(k, temperature):
    bank, labels = clusters(1, 60)
    queries, _ = clusters(2, 23)
    scores, _ = knn_lib.knn_votes(
        bank, labels, queries, k=k, temperature=temperature, num_classes=4
    )
    expected = literal_knn(bank, labels, queries, k, temperature, 4)
    assert scores.shape == (23, 4)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, atol=2e-6)


def test_a_query_chunk_at_a_time_changes_nothing():
    bank, labels = clusters(1, 50)
    queries, _ = clusters(2, 200)
    options = dict(k=7, temperature=0.1, num_classes=4)
    whole, _ = knn_lib.knn_votes(bank, labels, queries, **options)
    # Chunks of the least size, 64 queries: three full ones and a remainder of 8.
    options["max_similarities"] = 1
    chunked, _ = knn_lib.knn_votes(bank, labels, queries, **options)
    np.testing.assert_allclose(chunked, whole, atol=1e-6)


def test_of_equally_near_neighbours_the_first_are_taken():
    bank = np.eye(4, dtype=np.float32)[[0, 0, 0, 1]]
    labels = np.array([2, 1, 0, 3])
    query = np.eye(4, dtype=np.float32)[:1]
    scores, _ = knn_lib.knn_votes(bank, labels, query, k=2, num_classes=4)
    np.testing.assert_allclose(scores, [[0, 0.5, 0.5, 0]], atol=1e-7)


def test_a_low_temperature_and_long_features_do_not_overflow():
    bank, labels = clusters(1, 30)
    scores, _ = knn_lib.knn_votes(
        1e6 * bank, labels, 1e6 * bank, k=30, temperature=0.001, num_classes=4
    )
    assert np.isfinite(scores).all()
    np.testing.assert_array_equal(scores.argmax(1), labels)


def test_a_zero_representation_is_as_near_to_all():
    bank = np.eye(3, dtype=np.float32)
    query = np.zeros((1, 3), np.float32)
    scores, _ = knn_lib.knn_votes(bank, np.arange(3), query, k=3, num_classes=3)
    np.testing.assert_allclose(scores, [[1 / 3] * 3], atol=1e-6)


@pytest.mark.parametrize("k", [0, 31])
def test_k_outside_of_the_bank_is_refused(k):
    bank, labels = clusters(1, 30)
    with pytest.raises(InputError, match="k of 1 to 30"):
        knn_lib.knn_votes(bank, labels, bank, k=k, num_classes=4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"k": 0}, "k of 1 to 6"),
        ({"k": 7}, "k of 1 to 6"),
        ({"temperature": 0.0}, "temperature above 0"),
        ({"temperature": float("inf")}, "temperature above 0 and finite"),
        ({"temperature": float("nan")}, "temperature above 0 and finite"),
    ],
)
def test_what_can_not_vote_is_refused_before_images_are_encoded(
    options, words, monkeypatch
):
    encoder = keras.Sequential([keras.Input((2, 2, 3)), keras.layers.Flatten()])
    data = np.zeros((6, 2, 2, 3), np.uint8), np.arange(6) % 2
    monkeypatch.setattr(knn_lib, "extract_features", None)
    with pytest.raises(InputError, match=words):
        knn_lib.knn(encoder, data, data, **options)


def test_from_features_counts_right_answers():
    bank, labels = clusters(1, 80)
    queries, answers = clusters(2, 40)
    indices = np.arange(80)
    train = Features(bank, labels, indices)
    test = Features(queries, answers, indices[:40])
    result = knn_lib.knn_from_features(train, test, k=9, temperature=0.2)
    guesses = literal_knn(bank, labels, queries, 9, 0.2, 4).argmax(1)
    assert result.top_1 == pytest.approx((guesses == answers).mean())
    assert 0.5 < result.top_1 < 1
    assert result.top_5 is None
    assert (result.num_train, result.num_test, result.num_classes) == (80, 40, 4)


def test_top_hits():
    scores = np.array([[6, 5, 4, 3, 2, 1.0], [0, 0, 0, 0, 0, 0], [1, 2, 3, 4, 5, 6]])
    hits = top_hits(scores, np.array([0, 0, 5]), 1)
    assert hits == pytest.approx([1, 1 / 6, 1])
    assert top_hits(scores[:, :5], np.array([0, 0, 0]), 5) is None


@pytest.mark.parametrize("n", [1, 2, 5])
def test_top_hits_are_the_mean_over_orders_of_equal_scores(n):
    scores = np.random.default_rng(0).integers(0, 3, (40, 6)).astype(np.float32)
    labels = np.random.default_rng(1).integers(0, 6, 40)
    literal = np.zeros(40)
    orders = list(itertools.permutations(range(6)))
    for q in range(40):
        for order in orders:
            ranked = sorted(order, key=lambda c: -scores[q, c])
            literal[q] += (labels[q] in ranked[:n]) / len(orders)
    np.testing.assert_allclose(top_hits(scores, labels, n), literal, atol=1e-9)


def literal_ranking(bank, labels, queries, k):
    """For each query, classes by the votes of equal neighbours, the nearest first.

    The bank holds one-hot rows: a neighbour is as near as can be or as far.
    """
    found = []
    for query in queries:
        order = sorted(range(len(bank)), key=lambda n: -float(query @ bank[n]))[:k]
        votes = {}  # in the order of the nearest neighbour of each class
        for n in order:
            weight = np.exp(float(query @ bank[n]) / 0.1)
            votes[labels[n]] = votes.get(labels[n], 0) + weight
        found.append(sorted(votes, key=lambda c: -round(votes[c], 6)))  # stable
    return found


def tied(num_classes=12):
    """A bank and queries of few directions, so that many votes are equal."""
    random = np.random.default_rng(0)
    axes = np.eye(7, dtype=np.float32)
    bank, queries = axes[random.integers(0, 7, 90)], axes[random.integers(0, 7, 50)]
    labels, answers = (random.integers(0, num_classes, n) for n in (90, 50))
    return Features(bank, labels, np.arange(90)), Features(
        queries, answers, np.arange(50)
    )


@pytest.mark.parametrize("k", [1, 3, 8, 90])
def test_the_ranking_of_ties_by_a_literal_loop(k):
    train, test = tied()
    result = knn_lib.knn_from_features(train, test, k=k)
    ranked = literal_ranking(train.features, train.labels, test.features, k)
    pairs = list(zip(ranked, test.labels, strict=True))
    assert result.top_1 == pytest.approx(np.mean([c in r[:1] for r, c in pairs]))
    assert result.top_5 == pytest.approx(np.mean([c in r[:5] for r, c in pairs]))
    assert np.isin(result.per_image, (0, 1)).all()


@pytest.mark.parametrize("k", [1, 3, 8, 90])
def test_other_numbers_of_the_classes_change_no_score(k):
    train, test = tied()
    result = knn_lib.knn_from_features(train, test, k=k)
    for seed in range(5):
        number = np.random.default_rng(seed).permutation(12)
        renamed = (
            Features(one.features, number[one.labels], one.indices)
            for one in (train, test)
        )
        other = knn_lib.knn_from_features(*renamed, k=k)
        assert (other.top_1, other.top_5) == (result.top_1, result.top_5)
        for old, new in enumerate(number):
            ours, theirs = result.per_class[old], other.per_class[new]
            assert {**ours, "name": ""} == {**theirs, "name": ""}


def test_a_class_without_votes_is_never_credited():
    random = np.random.default_rng(0)
    bank = random.normal(size=(600, 16)).astype(np.float32)
    train = Features(bank, np.arange(600) % 12, np.arange(600))
    queries = random.normal(size=(300, 16)).astype(np.float32)
    for label in (0, 11):
        test = Features(queries, np.full(300, label), np.arange(300))
        result = knn_lib.knn_from_features(train, test, k=1)
        assert result.top_5 == result.top_1 < 0.2


def test_no_more_neighbours_are_asked_than_a_class_has(caplog):
    """200 of 256 images of 8 classes are mostly others, however good the encoder."""
    random = np.random.default_rng(0)
    labels = np.arange(256) % 8
    centres = random.normal(size=(8, 16))
    features = (centres[labels] + 0.3 * random.normal(size=(256, 16))).astype("float32")
    bank = Features(features, labels, np.arange(256))
    knn_lib._say_fewer.cache_clear()
    result = knn_lib.knn_from_features(bank, bank)
    assert result.k == 32 and result.top_1 == 1
    assert (
        "the nearest 32 images in place of 200, as a class has no more: 256"
        in caplog.text
    )
    assert knn_lib.knn_from_features(bank, bank, k=200).k == 200  # as it was asked
    many = Features(
        *(np.repeat(x, 8, axis=0) for x in (features, labels)), np.arange(2048)
    )
    assert knn_lib.fitting_k(many, 200) == 200
