"""A map of images in the plane, on which those that an encoder takes to be alike meet.

Legend: N images, S height and width of the encoder's input, t that of a thumbnail.
"""

import pathlib
from typing import Any

import keras
import numpy as np
import PIL.Image
import sklearn.decomposition
import sklearn.manifold
import threadpoolctl

from selfsup_tf.data import pipeline
from selfsup_tf.data.source import Source
from selfsup_tf.data.sources import open_source
from selfsup_tf.errors import check, nearest
from selfsup_tf.evaluation.features import (
    extract_features,
    image_size,
    weights_hash,
)
from selfsup_tf.evaluation.map_files import THUMBNAIL, EmbeddingMap, write_map
from selfsup_tf.evaluation.vectors import unit_vectors

__all__ = ["EmbeddingMap", "embedding_map", "lay_out", "write_map"]

METHODS = ("tsne", "pca")
LEAST = 10
"""Fewer images make no map."""
_COMPONENTS = 50  # of the PCA before t-SNE, as its authors do
_FLAT = 1e-9  # directions that differ by less are one, but for rounding


def embedding_map(
    encoder: keras.Model,
    source: Any,
    *,
    method: str = "tsne",
    count: int = 1500,
    seed: int = 0,
    batch_size: int = 256,
    cache: pathlib.Path | None = None,
) -> EmbeddingMap:
    """Lays images out in the plane by the directions of their representations.

    Equal seeds give equal maps.

    Args:
        encoder: float32 [0, 1] (N, S, S, 3) -> h (N, D).
        source: What `open_source` takes; labels are used where there are some.
        method: tsne keeps neighbours together; pca shows the two directions in which
            the representations vary most.
        count: Images at most, drawn at random.
        seed: Of the drawing, and of t-SNE.
        batch_size: Images in a call of the encoder.
        cache: A folder where representations are kept.

    Raises:
        InputError: An unknown method, fewer than `LEAST` images, or representations
            that are NaN or infinite.

    Reference: van der Maaten and Hinton 2008, "Visualizing data using t-SNE".
    """
    check(
        method in METHODS,
        "a method of making maps",
        repr(method),
        nearest(str(method), METHODS),
    )
    source = open_source(source)
    check(
        min(count, source.size) >= LEAST,
        f"{LEAST} images or more",
        f"{min(count, source.size)} of {source.name}",
        "Give more images, or a higher count.",
    )
    order = np.random.default_rng(seed).permutation(source.indices)[:count]
    part = source.select(np.sort(order), source.name)
    found = extract_features(encoder, part, batch_size=batch_size, cache=cache)
    size = image_size(encoder)
    return EmbeddingMap(
        method=method,
        source=source.name,
        positions=lay_out(found.features, method=method, seed=seed),
        labels=found.labels,
        class_names=None if found.labels is None else source.class_names,
        indices=found.indices,
        thumbnails=_thumbnails(part, size, batch_size),
        encoder_hash=weights_hash(encoder),
    )


def lay_out(features: np.ndarray, *, method: str, seed: int) -> np.ndarray:
    """Places of the directions of vectors, (N, 2) float64 in [0, 1].

    Args:
        features: (N, D), finite, N of `LEAST` or more.
        method: tsne or pca.
        seed: Of t-SNE.
    """
    vectors = unit_vectors(np.asarray(features, np.float64))
    components = min(_COMPONENTS if method == "tsne" else 2, *vectors.shape)
    pca = sklearn.decomposition.PCA(components, svd_solver="full")
    with np.errstate(invalid="ignore"):  # shares of a variance of 0, which we don't use
        places = pca.fit_transform(vectors)
    if np.ptp(places, axis=0).max() < _FLAT:
        return np.full((len(vectors), 2), 0.5)
    if method == "tsne":
        start = 1e-4 * places[:, :2] / places[:, 0].std()
        tsne = sklearn.manifold.TSNE(
            init=np.pad(start, ((0, 0), (0, 2 - start.shape[1]))).astype(np.float32),
            perplexity=min(30, (len(vectors) - 1) / 3),
            random_state=seed,
        )
        # Sums over threads come in any order, and t-SNE makes rounding visible.
        with threadpoolctl.threadpool_limits(1):
            places = tsne.fit_transform(places)
    places = np.pad(places, ((0, 0), (0, max(0, 2 - places.shape[1]))))[:, :2]
    middle = (places.max(axis=0) + places.min(axis=0)) / 2
    centred = (places - middle) / np.ptp(places, axis=0).max()
    return np.clip(centred.astype(np.float64) + 0.5, 0, 1)


def _thumbnails(source: Source, size: int, batch_size: int) -> np.ndarray:
    side = min(size, THUMBNAIL)
    thumbnails = []
    batches = pipeline.evaluation_dataset(source, size=size, batch_size=batch_size)
    for batch in batches:
        images = batch["image"].numpy()[batch["valid"].numpy()]
        for image in np.round(255 * np.clip(images, 0, 1)).astype(np.uint8):
            if side < size:
                resized = PIL.Image.fromarray(image).resize((side, side))
                image = np.asarray(resized)
            thumbnails.append(image)
    return np.stack(thumbnails)
