"""What all charts share: their size, their axes, their legends, the looks of lines.

A single chart is as wide as a phone, so that its letters are there as large as they are
meant to be.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import matplotlib.axes
import matplotlib.figure
import numpy as np

from selfsup_tf.figures import COLOURS, Figure

INK, SOFT, HAIR, SHADE = "#1d2329", "#59636e", "#dedbd4", "#eceae3"
"""Of text, of what explains it, of lines of a grid, of areas."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h", "<")
"""matplotlib's names; one more than colours, so that 72 classes differ in either."""
DASHES = ((), (7, 3), (2, 2), (9, 3, 2, 3), (4, 2), (1, 3), (12, 3), (9, 2, 2, 2, 2, 2))
"""Lengths of a line's strokes and gaps, in widths of it; () is solid."""
WIDTH, HEIGHT = 4.2, 2.7
"""Inches of a single chart."""


@dataclasses.dataclass(frozen=True)
class Curve:
    """A line of a chart.

    Attributes:
        name: What it is.
        x: Where, rising.
        y: How much; None where it was not a finite number.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]


def new_figure(width: float = WIDTH, height: float = HEIGHT) -> Figure:
    """An empty figure of so many inches."""
    return Figure(figsize=(width, height), layout="constrained")


def add_axes(
    figure: matplotlib.figure.Figure,
    title: str,
    x_label: str,
    y_label: str,
    *,
    place: tuple = (1, 1, 1),
) -> matplotlib.axes.Axes:
    axes = figure.add_subplot(*place)
    axes.set_title(title, loc="left", fontsize=11, weight="bold", color=INK)
    axes.set_xlabel(x_label, fontsize=9.5, color=SOFT)
    axes.set_ylabel(y_label, fontsize=9.5, color=SOFT)
    axes.tick_params(which="both", labelsize=9.5, length=0, labelcolor=SOFT)
    axes.locator_params(nbins=5)
    axes.grid(axis="y", color=HAIR, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(HAIR)
    return axes


def draw_lines(
    axes: matplotlib.axes.Axes,
    curves: Sequence[Curve],
    *,
    percent: bool = False,
    inside: bool = False,
) -> None:
    """Draws curves, each in the next look, and the legend of two and more."""
    for look, curve in enumerate(curves):
        y = [np.nan if v is None else v * (100 if percent else 1) for v in curve.y]
        dots = {"marker": "o", "markersize": 3.5} if len(y) < 20 else {}
        label = short(curve.name) if curve.x else "_"  # one that no legend lists
        axes.plot(curve.x, y, label=label, **dots, **line_look(look))
    if len(curves) > 1:
        add_legend(axes if inside else axes.figure, axes)


def add_legend(owner: Any, axes: matplotlib.axes.Axes) -> None:
    """A legend below the axes, or inside them where they are its owner."""
    place = {"loc": "best"} if owner is axes else {"loc": "outside lower left"}
    handles, names = axes.get_legend_handles_labels()
    if not names:
        return
    columns = 1 if owner is axes else 2 if max(map(len, names)) > 12 else 3
    owner.legend(handles, names, frameon=False, fontsize=9.5, labelcolor=INK,
                 ncols=columns, **place)  # fmt: skip


def line_look(number: int) -> dict[str, Any]:
    """Colour and dash of the line that is `number` in a chart."""
    dash = DASHES[number % len(DASHES)]
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": (0, dash) if dash else "solid",
        "linewidth": 1.7,
    }


def short(name: str, length: int = 24, *, in_legend: bool = True) -> str:
    # A dollar sign would begin a formula, an underline hide a line from the legend.
    name = str(name).lstrip("_") if in_legend else str(name)
    name = name.replace("$", r"\$") or " "
    return name if len(name) <= length else name[: length - 1] + "…"


def power_of_ten(value: float, _: int | None = None) -> str:
    """Writes .01 as "10⁻²", in letters of any font."""
    exponent = f"{math.log10(value):.0f}" if value > 0 else ""
    return "10" + exponent.translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
