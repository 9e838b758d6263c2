"""Charts of what runs have logged over their epochs. Nothing here needs TensorFlow."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.figure

from selfsup_tf.errors import check
from selfsup_tf.evaluation.chart_values import (
    SHADE,
    SOFT,
    Curve,
    Panel,
    training_panels,
    warmup,
)
from selfsup_tf.evaluation.plotting import (
    HEIGHT,
    WIDTH,
    add_axes,
    draw_lines,
    new_figure,
)


def draw_curves(
    records: Sequence[dict[str, Any]], config: Mapping[str, Any]
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
    return draw_panels(panels, config)


def draw_panels(
    panels: Sequence[Panel], config: Mapping[str, Any]
) -> matplotlib.figure.Figure:
    """Values that a run has logged, over its epochs, the warm-up shaded.

    Args:
        panels: Of `training_panels`; three stand in a row.
        config: The run's config.json.
    """
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = new_figure(WIDTH * columns, HEIGHT * rows)
    for n, panel in enumerate(panels):
        _panel_axes(figure, panel, config, (rows, columns, n + 1))
    return figure


def draw_runs(panels: Mapping[str, Panel | None]) -> matplotlib.figure.Figure:
    """One value of several runs over their epochs; the first curve of each panel.

    Args:
        panels: Of one key, by the name of the run; None where a run has none.
    """
    first = next(panel for panel in panels.values() if panel)
    figure = new_figure()
    axes = add_axes(figure, first.title, "epoch", "%" if first.percent else "")
    absent = Curve("", (), ())
    curves = [
        dataclasses.replace(panel.curves[0] if panel else absent, name=name)
        for name, panel in panels.items()
    ]
    draw_lines(axes, curves, percent=first.percent)
    return figure


def _panel_axes(
    figure: matplotlib.figure.Figure,
    panel: Panel,
    config: Mapping[str, Any],
    place: tuple,
) -> None:
    title = panel.title
    schedule = (config.get("optimizer") or {}).get("schedule")
    if panel.key == "learning_rate" and schedule:
        title += f" ({schedule})"
    axes = add_axes(figure, title, "epoch", "%" if panel.percent else "", place=place)
    end = warmup(config)
    if end:
        axes.axvspan(0, end, color=SHADE, linewidth=0, zorder=0)
        if panel.key == "learning_rate":
            axes.text(end, 0.03, " warm-up", transform=axes.get_xaxis_transform(),
                      fontsize=9, color=SOFT)  # fmt: skip
    draw_lines(axes, panel.curves, percent=panel.percent, inside=True)
    last = max(x for curve in panel.curves for x in curve.x) or 1
    axes.set_xlim(0, 1.02 * last)  # the last dot is whole
