"""Weighted k-nearest neighbours: how good an encoder is, with nothing to train.

Reference: Wu, Xiong, Yu, Lin, "Unsupervised Feature Learning via Non-Parametric
Instance Discrimination", CVPR 2018, section 3.4.

Legend: N bank images, Q queries, D length of the representation, C classes.
"""

import dataclasses
import functools
import logging
import math
import pathlib
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from selfsup_tf.errors import check, check_one_of
from selfsup_tf.evaluation.features import Features, extract_features, open_images
from selfsup_tf.evaluation.measures.classification import (
    Classification,
    check_labels,
    count_answers,
)
from selfsup_tf.shown import brief

logger = logging.getLogger("selfsup_tf")

DEFAULT_K = 200
PRESETS = {
    "lightly": {"k": DEFAULT_K, "temperature": 0.1},
    "solo-learn": {"k": 20, "temperature": 0.07},
}
"""The k and T that published numbers were measured with: lightly-ai/lightly,
benchmarks; vturrisi/solo-learn, main_knn.py's defaults."""
# Similarities held at a time: 32 million float32 are 128 MiB.
MAX_SIMILARITIES = 2**25


@dataclasses.dataclass(frozen=True, kw_only=True)
class KnnResult(Classification):
    """The outcome of k-NN, beside what every classification has.

    Attributes:
        k: Neighbours that vote.
        temperature: T of their weights exp(cosine / T).
        num_train: Images in the bank.
    """

    k: int
    temperature: float
    num_train: int

    __repr__ = brief


def knn(
    encoder: keras.Model,
    train: Any,
    test: Any,
    *,
    preset: str = "lightly",
    k: int | None = None,
    temperature: float | None = None,
    batch_size: int = 256,
    cache: pathlib.Path | None = None,
) -> KnnResult:
    """Classifies every test image by its nearest train images.

    Args:
        encoder: float32 [0, 1] (N, S, S, 3) -> h (N, D).
        train: The bank: a labelled Source or (images, labels).
        test: What is judged, likewise.
        preset: Whose k and T, of `PRESETS`.
        k: Neighbours that vote; None for the preset's, or as many as a class has.
        temperature: T of their weights exp(cosine / T); None for the preset's.
        batch_size: Images in a call of the encoder.
        cache: A folder where representations are kept.

    Raises:
        InputError: An unknown preset, no labels, one class, or a bank smaller than k.
    """
    check_one_of(preset, PRESETS, "a preset of k-NN")
    check(
        preset == "lightly" or k is None or temperature is None,
        f"a k or a temperature of the preset {preset}",
        f"k={k} and temperature={temperature}, which leave nothing of it",
        "Leave one of the three out.",
    )
    train, test = open_images(encoder, train), open_images(encoder, test)
    of_preset = PRESETS[preset]
    if temperature is None:
        temperature = of_preset["temperature"]
    check_votes(k, temperature, train.size)  # before hours of encoding
    options = {"batch_size": batch_size, "cache": cache}
    bank = extract_features(encoder, train, **options)
    queries = extract_features(encoder, test, **options)
    return knn_from_features(
        bank,
        queries,
        k=fitting_k(bank, of_preset["k"]) if k is None else k,
        temperature=temperature,
        class_names=train.class_names,
    )


def check_votes(k: int | None, temperature: float, images: int) -> None:
    """Raises InputError unless k of so many images can vote; None is any k."""
    check(
        k is None or 1 <= k <= images,
        f"k of 1 to {images}, the images in the bank",
        k,
        "Choose k within it, or use a larger train set.",
    )
    check(
        0 < temperature < math.inf,
        "temperature above 0 and finite",
        temperature,
        "The papers use 0.1.",
    )


def fitting_k(bank: Features, k: int) -> int:
    """The neighbours to ask, k or as many as a class of the bank has; less is said.

    Of more than that the rest are of other classes, however good the encoder is.
    """
    labels = bank.labels
    classes = 1 if labels is None else len(np.unique(labels))
    fitting = max(1, len(bank.features) // classes)
    if fitting < k:
        _say_fewer(fitting, k, len(bank.features), classes)
    return min(fitting, k)


@functools.cache  # once for all encoders that are judged by one bank
def _say_fewer(fitting: int, k: int, images: int, classes: int) -> None:
    logger.warning(
        "k-NN asks the nearest %d images in place of %d, as a class has no more: %d "
        "images are of %d classes.",
        *(fitting, k, images, classes),
    )


def knn_from_features(
    train: Features,
    test: Features,
    *,
    k: int | None = None,
    temperature: float = 0.1,
    class_names: tuple[str, ...] | None = None,
) -> KnnResult:
    """As `knn`, of representations that have been extracted already."""
    k = fitting_k(train, DEFAULT_K) if k is None else k
    num_classes = check_labels(train.labels, test.labels)
    scores = knn_rank(
        train.features,
        train.labels,
        test.features,
        k=k,
        temperature=temperature,
        num_classes=num_classes,
    )
    return KnnResult(
        **count_answers(scores, test.labels, class_names),
        k=k,
        temperature=temperature,
        num_train=len(train.labels),
    )


def knn_votes(
    train_features: np.ndarray,
    train_labels: np.ndarray,
    queries: np.ndarray,
    *,
    k: int = 200,
    temperature: float = 0.1,
    num_classes: int,
    max_similarities: int = MAX_SIMILARITIES,
) -> tuple[np.ndarray, np.ndarray]:
    """The votes of each query's k nearest neighbours by cosine.

    A neighbour votes for its class with weight exp(cosine / T). The weights of a query
    are divided by their sum, which changes no ranking and can't overflow. Of equally
    near neighbours those first in the bank are taken. Classes may have equal votes:
    what ranks them takes `knn_rank`. Beyond the features it holds
    128 MiB of similarities at a time.

    Args:
        train_features: The bank, (N, D) float32 of any length.
        train_labels: (N,) integers in [0, num_classes).
        queries: (Q, D) float32 of any length.
        k: Neighbours that vote, at most N.
        temperature: T, above 0.
        num_classes: C.
        max_similarities: Held at a time, of 64 queries at least.

    Returns:
        votes: (Q, C) float32; each row sums to 1.
        first: (Q, C) int32, the place of each class's nearest neighbour among the k;
            without meaning where a class has no votes.

    Raises:
        InputError: k is not in [1, N], or T is not above 0 and finite.
    """
    check_votes(k, temperature, len(train_features))
    bank = tf.convert_to_tensor(train_features, tf.float32)
    labels = tf.convert_to_tensor(train_labels, tf.int64)
    # The bank's lengths divide the similarities; a normalised copy of it would cost
    # as much memory again.
    squares = np.einsum("nd,nd->n", train_features, train_features)
    norms = tf.maximum(tf.sqrt(tf.convert_to_tensor(squares, tf.float32)), 1e-12)
    rows = max(64, max_similarities // len(train_features))
    found = [
        _vote(
            tf.convert_to_tensor(queries[start : start + rows], tf.float32),
            bank,
            norms,
            labels,
            tf.constant(k),
            tf.constant(temperature, tf.float32),
            tf.constant(num_classes, tf.int64),
        )
        for start in range(0, len(queries), rows)
    ]
    if not found:
        nothing = np.zeros((0, num_classes))
        return nothing.astype(np.float32), nothing.astype(np.int32)
    votes, first = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return votes, first


def knn_rank(
    train_features: np.ndarray,
    train_labels: np.ndarray,
    queries: np.ndarray,
    *,
    k: int = 200,
    temperature: float = 0.1,
    num_classes: int,
) -> np.ndarray:
    """The votes of `knn_votes` as scores that rank the classes.

    Of classes with equal votes that with the nearest neighbour comes first, whatever
    the classes' numbers; one without votes is never an answer.

    Returns:
        scores: (Q, C) float64, in each row all different but for those without votes,
            which are -inf.
    """
    votes, first = knn_votes(
        train_features,
        train_labels,
        queries,
        k=k,
        temperature=temperature,
        num_classes=num_classes,
    )
    # Different float32 are further apart than 2**-24 of them, so none changes places.
    scores = votes * (1 - 2.0**-26 * first / k)
    return np.where(votes > 0, scores, -np.inf)


@tf.function(reduce_retracing=True, autograph=False)
def _vote(queries, bank, norms, labels, k, temperature, num_classes):
    """Votes and first places, (rows, C), of some queries (rows, D)."""
    queries = tf.math.l2_normalize(queries, axis=1, epsilon=1e-24)
    cosine = tf.matmul(queries, bank, transpose_b=True) / norms
    nearest, where = tf.math.top_k(cosine, k)
    weights = tf.nn.softmax(nearest / temperature)
    # One segment for each pair of query and class.
    rows = tf.shape(queries, tf.int64)[0]
    segments = tf.range(rows)[:, None] * num_classes + tf.gather(labels, where)
    votes = tf.math.unsorted_segment_sum(weights, segments, rows * num_classes)
    places = tf.broadcast_to(tf.range(k), tf.shape(segments))
    first = tf.math.unsorted_segment_min(places, segments, rows * num_classes)
    shape = (rows, num_classes)
    return tf.reshape(votes, shape), tf.reshape(first, shape)
