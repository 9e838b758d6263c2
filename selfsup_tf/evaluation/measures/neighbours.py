"""A picture of what an encoder takes to be alike: images and their neighbours."""

import dataclasses
import pathlib
import textwrap
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from selfsup_tf.data import pipeline
from selfsup_tf.data.channels import to_picture
from selfsup_tf.data.source import Source
from selfsup_tf.data.stored_vectors import readable
from selfsup_tf.errors import check
from selfsup_tf.evaluation.features import (
    compile_network,
    extract_features,
    image_size,
    open_images,
)
from selfsup_tf.evaluation.plotting import COLOURS, SOFT, short
from selfsup_tf.evaluation.vectors import unit_vectors
from selfsup_tf.figures import Figure
from selfsup_tf.files import save_figure

# The dashes tell them apart in grey, too.
RIGHT = {"edgecolor": COLOURS[0], "linestyle": "solid"}
WRONG = {"edgecolor": COLOURS[1], "linestyle": (0, (3, 1.5))}


def neighbour_gallery(
    encoder: keras.Model,
    train: Any,
    test: Any,
    path: str | pathlib.Path | None = None,
    *,
    queries: int = 8,
    hits: int = 7,
    seed: int = 0,
    cache: pathlib.Path | None = None,
) -> Figure:
    """Draws images of `test`, each beside its nearest ones of `train` by cosine.

    Images are drawn as the encoder sees them, those of files with their names. With
    labels, a hit of the query's class
    has a solid blue frame and any other a dashed orange one. Where `train` is `test`,
    an image is not its own neighbour.

    Args:
        encoder: float32 [0, 1] (N, S, S, 3) -> h (N, D).
        train: Where the neighbours come from: a Source or arrays.
        test: Where the queries come from, likewise.
        path: Where to write the picture (.png, .svg, .pdf), if anywhere.
        queries: Rows.
        hits: Neighbours in a row.
        seed: Chooses the queries.
        cache: A folder where representations are kept.

    Returns:
        The figure, which a notebook shows.

    Raises:
        InputError: Fewer images than asked for.
    """
    same, train = train is test, open_images(encoder, train)
    test = train if same else open_images(encoder, test)
    rows = find_neighbours(
        encoder, train, test, queries=queries, hits=hits, seed=seed, cache=cache
    )
    figure = _draw(rows, train.name)
    if path is not None:
        save_figure(figure, path)
    return figure


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image as it is drawn.

    Attributes:
        image: The evaluation view, (S, S, 3) float32 in [0, 1].
        label: The name of its class, or its number; None without one.
        file: The name of its file, or "".
    """

    image: np.ndarray
    label: str | None
    file: str


def find_neighbours(
    encoder: keras.Model,
    train: Source,
    test: Source,
    *,
    queries: int = 8,
    hits: int = 7,
    seed: int = 0,
    cache: pathlib.Path | None = None,
) -> list[tuple[Picture, list[tuple[Picture, float]]]]:
    """Images of `test`, each with its nearest ones of `train` and their cosines.

    The arguments are those of `neighbour_gallery`.
    """
    same = train is test
    check(
        test.size >= queries >= 1 and train.size - same >= hits >= 1,
        f"1 to {test.size} queries and 1 to {train.size - same} hits, the images of "
        f"{test.name} and {train.name}",
        f"{queries} and {hits}",
        "Ask for fewer.",
    )
    size = image_size(encoder)
    bank = extract_features(encoder, train, cache=cache)
    order = np.random.default_rng(seed).permutation(test.indices)[:queries]
    names = test.class_names or train.class_names
    asked = _views(test, size, order, names)
    h = compile_network(encoder)(np.stack([one.image for one in asked.values()]))
    cosine = unit_vectors(h.numpy()) @ unit_vectors(bank.features).T
    if same:
        cosine[np.array(list(asked))[:, None] == bank.indices[None, :]] = -np.inf
    nearest = np.argsort(-cosine, axis=1, kind="stable")[:, :hits]
    names = train.class_names or test.class_names
    found = _views(train, size, np.unique(bank.indices[nearest]), names)
    return [
        (query, [(found[bank.indices[n]], cosine[row, n]) for n in nearest[row]])
        for row, query in enumerate(asked.values())
    ]


def _views(
    source: Source, size: int, indices: np.ndarray, class_names: Sequence[str] | None
) -> dict[int, Picture]:
    """Some images, by index."""
    part = source.select(np.sort(indices), source.name)
    files = dict(zip(part.indices.tolist(), part.paths or (), strict=False))
    views = {}
    for batch in pipeline.evaluation_dataset(part, size=size, batch_size=64):
        batch = {name: values.numpy() for name, values in batch.items()}
        for n in np.flatnonzero(batch["valid"]):
            label = int(batch["label"][n]) if "label" in batch else -1
            index = int(batch["index"][n])
            file = readable(pathlib.Path(files.get(index, "")).name)
            views[index] = Picture(batch["image"][n], _named(label, class_names), file)
    return views


def _named(label: int, class_names: Sequence[str] | None) -> str | None:
    # By the names: two folders may number their classes differently.
    if label < 0:
        return None
    return str(label if class_names is None else class_names[label])


def _draw(rows: list, name: str) -> Figure:
    columns = 1 + len(rows[0][1])
    (query, _), *_ = rows
    named = any(query.label is not None for query, _ in rows)
    labelled = named and any(h.label is not None for _, hits in rows for h, _ in hits)
    title = [f"Nearest neighbours in {readable(name)} by cosine".replace("$", r"\$")]
    if labelled:
        title += ["blue, solid: the query's class", "orange, dashed: another class"]
    cell = 1.05
    width = columns * (cell + 0.1) + 0.4
    lines = [line for part in title for line in textwrap.wrap(part, round(13 * width))]
    header = 0.45 + 0.15 * len(lines)
    height = len(rows) * (cell + (0.42 if query.file else 0.3)) + header
    figure = Figure(figsize=(width, height))
    grid = figure.add_gridspec(
        len(rows),
        columns,
        left=0.02,
        right=0.98,
        bottom=0.02,
        top=1 - header / height,
        width_ratios=[1.25] + [1] * (columns - 1),
        hspace=0.47 if query.file else 0.35,
        wspace=0.08,
    )
    title = "\n".join(lines)
    figure.suptitle(title, fontsize=9, y=1 - 0.12 / height, va="top")
    for r, (query, found) in enumerate(rows):
        axes = figure.add_subplot(grid[r, 0])
        _show(axes, query, _caption(query) if named else "query")
        for c, (hit, cosine) in enumerate(found):
            axes = figure.add_subplot(grid[r, c + 1])
            caption = f"{cosine:.2f}"
            if labelled:
                caption = f"{_caption(hit)} {caption}"
            _show(axes, hit, caption)
            if None not in (query.label, hit.label):
                frame = RIGHT if hit.label == query.label else WRONG
                for spine in axes.spines.values():
                    spine.set(visible=True, linewidth=2.5, **frame)
    return figure


def _show(axes: Any, picture: Picture, caption: str) -> None:
    image = np.clip(to_picture(picture.image), 0, 1)
    axes.imshow(image, interpolation="nearest")
    name = short(picture.file, 18, in_legend=False)
    axes.set_xlabel(name, fontsize=5.5, labelpad=2, color=SOFT)
    axes.set(xticks=[], yticks=[])
    axes.set_title(caption, fontsize=6.5, pad=3)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _caption(picture: Picture) -> str:
    return "no class" if picture.label is None else short(picture.label, 12)
