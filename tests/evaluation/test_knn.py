"""k-NN against a literal transcription, and the exactness of its counting."""

import numpy as np
import pytest
from toys import clusters, literal_knn

from selfsup_tf.errors import InputError
from selfsup_tf.evaluation import knn as knn_lib
from selfsup_tf.evaluation.classification import top_hits
from selfsup_tf.evaluation.features import Features


@pytest.mark.parametrize("k", [1, 5, 60])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_equals_the_literal_loop(k, temperature):
    bank, labels = clusters(1, 60)
    queries, _ = clusters(2, 23)
    scores = knn_lib.knn_predict(
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
    whole = knn_lib.knn_predict(bank, labels, queries, **options)
    # Chunks of the least size, 64 queries: three full ones and a remainder of 8.
    options["max_similarities"] = 1
    chunked = knn_lib.knn_predict(bank, labels, queries, **options)
    np.testing.assert_allclose(chunked, whole, atol=1e-6)


def test_of_equally_near_neighbours_the_first_are_taken():
    bank = np.eye(4, dtype=np.float32)[[0, 0, 0, 1]]
    labels = np.array([2, 1, 0, 3])
    query = np.eye(4, dtype=np.float32)[:1]
    scores = knn_lib.knn_predict(bank, labels, query, k=2, num_classes=4)
    np.testing.assert_allclose(scores, [[0, 0.5, 0.5, 0]], atol=1e-7)


def test_a_low_temperature_and_long_features_do_not_overflow():
    bank, labels = clusters(1, 30)
    scores = knn_lib.knn_predict(
        1e6 * bank, labels, 1e6 * bank, k=30, temperature=0.001, num_classes=4
    )
    assert np.isfinite(scores).all()
    np.testing.assert_array_equal(scores.argmax(1), labels)


def test_a_zero_representation_is_as_near_to_all():
    bank = np.eye(3, dtype=np.float32)
    query = np.zeros((1, 3), np.float32)
    scores = knn_lib.knn_predict(bank, np.arange(3), query, k=3, num_classes=3)
    np.testing.assert_allclose(scores, [[1 / 3] * 3], atol=1e-6)


@pytest.mark.parametrize("k", [0, 31])
def test_k_outside_of_the_bank_is_refused(k):
    bank, labels = clusters(1, 30)
    with pytest.raises(InputError, match="k of 1 to 30"):
        knn_lib.knn_predict(bank, labels, bank, k=k, num_classes=4)


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
    assert top_hits(scores, np.array([0, 0, 5]), 1).all()
    # Equal scores rank by the class's number; so the second is right only for 0.
    assert not top_hits(scores, np.array([1, 1, 4]), 1).any()
    assert top_hits(scores, np.array([4, 4, 0]), 5).sum() == 2
    assert top_hits(scores[:, :5], np.array([0, 0, 0]), 5) is None
