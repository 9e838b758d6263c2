"""A map of images in the plane, by t-SNE or PCA of their representations.

Legend: N images, S height and width of the encoder's input, t that of a thumbnail.
"""

import dataclasses
import pathlib
from typing import Any

import keras
import numpy as np
import sklearn.decomposition
import sklearn.manifold
import threadpoolctl

from selfsup_tf.data import pipeline
from selfsup_tf.data.source import Source
from selfsup_tf.data.stored_vectors import readable
from selfsup_tf.errors import check, check_one_of
from selfsup_tf.evaluation.features import extract_features, image_size, open_images
from selfsup_tf.evaluation.measures.map_picture import draw_map
from selfsup_tf.evaluation.thumbnails import make_thumbnails
from selfsup_tf.evaluation.vectors import unit_vectors
from selfsup_tf.shown import brief

METHODS = ("tsne", "pca")
LEAST = 10
"""Fewer images make no map."""
THUMBNAIL = 48
"""Largest side of a thumbnail, in pixels."""
_COMPONENTS = 50  # of the PCA before t-SNE, as its authors do
_FLAT = 1e-9  # directions that differ by less are one, but for rounding


@dataclasses.dataclass(frozen=True)
class EmbeddingMap:
    """Images and their places on a map.

    Attributes:
        method: tsne or pca.
        source: Where the images are from.
        positions: (N, 2) float64 in [0, 1], to the right and downwards. Both axes have
            one scale, so that the longer one fills it.
        labels: (N,) int64, or None where there are none.
        class_names: Of the labels, or None.
        indices: (N,) int64, the number of each image in its source.
        thumbnails: (N, t, t, 3) uint8, the evaluation views, t at most `THUMBNAIL`.
        files: The name of each image's file; None without files.
    """

    method: str
    source: str
    positions: np.ndarray
    labels: np.ndarray | None
    class_names: tuple[str, ...] | None
    indices: np.ndarray
    thumbnails: np.ndarray
    files: tuple[str, ...] | None = None

    __repr__ = brief

    def _repr_png_(self) -> bytes:
        return draw_map(self)._repr_png_()

    @property
    def columns(self) -> int:
        """Thumbnails in a row of the picture that holds all of them."""
        return int(np.ceil(np.sqrt(len(self.thumbnails))))

    def to_dict(self) -> dict[str, Any]:
        """All but the thumbnails as plain values; these lie in rows of `columns`."""
        return {
            "method": self.method,
            "source": self.source,
            "positions": self.positions.round(5).tolist(),
            "labels": None if self.labels is None else self.labels.tolist(),
            "class_names": self.class_names and list(self.class_names),
            "indices": self.indices.tolist(),
            "files": self.files and list(self.files),
            "thumbnail": self.thumbnails.shape[1],
            "columns": self.columns,
        }


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
    check_one_of(method, METHODS, "a method of making maps")
    source = open_images(encoder, source)
    check(
        min(count, source.size) >= LEAST,
        f"{LEAST} images or more",
        f"{min(count, source.size)} of {source.name}",
        "Give more images, or a higher count.",
    )
    order = np.random.default_rng(seed).permutation(source.indices)[:count]
    part = source.select(np.sort(order), source.name)
    found = extract_features(encoder, part, batch_size=batch_size, cache=cache)
    return EmbeddingMap(
        method=method,
        source=source.name,
        positions=lay_out(found.features, method=method, seed=seed),
        labels=found.labels,
        class_names=None if found.labels is None else source.class_names,
        indices=found.indices,
        thumbnails=_thumbnails(part, image_size(encoder), batch_size),
        files=part.paths
        and tuple(readable(pathlib.Path(path).name) for path in part.paths),
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
    batches = pipeline.evaluation_dataset(source, size=size, batch_size=batch_size)
    images = (batch["image"][batch["valid"]] for batch in batches)
    side = min(size, THUMBNAIL)
    return np.concatenate([make_thumbnails(some, side) for some in images])
