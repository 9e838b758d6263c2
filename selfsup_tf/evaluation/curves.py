"""What runs have logged over their epochs, and its charts; no TensorFlow."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.axes
import matplotlib.figure
import numpy as np

from selfsup_tf.config import fitting_warmup
from selfsup_tf.evaluation import plotting
from selfsup_tf.evaluation.expected import Band, Expected
from selfsup_tf.evaluation.plotting import Curve
from selfsup_tf.fields import is_number


@dataclasses.dataclass(frozen=True)
class Panel:
    """A chart of a run over its epochs.

    Attributes:
        key: A short name that lasts.
        title: What is shown.
        meaning: How to read it, a sentence.
        percent: Whether the values are shares in [0, 1].
        curves: One or more.
        band: Where the first of them lies in healthy runs of the recipe, or None.
    """

    key: str
    title: str
    meaning: str
    percent: bool
    curves: tuple[Curve, ...]
    band: Band | None = None


_H, _Z = "representation h", "projection z"
_PANELS = (
    ("loss", "Loss", "What training lowers.", {"train/loss": "loss"}),
    (
        "contrast",
        "Contrast accuracy",
        "How often a view finds the other view of its image in the batch.",
        {"train/contrast_top_1": "top-1"},
    ),
    (
        "knn",
        "Online k-NN",
        "Top-1 accuracy on labelled images that were held out.",
        {"eval/knn_top_1": "top-1"},
    ),
    (
        "rank_me",
        "RankMe while training",
        "How many directions the features of some images use; a fall to a few is a "
        "collapse. It grows with the images looked at, which are more under Health.",
        {"health/rank_me": _H, "health/projection_rank_me": _Z},
    ),
    (
        "spread",
        "Spread of h",
        "About 0 where all images become one point.",
        {"train/representation_std": "batches", "health/spread": "training images"},
    ),
    (
        "cosine",
        "Cosines of h",
        "Two views of an image, and two images: the gap is what was learned.",
        {
            "health/positive_cosine": "two views of an image",
            "health/negative_cosine": "two images",
        },
    ),
    (
        "alignment",
        "Alignment",
        "Squared distance of two views of an image; lower is closer.",
        {"health/alignment": _H},
    ),
    (
        "uniformity",
        "Uniformity",
        "How evenly the features fill the sphere; lower is more even.",
        {"health/uniformity": _H},
    ),
    ("learning_rate", "Learning rate", "", {"train/learning_rate": "rate"}),
    (
        "tau",
        "Tau",
        "How much of its past the target keeps in a step; it rises to 1.",
        {"train/tau": "tau"},
    ),
    (
        "images_per_second",
        "Images per second",
        "The speed of training.",
        {"train/images_per_second": "images/s"},
    ),
    (
        "data_wait",
        "Waiting for images",
        "Share of the time in which the device had nothing to do.",
        {"train/data_wait": "share"},
    ),
)
_PERCENT = ("contrast", "knn", "data_wait")
_OPERATION = ("train/skipped_steps", "train/loss_scale")


def training_panels(
    records: Sequence[dict[str, Any]], expected: Expected | None = None
) -> list[Panel]:
    """The charts of a log that has values for them.

    A value that only one method logs has a panel of its own name.

    Args:
        records: Of a log.jsonl; those without an epoch are passed over.
        expected: The curves of healthy runs, whose bands are drawn with them.
    """
    records = [r for r in records if is_number(r.get("epoch"))]
    known = {name for *_, names in _PANELS for name in names} | set(_OPERATION)
    others = {name: None for r in records for name in r if "/" in name}  # in order
    own = [
        (name, name.replace("_", " "), "", {name: name.partition("/")[2]})
        for name in others
        if name not in known
    ]
    panels = []
    for key, title, meaning, names in (*_PANELS, *own):
        curves = {name: _curve(records, name, label) for name, label in names.items()}
        logged = [n for n, c in curves.items() if any(y is not None for y in c.y)]
        curves = tuple(curves[name] for name in logged)
        if curves:
            band = expected and expected.band(logged[0])
            panels.append(Panel(key, title, meaning, key in _PERCENT, curves, band))
    return panels


def _curve(records: Sequence[dict[str, Any]], name: str, label: str) -> Curve:
    found = [(r["epoch"], r[name]) for r in records if name in r]
    values = (float(y) if is_number(y) else None for _, y in found)
    return Curve(label, tuple(float(x) for x, _ in found), tuple(values))


def warmup(config: dict[str, Any]) -> float:
    """Epochs of a config's warm-up; 0 where it has none."""
    epochs = config.get("optimizer", {}).get("warmup_epochs", 0)
    if not is_number(epochs):
        return 0.0
    length = config.get("epochs")
    return float(fitting_warmup(epochs, length) if is_number(length) else epochs)


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
    figure = plotting.new_figure(plotting.WIDTH * columns, plotting.HEIGHT * rows)
    end, schedule = warmup(config), (config.get("optimizer") or {}).get("schedule")
    for n, panel in enumerate(panels, 1):
        title, is_rate = panel.title, panel.key == "learning_rate"
        if is_rate and schedule:
            title += f" ({schedule})"
        unit, place = "%" if panel.percent else "", (rows, columns, n)
        axes = plotting.add_axes(figure, title, "epoch", unit, place=place)
        if end:
            axes.axvspan(0, end, color=plotting.SHADE, linewidth=0, zorder=0)
        if panel.band:
            _draw_band(axes, panel)
        plotting.draw_lines(axes, panel.curves, percent=panel.percent, inside=True)
        last = max(x for curve in panel.curves for x in curve.x) or 1
        axes.set_xlim(0, 1.02 * last)  # the last dot is whole
        if 0 < end < last and is_rate:
            axes.text(end, 0.03, " warm-up", transform=axes.get_xaxis_transform(),
                      fontsize=9, color=plotting.SOFT)  # fmt: skip
    return figure


def _draw_band(axes: matplotlib.axes.Axes, panel: Panel) -> None:
    band, unit = panel.band, 100 if panel.percent else 1
    bounds = (unit * np.array(bound) for bound in (band.low, band.high))
    axes.fill_between(
        band.x, *bounds, color=plotting.COLOURS[0], alpha=0.18, linewidth=0, zorder=1
    )
    # Where the band is of few points it has no area between them.
    axes.text(0.98, 0.97, "healthy runs shaded", transform=axes.transAxes, fontsize=8,
              color=plotting.SOFT, ha="right", va="top")  # fmt: skip


def draw_runs(panels: Mapping[str, Panel | None]) -> matplotlib.figure.Figure:
    """One value of several runs over their epochs; the first curve of each panel.

    Args:
        panels: Of one key, by the name of the run; None where a run has none.
    """
    first = next(panel for panel in panels.values() if panel)
    figure = plotting.new_figure()
    axes = plotting.add_axes(figure, first.title, "epoch", "%" if first.percent else "")
    absent = Curve("", (), ())
    curves = [
        dataclasses.replace(panel.curves[0] if panel else absent, name=name)
        for name, panel in panels.items()
    ]
    plotting.draw_lines(axes, curves, percent=first.percent)
    return figure
