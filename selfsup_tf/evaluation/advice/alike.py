"""What is alike: images by their pixels, and the neighbours that two encoders find."""

from collections.abc import Mapping, Sequence

import numpy as np

from selfsup_tf.data.pipeline import evaluation_dataset
from selfsup_tf.data.source import Source
from selfsup_tf.evaluation.features import Features
from selfsup_tf.evaluation.measures.statistics import directions

SHARED = 10
"""Neighbours of an image that two encoders may have in common."""
NEAR_COPY = 0.995
"""Correlation of two thumbnails from which on one image is a copy of the other."""
_THUMBNAIL = 16
_ROWS = 1024


def nearest(queries: np.ndarray, gallery: np.ndarray, count: int) -> np.ndarray:
    """Numbers of the nearest of unit vectors, (Q, count), in no order."""
    found = []
    for start in range(0, len(queries), _ROWS):
        cosine = queries[start : start + _ROWS] @ gallery.T
        found.append(np.argpartition(-cosine, count - 1, axis=1)[:, :count])
    return np.concatenate(found)


def agreements(
    features: Mapping[str, Features], pairs: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], float]:
    """Reference: Huh, Cheung, Wang, Isola 2024, "The Platonic Representation
    Hypothesis", mutual k-nearest neighbours.
    """
    count = min(len(next(iter(features.values())).features) - 1, SHARED)
    if count < 1:
        return {}
    near = {}
    for name, one in features.items():
        vectors = directions(one.features)
        found = nearest(vectors, vectors, count + 1)
        # Each image is its own neighbour, but for equals that stand before it.
        near[name] = [
            set(row[row != n][:count].tolist()) for n, row in enumerate(found)
        ]
    return {
        (a, b): float(
            np.mean([len(x & y) / count for x, y in zip(near[a], near[b], strict=True)])
        )
        for a, b in pairs
    }


def near_copies(*sources: Source) -> int:
    """How many images of the last source have a near copy in the first, told by pixels.

    Of one source, how many have one among the others.
    """
    thumbnails = [_thumbnails(source) for source in sources]
    gallery, queries = thumbnails[0], thumbnails[-1]
    count = 0
    for start in range(0, len(queries), _ROWS):
        alike = queries[start : start + _ROWS] @ gallery.T > NEAR_COPY
        if len(sources) == 1:
            rows = np.arange(len(alike))
            alike[rows, start + rows] = False
        count += int(alike.any(axis=1).sum())
    return count


def _thumbnails(source: Source) -> np.ndarray:
    """Small images without their mean, of length 1; those of one colour are zeros."""
    rows = [
        batch["image"].numpy()[batch["valid"].numpy()]
        for batch in evaluation_dataset(source, size=_THUMBNAIL, batch_size=256)
    ]
    pixels = np.concatenate(rows)
    pixels = pixels.reshape(len(pixels), -1).astype(np.float64)
    pixels -= pixels.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(pixels, axis=1, keepdims=True)
    flat = lengths < 1e-3
    return np.where(flat, 0, pixels / np.where(flat, 1, lengths))
