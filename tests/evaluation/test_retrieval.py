"""Retrieval against a literal double loop, its ties, and what it leaves out."""

import json

import keras
import numpy as np
import pytest
import toys

from selfsup_tf.errors import InputError
from selfsup_tf.evaluation.features import Features, extract_features
from selfsup_tf.evaluation.measures import retrieval as retrieval_lib
from selfsup_tf.evaluation.measures.intervals import bootstrap_interval
from selfsup_tf.evaluation.measures.retrieval import (
    average_precisions,
    retrieval,
    retrieval_from_features,
)
from selfsup_tf.evaluation.protocol import PROTOCOLS


def literal_retrieval(gallery, queries, leave_one_out=False):
    """Average precision and first rank of each query with a match, in float64."""
    precisions, first = [], []
    for q, query in enumerate(queries.features.astype(np.float64)):
        similarity = {}
        for n, image in enumerate(gallery.features.astype(np.float64)):
            if not (leave_one_out and n == q):
                lengths = np.linalg.norm(query) * np.linalg.norm(image)
                similarity[n] = float(query @ image) / max(lengths, 1e-12)
        # Python's sort is stable: of equals, those first in the gallery come first.
        order = sorted(similarity, key=lambda n: -similarity[n])
        found, precision_at_hits = 0, []
        for rank, n in enumerate(order, start=1):
            if gallery.labels[n] == queries.labels[q]:
                found += 1
                precision_at_hits.append(found / rank)
                if found == 1:
                    first.append(rank)
        if precision_at_hits:
            precisions.append(sum(precision_at_hits) / len(precision_at_hits))
    return np.array(precisions), np.array(first)


def clusters(seed, count, **options):
    return of(*toys.clusters(seed, count, noise=2.0, **options))


def of(features, labels):
    features = np.asarray(features, np.float32)
    return Features(features, np.asarray(labels), np.arange(len(features)))


def test_equals_the_literal_loop():
    gallery, queries = clusters(1, 70), clusters(2, 31)
    result = retrieval_from_features(gallery, queries, ranks=(1, 3, 10))
    precisions, first = literal_retrieval(gallery, queries)
    # Ranks are the same; what remains is the rounding of float64.
    np.testing.assert_allclose(result.per_image, precisions, rtol=1e-12)
    assert result.mean_average_precision == pytest.approx(precisions.mean(), rel=1e-12)
    for k in (1, 3, 10):
        assert result.recall_at[str(k)] == pytest.approx((first <= k).mean())
    assert 0.2 < result.recall_at["1"] < result.recall_at["10"] <= 1
    assert (result.num_queries, result.num_gallery) == (31, 70)
    assert result.num_without_match == 0


@pytest.mark.parametrize("leave_one_out", [False, True])
def test_ties_keep_the_order_of_the_gallery(leave_one_out):
    # Cosines of -1, 0 and 1, exact in float32, and each of them many times; zeros of
    # both signs among them, which are equal, and representations of length zero.
    random = np.random.default_rng(5)
    features = random.integers(-1, 2, (60, 1)) * np.eye(3)[random.integers(0, 3, 60)]
    gallery = of(features, random.integers(0, 3, 60))
    queries = of(-features[::-1], gallery.labels[::-1].copy())
    queries = gallery if leave_one_out else queries
    result = retrieval_from_features(
        gallery, queries, gallery="test" if leave_one_out else "train", ranks=(1, 4)
    )
    precisions, first = literal_retrieval(gallery, queries, leave_one_out)
    np.testing.assert_allclose(result.per_image, precisions, rtol=1e-12)
    assert result.recall_at["1"] == pytest.approx((first <= 1).mean())
    assert result.recall_at["4"] == pytest.approx((first <= 4).mean())


def test_leave_one_out_equals_the_loop_and_never_finds_the_query():
    images = clusters(6, 50)
    result = retrieval_from_features(None, images, gallery="test", ranks=(1, 5))
    precisions, first = literal_retrieval(images, images, leave_one_out=True)
    np.testing.assert_allclose(result.per_image, precisions, rtol=1e-12)
    assert result.recall_at["1"] == pytest.approx((first <= 1).mean())
    assert result.num_gallery == 49
    # Pairs: the nearest other image is of the other class. A query that found itself
    # would make recall@1 one.
    pairs = np.repeat(np.eye(4), 2, axis=0) + np.tile([[0.1], [-0.1]], (4, 4))
    planted = of(pairs, [0, 1] * 4)
    result = retrieval_from_features(None, planted, gallery="test", ranks=(1,))
    assert result.recall_at["1"] == 0


def test_queries_without_a_match_are_counted_and_left_out():
    gallery, queries = clusters(7, 40, num_classes=3), clusters(8, 30, num_classes=6)
    result = retrieval_from_features(gallery, queries)
    missing = int((queries.labels >= 3).sum())
    assert result.num_without_match == missing > 5
    assert len(result.per_image) == 30 - missing
    precisions, first = literal_retrieval(gallery, queries)
    np.testing.assert_allclose(result.per_image, precisions, rtol=1e-12)
    assert result.recall_at["5"] == pytest.approx((first <= 5).mean())
    # The only image of its class has no match once it is left out.
    lonely = of(np.eye(5), [0, 0, 1, 1, 2])
    result = retrieval_from_features(None, lonely, gallery="test", ranks=(1,))
    assert result.num_without_match == 1
    assert (result.num_queries, len(result.per_image)) == (5, 4)
    with pytest.raises(InputError, match="none among 3"):
        retrieval_from_features(gallery, of(np.eye(12)[:3], [7, 8, 9]))


def test_chunks_change_nothing():
    """All at once, on as many threads as there are cores, and one query at a time."""
    gallery, queries = clusters(1, 70), clusters(2, 331)
    whole = average_precisions(gallery, queries, np.arange(331))
    for n in (0, 255, 256, 330):
        alone = average_precisions(gallery, queries, np.array([n]))
        assert [part[0] for part in alone] == [part[n] for part in whole]


def test_intervals_are_of_the_queries():
    gallery, queries = clusters(1, 70), clusters(2, 31)
    result = retrieval_from_features(gallery, queries, ranks=(1, 70))
    precisions, first = literal_retrieval(gallery, queries)
    low, high = result.mean_average_precision_interval
    assert low < result.mean_average_precision < high
    assert (low, high) == pytest.approx(bootstrap_interval(precisions))
    assert result.recall_at_intervals["1"] == bootstrap_interval(first <= 1)
    assert result.recall_at_intervals["70"] == bootstrap_interval(first <= 70)


def test_the_result_is_plain():
    result = retrieval_from_features(clusters(1, 70), clusters(2, 31), ranks=(1, 5))
    fields = result.to_dict()
    rows = PROTOCOLS.find("retrieval").rows(fields)
    assert [row.title for row in rows] == ["mAP", "R@1", "R@5"]
    assert "per_image" not in fields
    assert set(fields["recall_at"]) == set(fields["recall_at_intervals"]) == {"1", "5"}
    assert json.loads(json.dumps(fields))["gallery"] == "train"


def test_ranks_beyond_the_gallery_are_refused():
    gallery, queries = clusters(1, 20), clusters(2, 9)
    retrieval_from_features(gallery, queries, ranks=(20,))
    for ranks in ((1, 21), (0,), ()):
        with pytest.raises(InputError, match="ranks of 1 to 20"):
            retrieval_from_features(gallery, queries, ranks=ranks)
    with pytest.raises(InputError, match="ranks of 1 to 8"):
        retrieval_from_features(gallery, queries, gallery="test", ranks=(9,))


def test_ranks_are_refused_before_images_are_encoded(monkeypatch):
    train, test = ((np.zeros((6, 2, 2, 3), np.uint8), np.arange(6) % 2) for _ in "ab")
    encoder = keras.Sequential([keras.Input((2, 2, 3)), keras.layers.Flatten()])
    monkeypatch.setattr(retrieval_lib, "extract_features", None)
    for options in ({"ranks": (7,)}, {"gallery": "test", "ranks": (6,)}):
        with pytest.raises(InputError, match="the images that a query is compared"):
            retrieval(encoder, train, test, **options)


def test_an_unknown_gallery_is_refused():
    with pytest.raises(InputError, match="Perhaps you meant: train"):
        retrieval_from_features(clusters(1, 20), clusters(2, 9), gallery="trian")


def test_an_encoder_searches_images():
    encoder = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()])
    random = np.random.default_rng(0)
    train, test = (
        (random.integers(0, 256, (count, 8, 8, 3), np.uint8), np.arange(count) % 3)
        for count in (30, 14)
    )
    features = [extract_features(encoder, data) for data in (train, test)]
    found = retrieval(encoder, train, test, ranks=(1, 2), batch_size=8)
    assert found == retrieval_from_features(*features, ranks=(1, 2))
    others = retrieval(encoder, train[0], test, gallery="test", ranks=(1,))
    assert others == retrieval_from_features(
        None, features[1], gallery="test", ranks=(1,)
    )
    with pytest.raises(InputError, match="gallery=test"):
        retrieval(encoder, test, test)
