"""How good vectors are: of any encoder, as arrays.

Legend: N images, D length of a vector.
"""

import numpy as np

from selfsup_tf.errors import check
from selfsup_tf.evaluation.features import Features
from selfsup_tf.evaluation.measures import statistics
from selfsup_tf.evaluation.measures.knn import KnnResult, knn_from_features

__all__ = ["alignment", "knn", "rank_me", "uniformity"]


def knn(
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    *,
    k: int | None = None,
    temperature: float = 0.1,
) -> KnnResult:
    """k-NN accuracy of vectors, with its 95 % interval, as `eval.py knn` has it.

    Args:
        train: Vectors (N, D), of any length, and their labels (N,), integers from 0.
        test: Likewise, what is judged.
        k: Neighbours that vote; 200, or as many as a class has, where it is left out.
        temperature: T of their weights exp(cosine / T).

    Raises:
        InputError: Vectors and labels don't fit, or there are fewer than two classes.
    """
    known, judged = _labelled(*train), _labelled(*test)
    lengths = [one.features.shape[1] for one in (known, judged)]
    check(
        lengths[0] == lengths[1],
        "train and test vectors of one length",
        f"{lengths[0]} and {lengths[1]}",
        "Give the vectors of one encoder.",
    )
    return knn_from_features(known, judged, k=k, temperature=temperature)


def rank_me(vectors: np.ndarray) -> float:
    """The effective rank of vectors (N, D), from 1 to min(N, D); see `statistics`.

    Reference: Garrido et al. 2023, RankMe, equations 1 and 2.
    """
    return statistics.rank_me(statistics.singular_values(_finite(vectors)))


def alignment(view_1: np.ndarray, view_2: np.ndarray) -> float:
    """Mean squared distance of the directions of two views of an image, in [0, 4].

    Args:
        view_1: (N, D).
        view_2: (N, D), row by row of the same images.

    Reference: Wang and Isola 2020, section 4.1, alpha = 2.
    """
    first, second = _finite(view_1), _finite(view_2)
    check(
        first.shape == second.shape,
        "two arrays of one shape, row by row of the same images",
        f"{first.shape} and {second.shape}",
        "Give both views of the same images.",
    )
    return statistics.alignment(first, second)


def uniformity(vectors: np.ndarray) -> float:
    """Log of the mean of exp(-2 d^2) over all pairs of vectors (N, D), in [-8, 0].

    Lower fills the sphere more evenly.

    Reference: Wang and Isola 2020, section 4.1, t = 2.
    """
    vectors = _finite(vectors)
    advice = "Give more images."
    check(len(vectors) > 1, "two vectors or more", len(vectors), advice)
    return statistics.uniformity(vectors)


def _finite(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors)
    check(
        vectors.ndim == 2 and len(vectors) > 0 and bool(np.isfinite(vectors).all()),
        "finite vectors, (N, D)",
        f"an array of shape {vectors.shape}"
        + ("" if np.isfinite(vectors).all() else " with numbers that are not finite"),
        "Give one vector an image.",
    )
    return vectors


def _labelled(vectors: np.ndarray, labels: np.ndarray) -> Features:
    vectors, labels = _finite(vectors), np.asarray(labels)
    check(
        labels.shape == vectors.shape[:1] and np.issubdtype(labels.dtype, np.integer),
        f"{len(vectors)} labels, integers, one of each vector",
        f"an array of shape {labels.shape} and {labels.dtype}",
        "Give the class number of each image.",
    )
    index = np.arange(len(vectors))
    return Features(vectors.astype(np.float32), labels.astype(np.int64), index)
