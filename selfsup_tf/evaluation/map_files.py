"""A map of images, its files and its picture.

Legend: N images, t height and width of a thumbnail.
"""

import dataclasses
import io
import os
import pathlib

import matplotlib.axes
import matplotlib.figure
import numpy as np
import PIL.Image

from selfsup_tf.evaluation.chart_values import COLOURS, MARKERS
from selfsup_tf.files import save_figure, write_json

THUMBNAIL = 48
"""Largest side of a thumbnail, in pixels."""
_TOLD_APART = 72  # classes, by colours and markers together
_FRAMED = 34  # thumbnails that fit beside each other on the picture


@dataclasses.dataclass(frozen=True)
class EmbeddingMap:
    """Images and their places.

    Attributes:
        method: tsne or pca.
        source: Where the images are from.
        positions: (N, 2) float64 in [0, 1], to the right and downwards. Both axes have
            one scale, so that the longer one fills it.
        labels: (N,) int64, or None where there are none.
        class_names: Of the labels, or None.
        indices: (N,) int64, the number of each image in its source.
        thumbnails: (N, t, t, 3) uint8, the evaluation views, t at most `THUMBNAIL`.
        encoder_hash: `weights_hash` of the encoder.
    """

    method: str
    source: str
    positions: np.ndarray
    labels: np.ndarray | None
    class_names: tuple[str, ...] | None
    indices: np.ndarray
    thumbnails: np.ndarray
    encoder_hash: str


def write_map(
    embedding: EmbeddingMap, folder: str | pathlib.Path, *, name: str = "map"
) -> pathlib.Path:
    """Writes NAME.json, NAME_thumbnails.jpg and NAME.png, each whole or not at all.

    Args:
        embedding: The map.
        folder: Such as RUN_DIR/eval.
        name: The report shows the map called "map".

    Returns:
        The path of NAME.png.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    count, side = embedding.thumbnails.shape[:2]
    columns = int(np.ceil(np.sqrt(count)))
    sprite = np.zeros((-(-count // columns) * side, columns * side, 3), np.uint8)
    for n, thumbnail in enumerate(embedding.thumbnails):
        row, column = (side * place for place in divmod(n, columns))
        sprite[row : row + side, column : column + side] = thumbnail
    written = io.BytesIO()
    # With all its colour, or that of a thumbnail would run into the next.
    PIL.Image.fromarray(sprite).save(written, "JPEG", quality=88, subsampling=0)
    beside = folder / f".{name}_thumbnails.{os.getpid()}.jpg"
    beside.write_bytes(written.getvalue())
    os.replace(beside, folder / f"{name}_thumbnails.jpg")
    path = save_figure(draw_map(embedding), folder / f"{name}.png")
    labels, names = embedding.labels, embedding.class_names
    write_json(
        folder / f"{name}.json",
        {
            "method": embedding.method,
            "source": embedding.source,
            "positions": embedding.positions.round(5).tolist(),
            "labels": None if labels is None else labels.tolist(),
            "class_names": None if names is None else list(names),
            "indices": embedding.indices.tolist(),
            "thumbnail": side,
            "columns": columns,
            "encoder_hash": embedding.encoder_hash,
        },
    )
    return path


def draw_map(embedding: EmbeddingMap) -> matplotlib.figure.Figure:
    """The images at their places.

    Of images that would lie over each other one is drawn and the others are points, so
    that each can be seen. A frame's colour and the marker at its corner are the class.
    """
    places, labels = embedding.positions, embedding.labels
    present = [] if labels is None else np.unique(labels).tolist()
    height = float(np.ptp(places[:, 1]))
    size = (10, max(4.0, 1 + 8 * height))
    figure = matplotlib.figure.Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    half = 0.5 / _FRAMED
    chosen = thinned(places, 2.15 * half)
    _draw_points(axes, embedding, present, chosen, half)
    for n in np.flatnonzero(chosen):
        x, y = places[n]
        extent = (x - half, x + half, y + half, y - half)
        axes.imshow(embedding.thumbnails[n], extent=extent, zorder=2)
        told = labels is not None and len(present) <= _TOLD_APART
        if told:
            colour, _ = _look(present, labels[n])
            edge = [x - half, x + half, x + half, x - half, x - half]
            axes.plot(edge, [y - half, y - half, y + half, y + half, y - half],
                      color=colour, linewidth=2, zorder=3)  # fmt: skip
    top, bottom = places[:, 1].min() - 0.03, places[:, 1].max() + 0.03
    axes.set(xlim=(-0.03, 1.03), ylim=(bottom, top), xticks=[], yticks=[], aspect=1)
    axes.spines[:].set_visible(False)
    method = {"tsne": "t-SNE", "pca": "PCA"}[embedding.method]
    axes.set_title(
        f"{len(places):,} images of {embedding.source} by {method}; "
        f"{int(chosen.sum())} are drawn",
        loc="left",
    )
    return figure


def _draw_points(axes: matplotlib.axes.Axes, embedding: EmbeddingMap, present: list,
                 chosen: np.ndarray, half: float) -> None:  # fmt: skip
    """Points for what is not drawn, markers at the corners of what is, the legend."""
    places, labels = embedding.positions, embedding.labels
    if labels is None or len(present) > _TOLD_APART:
        rest = places[~chosen]
        axes.scatter(*rest.T, s=10, color=COLOURS[0], alpha=0.6, linewidths=0)
        return
    for label in present:
        colour, marker = _look(present, label)
        own = labels == label
        rest, corners = places[own & ~chosen], places[own & chosen] - half
        axes.scatter(
            *rest.T, s=14, color=colour, marker=marker, alpha=0.6, linewidths=0
        )
        name = f"class {label}"
        if embedding.class_names is not None and label >= 0:
            name = str(embedding.class_names[label])
        axes.scatter(*corners.T, s=42, color=colour, marker=marker, zorder=4,
                     edgecolors="white", linewidths=0.7,
                     label=name.lstrip("_").replace("$", r"\$") or " ")  # fmt: skip
    axes.figure.legend(
        loc="outside right upper",
        frameon=False,
        ncols=-(-len(present) // 40),
        fontsize=9 if len(present) <= 40 else 6,
    )


def _look(present: list[int], label: int) -> tuple[str, str]:
    """Colour and marker of a class, by its place among those present."""
    number = present.index(label)
    return COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]


def thinned(places: np.ndarray, distance: float) -> np.ndarray:
    """Which of the places, (N,) bool, keep clear of those kept before.

    Args:
        places: (N, 2).
        distance: Least difference of two that are kept, to the side or downwards.
    """
    kept = np.zeros(len(places), bool)
    for n, place in enumerate(places):
        gaps = np.abs(places[kept] - place).max(axis=1, initial=0)
        kept[n] = bool((gaps >= distance).all())
    return kept
