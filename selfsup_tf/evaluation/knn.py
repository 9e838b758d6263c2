"""Weighted k-nearest neighbours: how good an encoder is, with nothing to train.

Reference: Wu, Xiong, Yu, Lin, "Unsupervised Feature Learning via Non-Parametric
Instance Discrimination", CVPR 2018, section 3.4.

Legend: N bank images, Q queries, D length of the representation, C classes.
"""

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from selfsup_tf.errors import check
from selfsup_tf.evaluation.accuracy import check_labels, top_accuracy
from selfsup_tf.evaluation.features import Features, extract_features

DEFAULT_K = 200
# Similarities held at a time: 32 million float32 are 128 MiB.
MAX_SIMILARITIES = 2**25


@dataclasses.dataclass(frozen=True)
class KnnResult:
    """What a k-NN evaluation measured.

    Attributes:
        top_1: Share of test images whose class got the most votes, in [0, 1].
        top_5: Share whose class is among the five first; None for five classes or
            fewer.
        k: Neighbours that vote.
        temperature: T of their weights exp(cosine / T).
        num_train: Images in the bank.
        num_test: Images judged.
        num_classes: Classes.
    """

    top_1: float
    top_5: float | None
    k: int
    temperature: float
    num_train: int
    num_test: int
    num_classes: int

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return dataclasses.asdict(self)


def knn(
    encoder: keras.Model,
    train: Any,
    test: Any,
    *,
    k: int | None = None,
    temperature: float = 0.1,
    batch_size: int = 256,
) -> KnnResult:
    """Classifies every test image by its nearest train images.

    Args:
        encoder: float32 [0, 1] (N, S, S, 3) -> h (N, D).
        train: The bank: a labelled Source or (images, labels).
        test: What is judged, likewise.
        k: Neighbours that vote; None for 200, or all of a smaller bank.
        temperature: T of their weights exp(cosine / T).
        batch_size: Images in a call of the encoder.

    Raises:
        InputError: No labels, one class, or a bank smaller than k.
    """
    bank = extract_features(encoder, train, batch_size=batch_size)
    queries = extract_features(encoder, test, batch_size=batch_size)
    return knn_from_features(bank, queries, k=k, temperature=temperature)


def knn_from_features(
    train: Features, test: Features, *, k: int | None = None, temperature: float = 0.1
) -> KnnResult:
    """As `knn`, of representations that have been extracted already."""
    k = min(DEFAULT_K, len(train.features)) if k is None else k
    num_classes = check_labels(train.labels, test.labels)
    scores = knn_predict(
        train.features,
        train.labels,
        test.features,
        k=k,
        temperature=temperature,
        num_classes=num_classes,
    )
    return KnnResult(
        top_1=top_accuracy(scores, test.labels, 1),
        top_5=top_accuracy(scores, test.labels, 5),
        k=k,
        temperature=temperature,
        num_train=len(train.labels),
        num_test=len(test.labels),
        num_classes=num_classes,
    )


def knn_predict(
    train_features: np.ndarray,
    train_labels: np.ndarray,
    queries: np.ndarray,
    *,
    k: int = 200,
    temperature: float = 0.1,
    num_classes: int,
) -> np.ndarray:
    """The votes of each query's k nearest neighbours by cosine.

    A neighbour votes for its class with weight exp(cosine / T). The weights of a query
    are divided by their sum, which changes no ranking and can't overflow. Of equally
    near neighbours those first in the bank are taken. Beyond the features it holds
    about 128 MiB of similarities at a time.

    Args:
        train_features: The bank, (N, D) float32 of any length.
        train_labels: (N,) integers in [0, num_classes).
        queries: (Q, D) float32 of any length.
        k: Neighbours that vote, at most N.
        temperature: T, above 0.
        num_classes: C.

    Returns:
        scores: (Q, C) float32; each row sums to 1.

    Raises:
        InputError: k is not in [1, N], or T is not above 0.
    """
    check(
        1 <= k <= len(train_features),
        f"k of 1 to {len(train_features)}, the images in the bank",
        k,
        "Choose k within it, or use a larger train set.",
    )
    check(temperature > 0, "temperature above 0", temperature, "The papers use 0.1.")
    bank = tf.convert_to_tensor(train_features, tf.float32)
    labels = tf.convert_to_tensor(train_labels, tf.int64)
    # The bank's lengths divide the similarities; a normalised copy of it would cost
    # as much memory again.
    squares = np.einsum("nd,nd->n", train_features, train_features)
    norms = tf.maximum(tf.sqrt(tf.convert_to_tensor(squares, tf.float32)), 1e-12)
    rows = max(64, MAX_SIMILARITIES // len(train_features))
    scores = [
        _vote(
            tf.convert_to_tensor(queries[start : start + rows], tf.float32),
            bank,
            norms,
            labels,
            tf.constant(k),
            tf.constant(temperature, tf.float32),
            tf.constant(num_classes, tf.int64),
        ).numpy()
        for start in range(0, len(queries), rows)
    ]
    return np.concatenate(scores) if scores else np.zeros((0, num_classes), np.float32)


@tf.function(reduce_retracing=True)
def _vote(queries, bank, norms, labels, k, temperature, num_classes):
    """Scores (rows, C) of some queries (rows, D)."""
    queries = tf.math.l2_normalize(queries, axis=1, epsilon=1e-24)
    cosine = tf.matmul(queries, bank, transpose_b=True) / norms
    nearest, where = tf.math.top_k(cosine, k)
    weights = tf.nn.softmax(nearest / temperature)
    # One segment for each pair of query and class.
    rows = tf.shape(queries, tf.int64)[0]
    segments = tf.range(rows)[:, None] * num_classes + tf.gather(labels, where)
    votes = tf.math.unsorted_segment_sum(weights, segments, rows * num_classes)
    return tf.reshape(votes, (rows, num_classes))
