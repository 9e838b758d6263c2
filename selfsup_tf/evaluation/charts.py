"""Figures of an evaluation's numbers, for papers, notebooks and documents.

Each function takes plain values as they stand in the JSON files of a run directory and
returns a figure; nothing here needs TensorFlow.
"""

from collections.abc import Sequence
from typing import Any

import matplotlib.axes
import matplotlib.figure
import numpy as np

from selfsup_tf.errors import check
from selfsup_tf.evaluation.chart_values import (
    COLOURS,
    DASHES,
    MARKERS,
    confused_pairs,
    is_number,
    relative_spectrum,
    training_panels,
    warmup,
)

MOST_NUMBERS = 20
"""Classes up to which each cell of a confusion has its number."""
_INK, _SOFT, _HAIR, _SHADE = "#1d2329", "#59636e", "#dedbd4", "#eceae3"
_NAMES = {"representation": "representation h", "projection": "projection z"}
_FLOOR = 1e-6


def draw_confusion(
    confusion: Sequence[Sequence[int]], class_names: Sequence[str]
) -> matplotlib.figure.Figure:
    """What is taken for what: shades of each true class's shares.

    Up to `MOST_NUMBERS` classes every cell has its number; beyond, the pairs most often
    confused are listed beside the shades.

    Args:
        confusion: C rows, the true classes, of C counts, the predicted ones.
        class_names: C names.

    Raises:
        InputError: The matrix isn't square, or there are other names than classes.
    """
    counts = np.asarray(confusion, np.int64)
    count = len(class_names)
    check(
        counts.shape == (count, count) and count > 0,
        f"a confusion of {count} x {count}, as many as class names",
        f"shape {counts.shape}",
        "Give the matrix and the names of one result.",
    )
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    numbered = count <= MOST_NUMBERS
    side = max(3.6, 0.46 * count + 1.6) if numbered else 7.0
    figure = _figure(side if numbered else side + 3.4, side)
    axes = figure.subplots(1, 1 if numbered else 2, squeeze=False,
                           width_ratios=None if numbered else (2.2, 1))[0]  # fmt: skip
    # One hue from light to dark: its order is that of lightness, which all eyes see.
    # The root lifts the rare confusions where there are no numbers to read.
    shown = shares if numbered else np.sqrt(shares)
    axes[0].imshow(shown, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    names = [_short(name) for name in class_names]
    if numbered:
        _number_cells(axes[0], counts, shares)
        axes[0].set_xticks(range(count), names, rotation=90)
        axes[0].set_yticks(range(count), names)
    else:
        _list_pairs(axes[1], counts, names)
    axes[0].set(xlabel="taken for", ylabel="true class")
    shades = "per cent of each row" if numbered else "shade: root of the row's share"
    axes[0].set_title(f"Confusion, {shades}", loc="left")
    axes[0].tick_params(length=0)
    axes[0].spines[:].set_visible(False)
    return figure


def _number_cells(axes: matplotlib.axes.Axes, counts: np.ndarray, shares: np.ndarray):
    for true, taken in zip(*np.nonzero(counts), strict=True):
        share = shares[true, taken]
        axes.text(
            taken,
            true,
            f"{100 * share:.0f}",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if share > 0.55 else _INK,
            weight="bold" if true == taken else "normal",
        )


def _list_pairs(axes: matplotlib.axes.Axes, counts: np.ndarray, names: Sequence[str]):
    axes.set_axis_off()
    axes.set_title("Most often confused", loc="left")
    pairs = confused_pairs(counts.tolist(), names, 16)
    for row, (true, taken, _, share) in enumerate(pairs):
        axes.text(
            0,
            0.97 - 0.055 * row,
            f"{100 * share:3.0f} %  {true} → {taken}",
            transform=axes.transAxes,
            fontsize=8,
            va="top",
        )


def draw_spectrum(health: dict[str, Any]) -> matplotlib.figure.Figure:
    """Singular values of h and z over the largest, falling, with RankMe.

    Args:
        health: A health.json.
    """
    figure = _figure(5.6, 3.6)
    axes = _axes(figure, "Spectrum", "number of the singular value", "over the largest")
    for n, (key, name) in enumerate(_NAMES.items()):
        values = relative_spectrum(health["spectrum"].get(key) or (), _FLOOR)
        if not values:
            continue
        axes.plot(range(1, len(values) + 1), values, label=name, **_line(n))
        rank = (health.get(key) or {}).get("rank_me")
        if is_number(rank):
            axes.axvline(rank, color=COLOURS[n], linewidth=1, linestyle=(0, (2, 3)))
            axes.annotate(
                f"RankMe of {name[-1]}: {rank:.1f}",
                (rank, 0.04 + 0.08 * n),
                xycoords=("data", "axes fraction"),
                xytext=(4, 0),
                textcoords="offset points",
                fontsize=8,
                bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1},
            )
    axes.set_yscale("log")
    axes.legend(frameon=False, loc="upper right")
    return figure


def draw_histograms(health: dict[str, Any]) -> matplotlib.figure.Figure:
    """Cosines of two views of an image beside those of two images, for h and for z.

    Args:
        health: A health.json.
    """
    found = health["histograms"]
    keys = [key for key in _NAMES if found.get(key)]
    figure = _figure(4.4 * len(keys), 3.2)
    edges = np.asarray(found["edges"])
    for n, key in enumerate(keys):
        title = f"Cosines of {_NAMES[key]}"
        axes = _axes(figure, title, "cosine", "% of pairs", place=(1, len(keys), n + 1))
        for look, kind in enumerate(("positive", "negative")):
            heights = np.asarray(found[key][kind], float)
            axes.stairs(
                100 * heights / (heights.sum() or 1),
                edges,
                fill=True,
                facecolor=(COLOURS[look], 0.25),
                edgecolor=COLOURS[look],
                linestyle=_line(look)["linestyle"],
                linewidth=1.5,
                label=("two views of an image", "two images")[look],
            )
        axes.set_xlim(edges[0], edges[-1])
        axes.legend(frameon=False, loc="upper left", fontsize=8)
    return figure


def draw_curves(
    records: Sequence[dict[str, Any]], config: dict[str, Any]
) -> matplotlib.figure.Figure:
    """All that a run has logged over its epochs, the warm-up shaded.

    Args:
        records: Of its log.jsonl.
        config: Its config.json.

    Raises:
        InputError: The log has no records of training.
    """
    panels = training_panels(records)
    check(
        len(panels) > 0,
        "a log with records of training",
        f"{len(records)} records, none of an epoch",
        "Train for a step or more first.",
    )
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = _figure(4.2 * columns, 2.7 * rows)
    end = warmup(config)
    schedule = (config.get("optimizer") or {}).get("schedule")
    last = max(x for panel in panels for curve in panel.curves for x in curve.x)
    for n, panel in enumerate(panels):
        title = panel.title
        if panel.key == "learning_rate" and schedule:
            title += f" ({schedule})"
        place = (rows, columns, n + 1)
        unit = "%" if panel.percent else ""
        axes = _axes(figure, title, "epoch", unit, place=place)
        if end:
            axes.axvspan(0, end, color=_SHADE, linewidth=0, zorder=0)
            if panel.key == "learning_rate":
                axes.text(end, 0.03, " warm-up", transform=axes.get_xaxis_transform(),
                          fontsize=8, color=_SOFT)  # fmt: skip
        for look, curve in enumerate(panel.curves):
            y = [np.nan if v is None else v * (100 if panel.percent else 1)
                 for v in curve.y]  # fmt: skip
            marker = "." if len(y) < 20 else None
            axes.plot(curve.x, y, label=curve.name, marker=marker, **_line(look))
        axes.set_xlim(0, last or 1)
        if len(panel.curves) > 1:
            axes.legend(frameon=False, fontsize=8)
    return figure


def draw_robustness(robustness: dict[str, Any]) -> matplotlib.figure.Figure:
    """Top-1 over the strength of each disturbance; paler lines are the untrained copy.

    Args:
        robustness: A robustness.json.
    """
    figure = _figure(5.6, 3.6)
    axes = _axes(figure, "Robustness", "strength, 0 is the clean image", "top-1, %")
    for kind, alpha in (("untrained", 0.35), ("trained", 1.0)):
        values = robustness.get(kind) or {}
        for n, (name, row) in enumerate((values.get("top_1") or {}).items()):
            axes.plot(
                range(len(row) + 1),
                [100 * v for v in (values["clean_top_1"], *row)],
                label=name if kind == "trained" else None,
                marker=MARKERS[n % len(MARKERS)],
                markersize=4,
                alpha=alpha,
                **_line(n),
            )
    axes.set_ylim(bottom=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False, fontsize=8, ncols=2)
    return figure


def _figure(width: float, height: float) -> matplotlib.figure.Figure:
    # Made without pyplot, so that no window system or global state is touched.
    return matplotlib.figure.Figure(figsize=(width, height), layout="constrained")


def _axes(
    figure: matplotlib.figure.Figure,
    title: str,
    x_label: str,
    y_label: str,
    *,
    place: tuple[int, int, int] = (1, 1, 1),
) -> matplotlib.axes.Axes:
    axes = figure.add_subplot(*place)
    axes.set_title(title, loc="left", fontsize=11, weight="bold", color=_INK)
    axes.set_xlabel(x_label, fontsize=9, color=_SOFT)
    axes.set_ylabel(y_label, fontsize=9, color=_SOFT)
    axes.tick_params(labelsize=8, length=0, labelcolor=_SOFT)
    axes.grid(axis="y", color=_HAIR, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_HAIR)
    return axes


def _line(number: int) -> dict[str, Any]:
    """Colour and dash of the line that is `number` in a chart."""
    dash = DASHES[number % len(DASHES)]
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": (0, dash) if dash else "solid",
        "linewidth": 1.7,
    }


def _short(name: str) -> str:
    # A dollar sign would begin a formula.
    name = str(name).replace("$", r"\$")
    return name if len(name) <= 16 else name[:15] + "…"
