"""Charts of an evaluation's numbers, for the report, for papers and for notebooks.

Each function takes plain values as they stand in the files of a run directory and
returns a matplotlib figure, which is a file and stands in the report as SVG. Nothing
here needs TensorFlow.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.axes
import matplotlib.colors
import matplotlib.figure
import matplotlib.patches
import numpy as np

from selfsup_tf.errors import check
from selfsup_tf.evaluation import plotting
from selfsup_tf.evaluation.plotting import COLOURS, INK
from selfsup_tf.fields import is_number

MOST_NUMBERS = 20
"""Classes up to which each cell of a confusion has its number."""
_PARTS = {"representation": "representation h", "projection": "projection z"}
_KINDS = {"positive": "two views of an image", "negative": "two images"}


def draw_confusion(
    confusion: Sequence[Sequence[int]], class_names: Sequence[str]
) -> matplotlib.figure.Figure:
    """Shades of each true class's shares that were taken for each class.

    Up to `MOST_NUMBERS` classes every cell has its number; beyond, the pairs most often
    confused are listed beside the shades.

    Args:
        confusion: C rows, the true classes, of C counts, the predicted ones.
        class_names: C names.

    Raises:
        InputError: The matrix isn't square, or there are other names than classes.
    """
    counts = np.asarray(confusion)
    count = len(class_names)
    check(
        counts.shape == (count, count) and count > 0,
        f"a confusion of {count} x {count}, as many as class names",
        f"shape {counts.shape}",
        "Give the matrix and the names of one result.",
    )
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    numbered = count <= MOST_NUMBERS
    names = [plotting.short(name) for name in class_names]
    # Room for the title, and for the names beside the cells.
    longest = max(map(len, names))
    least, cells = 3.4 + 0.08 * longest, 0.36 * count + 1.0 + 0.09 * longest
    side = max(least, cells) if numbered else 5.4
    figure = plotting.new_figure(side if numbered else side + 3.2, side)
    shades = "per cent of each row" if numbered else "shade: root of the row's share"
    grid = figure.add_gridspec(1, 1 if numbered else 2,
                               width_ratios=None if numbered else (2, 1))  # fmt: skip
    title = f"Confusion, {shades}"
    axes = plotting.add_axes(figure, title, "taken for", "true class", place=(grid[0],))
    axes.grid(visible=False)
    axes.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5), aspect=1)
    axes.spines[:].set_visible(False)
    if numbered:
        axes.set_xticks(range(count), names, rotation=90)
        axes.set_yticks(range(count), names)
        _number_cells(axes, counts, shares, class_names)
    else:
        # The root lifts the rare confusions, as there are no numbers to read.
        blue = matplotlib.colors.to_rgba_array(COLOURS[0], np.sqrt(shares).ravel())
        axes.imshow(blue.reshape(count, count, 4), interpolation="none")
        _list_pairs(figure.add_subplot(grid[1]), counts, class_names)
    return figure


def _number_cells(
    axes: matplotlib.axes.Axes,
    counts: np.ndarray,
    shares: np.ndarray,
    names: Sequence[str],
) -> None:
    # One hue from light to dark: its order is that of lightness, which all eyes see.
    for true, taken in zip(*np.nonzero(counts), strict=True):
        share = shares[true, taken]
        cell = matplotlib.patches.Rectangle(
            (taken - 0.48, true - 0.48), 0.96, 0.96, color=COLOURS[0], alpha=share, lw=0
        )
        cell.set_gid(
            f"title:{names[true]} taken for {names[taken]}: "
            f"{round(counts[true, taken], 2):,} ({100 * share:.1f} %)"
        )
        axes.add_patch(cell)
        axes.text(
            taken,
            true,
            f"{100 * share:.0f}",
            ha="center",
            va="center_baseline",
            fontsize=8,
            color="white" if share > 0.55 else INK,
            weight="bold" if true == taken else "normal",
        )


def _list_pairs(
    axes: matplotlib.axes.Axes, counts: np.ndarray, names: Sequence[str]
) -> None:
    axes.set_axis_off()
    axes.set_title("Most often confused", loc="left", fontsize=10, color=INK)
    pairs = confused_pairs(counts.tolist(), names, 16)
    for row, (true, taken, _, share) in enumerate(pairs):
        axes.text(
            0,
            0.97 - 0.06 * row,
            f"{100 * share:3.0f} %  {plotting.short(true)} → {plotting.short(taken)}",
            transform=axes.transAxes,
            fontsize=8,
            va="top",
            color=INK,
        )


def confused_pairs(
    confusion: Sequence[Sequence[int]], class_names: Sequence[str], count: int = 10
) -> list[tuple[str, str, float, float]]:
    """What is most often taken for what, the largest share of a class first.

    Args:
        confusion: Rows are true classes, columns predicted ones.
        class_names: Of the rows.
        count: Pairs at most.

    Returns:
        (true class, predicted class, images, share of the true class's images).
    """
    pairs = [
        (class_names[t], class_names[p], round(number, 2), number / max(1, sum(row)))
        for t, row in enumerate(confusion)
        for p, number in enumerate(row)
        if t != p and number > 0
    ]
    return sorted(pairs, key=lambda pair: -pair[3])[:count]


def draw_spectrum(health: Mapping[str, Any]) -> matplotlib.figure.Figure:
    """Singular values of h and z over the largest, falling, with RankMe.

    Args:
        health: "spectrum" by part, "representation" and "projection", and the numbers
            of each part with "rank_me".
    """
    spectra = {
        name: health["spectrum"][key]
        for key, name in _PARTS.items()
        if health["spectrum"].get(key)
    }
    figure = draw_spectra(spectra, "Spectrum")
    keys = [key for key, name in _PARTS.items() if name in spectra]
    for n, key in enumerate(keys):
        rank = (health.get(key) or {}).get("rank_me")
        if not is_number(rank):
            continue
        axes = figure.axes[0]
        axes.axvline(rank, color=COLOURS[n], linewidth=1, linestyle=(0, (2, 3)))
        left = rank > axes.get_xlim()[1] / 2
        axes.annotate(
            f"RankMe of {_PARTS[key][-1]}: {rank:.1f}",
            (rank, 0.05 + 0.11 * n),
            xycoords=("data", "axes fraction"),
            xytext=(-4 if left else 4, 0),
            textcoords="offset points",
            ha="right" if left else "left",
            fontsize=9,
            color=INK,
            bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1},
        )
    return figure


def draw_spectra(
    spectra: Mapping[str, Sequence[float]], title: str
) -> matplotlib.figure.Figure:
    """Singular values over the largest, falling, one line for each name.

    Args:
        spectra: Singular values, falling, by name.
        title: Of the chart.
    """
    figure = plotting.new_figure()
    axes = plotting.add_axes(
        figure, title, "number of the singular value", "over the largest"
    )
    curves = []
    for name, values in spectra.items():
        shares = relative_spectrum(values)
        curves.append(
            plotting.Curve(name, tuple(range(1, len(shares) + 1)), tuple(shares))
        )
    plotting.draw_lines(axes, curves)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(plotting.power_of_ten)
    axes.set_ylim(top=1.5)
    return figure


def relative_spectrum(values: Iterable[float], floor: float = 1e-6) -> list[float]:
    """Singular values over the largest, no less than `floor`, for a log scale."""
    values = [float(v) for v in values]
    largest = max(values, default=0.0)
    if not largest > 0:
        return [floor] * len(values)
    return [max(v / largest, floor) for v in values]


def draw_histograms(health: Mapping[str, Any]) -> matplotlib.figure.Figure:
    """Cosines of two views of an image beside those of two images, for h and for z.

    Args:
        health: "histograms" with "edges", B + 1 rising bounds, and for each part the
            heights of "positive" and "negative" pairs.
    """
    found = health["histograms"]
    keys = [key for key in _PARTS if found.get(key)]
    figure = plotting.new_figure(height=0.5 + 2.2 * len(keys))
    edges = np.asarray(found["edges"], float)
    for n, key in enumerate(keys):
        place = (len(keys), 1, n + 1)
        axes = plotting.add_axes(
            figure, f"Cosines of {_PARTS[key]}", "cosine", "% of pairs", place=place
        )
        for number, (kind, name) in enumerate(_KINDS.items()):
            heights = np.asarray(found[key][kind], float)
            axes.stairs(
                100 * heights / (heights.sum() or 1),
                edges,
                fill=True,
                facecolor=(COLOURS[number], 0.2),
                edgecolor=COLOURS[number],
                linestyle=plotting.line_look(number)["linestyle"],
                linewidth=1.5,
                label=name,
            )
        axes.set_xlim(edges[0], edges[-1])
    if keys:
        plotting.add_legend(figure, axes)
    return figure


def draw_robustness(robustness: Mapping[str, Any]) -> matplotlib.figure.Figure:
    """Top-1 over the strength of each disturbance; paler lines are the untrained copy.

    Args:
        robustness: "trained" and "untrained", each with "clean_top_1" and "top_1", the
            shares at rising strengths by disturbance.
    """
    figure = plotting.new_figure(height=3.1)
    axes = plotting.add_axes(
        figure, "Robustness", "strength, 0 is the clean image", "top-1, %"
    )
    for kind, alpha in (("untrained", 0.35), ("trained", 1.0)):
        values = robustness.get(kind) or {}
        for n, (name, row) in enumerate((values.get("top_1") or {}).items()):
            axes.plot(
                range(len(row) + 1),
                [100 * v for v in (values["clean_top_1"], *row)],
                label=name if kind == "trained" else None,
                marker=plotting.MARKERS[n % len(plotting.MARKERS)],
                markersize=4,
                alpha=alpha,
                **plotting.line_look(n),
            )
    if robustness.get("untrained"):
        axes.plot([], [], color=plotting.SOFT, alpha=0.35, label="paler: untrained")
    axes.set_ylim(bottom=0)
    axes.xaxis.get_major_locator().set_params(integer=True, nbins=8)
    plotting.add_legend(figure, axes)
    return figure
