"""The picture of a map: images at their places in the plane.

Legend: N images.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
from typing import TYPE_CHECKING

import matplotlib.axes
import numpy as np
import PIL.Image
import scipy.optimize

from selfsup_tf.data.stored_vectors import readable
from selfsup_tf.evaluation.plotting import COLOURS, MARKERS, SOFT, short
from selfsup_tf.evaluation.thumbnails import join_thumbnails
from selfsup_tf.figures import Figure
from selfsup_tf.files import save_figure, whole_file

if TYPE_CHECKING:
    from selfsup_tf.evaluation.measures.embedding_map import EmbeddingMap

_TOLD_APART = 72  # classes, by colours and markers together
FEW = 150
"""Images up to which a picture draws all of them."""
_FRAMED = 34  # thumbnails that fit beside each other on the picture


def write_map(embedding: EmbeddingMap, picture: pathlib.Path) -> pathlib.Path:
    """Writes a map's picture, and all thumbnails in one beside it.

    Args:
        embedding: The map.
        picture: Such as RUN_DIR/eval/map.png.

    Returns:
        The path of the thumbnails, such as RUN_DIR/eval/map_thumbnails.jpg.
    """
    sprite = join_thumbnails(embedding.thumbnails, embedding.columns)
    thumbnails = picture.with_name(f"{picture.stem}_thumbnails.jpg")
    with whole_file(thumbnails) as beside:
        # With all its colour, or that of a thumbnail would run into the next.
        image = PIL.Image.fromarray(sprite)
        image.save(beside, "JPEG", quality=88, subsampling=0)
    save_figure(draw_map(embedding), picture)
    return thumbnails


def draw_map(embedding: EmbeddingMap) -> Figure:
    """Draws a map: the images at their places.

    Of images that would lie over each other one is drawn and the others are points;
    up to `FEW` are all drawn, larger, moved apart. A frame's colour and the marker at
    its corner are the class.
    """
    labels, framed = embedding.labels, _FRAMED
    few = len(embedding.positions) <= FEW
    if few:
        framed = math.ceil(1.3 * math.sqrt(len(embedding.positions)))
        places = apart(embedding.positions, framed)
        embedding = dataclasses.replace(embedding, positions=places)
    places = embedding.positions
    present = [] if labels is None else np.unique(labels).tolist()
    height = float(np.ptp(places[:, 1]))
    size = (10, max(4.0, 1 + 8 * height))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    half = 0.5 / framed
    chosen = np.ones(len(places), bool) if few else thinned(places, 2.15 * half)
    _draw_points(axes, embedding, present, chosen, half)
    for n in np.flatnonzero(chosen):
        x, y = places[n]
        extent = (x - half, x + half, y + half, y - half)
        axes.imshow(embedding.thumbnails[n], extent=extent, zorder=2)
        if few and embedding.files:
            name = short(embedding.files[n], 20, in_legend=False)
            axes.text(x, y + half, name, fontsize=5, ha="center", va="top", color=SOFT)
        if 0 < len(present) <= _TOLD_APART:
            colour, _ = _look(present, labels[n])
            edge = np.array([[-1, 1, 1, -1, -1], [-1, -1, 1, 1, -1]]) * half
            axes.plot(x + edge[0], y + edge[1], color=colour, linewidth=2, zorder=3)
    edge = half + 0.015
    top, bottom = places[:, 1].min() - edge, places[:, 1].max() + edge
    axes.set(xlim=(-edge, 1 + edge), ylim=(bottom, top), xticks=[], yticks=[], aspect=1)
    axes.spines[:].set_visible(False)
    method = {"tsne": "t-SNE", "pca": "PCA"}[embedding.method]
    source = readable(embedding.source).replace("$", r"\$")
    axes.set_title(
        f"{len(places):,} images of {source} by {method}; "
        + ("each is moved to a free place" if few else f"{chosen.sum()} are drawn"),
        loc="left",
    )
    return figure


def _draw_points(axes: matplotlib.axes.Axes, embedding: EmbeddingMap, present: list,
                 chosen: np.ndarray, half: float) -> None:  # fmt: skip
    """Points for what is not drawn, markers at the corners of what is, the legend."""
    places, labels = embedding.positions, embedding.labels
    if not 0 < len(present) <= _TOLD_APART:
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


def apart(places: np.ndarray, side: int) -> np.ndarray:
    """Moves places, (N, 2) in [0, 1], each to one of its own on a grid of side x side.

    Together they move as little as possible, by the squares of their ways.
    """
    steps = np.linspace(0, 1, side)
    grid = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)
    ways = ((places[:, None] - grid) ** 2).sum(-1)
    _, taken = scipy.optimize.linear_sum_assignment(ways)
    return grid[taken]


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
