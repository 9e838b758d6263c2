"""What charts show and by what it is told apart, whoever draws them.

The report draws them into its page, `charts` into files by matplotlib; both take the
values from here, so that one picture never says other than the other.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

# Okabe and Ito 2008, "Color universal design": told apart by the colour-blind. The
# palest are last; every use has a shape, a dash or a word beside the colour, too.
COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#8C8C8C",
    "#F0E442",
)
INK, SOFT, HAIR, SHADE = "#1d2329", "#59636e", "#dedbd4", "#eceae3"
"""Of text, of what explains it, of lines of a grid, of areas."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h", "<")
"""matplotlib's names; one more than colours, so that 72 classes differ in either."""
DASHES = ((), (7, 3), (2, 2), (9, 3, 2, 3), (4, 2), (1, 3), (12, 3), (9, 2, 2, 2, 2, 2))
"""Lengths of a line's strokes and gaps, in widths of it; () is solid."""


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


@dataclasses.dataclass(frozen=True)
class Panel:
    """A chart of a run over its epochs.

    Attributes:
        key: A short name that lasts.
        title: What is shown.
        meaning: How to read it, a sentence.
        percent: Whether the values are shares in [0, 1].
        curves: One or more.
    """

    key: str
    title: str
    meaning: str
    percent: bool
    curves: tuple[Curve, ...]


_H, _Z = "representation h", "projection z"
_PANELS = (
    ("loss", "Loss", "What training lowers.", {"train/loss": "loss"}),
    (
        "knn",
        "Online k-NN",
        "Top-1 accuracy on labelled images that were held out.",
        {"eval/knn_top_1": "top-1"},
    ),
    (
        "rank_me",
        "RankMe",
        "How many directions the features use; a fall to a few is a collapse.",
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
_PERCENT = ("knn", "data_wait")
_OPERATION = ("train/skipped_steps", "train/loss_scale")


def training_panels(records: Sequence[dict[str, Any]]) -> list[Panel]:
    """The charts of a log that has values for them.

    A value that only one method logs has a panel of its own name.

    Args:
        records: Of a log.jsonl; those without an epoch are passed over.
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
        curves = [_curve(records, name, label) for name, label in names.items()]
        curves = tuple(c for c in curves if any(y is not None for y in c.y))
        if curves:
            panels.append(Panel(key, title, meaning, key in _PERCENT, curves))
    return panels


def _curve(records: Sequence[dict[str, Any]], name: str, label: str) -> Curve:
    found = [(r["epoch"], r[name]) for r in records if name in r]
    values = (float(y) if is_number(y) else None for _, y in found)
    return Curve(label, tuple(float(x) for x, _ in found), tuple(values))


def warmup(config: dict[str, Any]) -> float:
    """Epochs of a config's warm-up; 0 where it has none."""
    epochs = config.get("optimizer", {}).get("warmup_epochs", 0)
    return float(epochs) if is_number(epochs) else 0.0


def relative_spectrum(values: Iterable[float], floor: float = 1e-8) -> list[float]:
    """Singular values over the largest, no less than `floor`, for a log scale."""
    values = [float(v) for v in values]
    largest = max(values, default=0.0)
    if not largest > 0:
        return [floor] * len(values)
    return [max(v / largest, floor) for v in values]


def confused_pairs(
    confusion: Sequence[Sequence[int]], class_names: Sequence[str], count: int = 10
) -> list[tuple[str, str, int, float]]:
    """What is most often taken for what, the largest share of a class first.

    Args:
        confusion: Rows are true classes, columns predicted ones.
        class_names: Of the rows.
        count: Pairs at most.

    Returns:
        (true class, predicted class, images, share of the true class's images).
    """
    pairs = [
        (class_names[t], class_names[p], int(number), number / max(1, sum(row)))
        for t, row in enumerate(confusion)
        for p, number in enumerate(row)
        if t != p and number > 0
    ]
    return sorted(pairs, key=lambda pair: -pair[3])[:count]


def is_number(value: Any) -> bool:
    """Whether it is a finite number, as a JSON file may hold it."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
    )
