"""How the features are spread: the verdict, its reasons, the numbers, the pictures."""

import math
from collections.abc import Sequence
from typing import Any

from selfsup_tf.evaluation.chart_values import Curve, is_number, relative_spectrum
from selfsup_tf.evaluation.report.gather import Result, RunFiles, reading
from selfsup_tf.evaluation.report.markup import Html, element
from selfsup_tf.evaluation.report.numbers import compact
from selfsup_tf.evaluation.report.parts import (
    absent,
    chart,
    charts,
    section,
    table,
    tag,
)
from selfsup_tf.evaluation.report.svg import area_chart, line_chart
from selfsup_tf.evaluation.report.verdicts import badge

NAMES = {"representation": "representation h", "projection": "projection z"}
FLOOR = 1e-6
_NUMBERS = (
    ("size", "Size", "numbers in a vector"),
    ("rank_me", "RankMe", "directions in use, the size at most; more is better"),
    ("principal", "Principal directions", "that hold 99 % of the variance"),
    ("dead", "Dead dimensions", "that say nothing of an image"),
    ("spread", "Spread", "towards 1 is even, 0 is a collapse"),
    ("alignment", "Alignment", "squared distance of two views; lower is closer"),
    ("uniformity", "Uniformity", "0 if all are equal, about −4 if spread evenly"),
    ("positive_cosine", "Cosine of two views", "of one image; towards 1"),
    ("negative_cosine", "Cosine of two images", "towards 0"),
    ("contrastive_loss", "Contrastive loss", "of these images; lower"),
    ("chance_loss", "Loss of chance", "ln(2N − 1), where all vectors are equal"),
    (
        "below_chance",
        "Below chance",
        "the difference; 0 where nothing was learned",
    ),
)


def health_section(run: RunFiles) -> Html:
    """The result of `eval.py health`, which needs no labels."""
    lead = (
        "How the features are spread, without any labels. A collapsed encoder gives "
        "all images the same vector, or uses only a few directions of its space."
    )
    if run.health is None:
        line = absent("Not measured yet.", "eval.py health", run.path)
        return section("health", "Health", line, lead=lead)
    with reading(run.health.path):
        return section("health", "Health", *_content(run.health), lead=lead)


def _content(health: Result) -> list[Html | None]:
    values = health.values
    images = values.get("images") or {}
    on = f" on {images['size']:,} images of {images['name']}" if images else ""
    stale = tag("of an earlier state", "stale") if health.stale else None
    return [
        element(
            "p", badge(values["verdict"]), stale, element("span", on, class_="when")
        ),
        element(
            "ul", [element("li", reason) for reason in values.get("reasons") or []]
        ),
        _table(values),
        charts(spectrum(values), *histograms(values)),
    ]


def _table(values: dict[str, Any]) -> Html:
    untrained = values.get("untrained") or {}
    columns = {
        "h": values["representation"],
        "h, untrained": untrained.get("representation"),
        "z": values.get("projection"),
        "z, untrained": untrained.get("projection"),
    }
    columns = {name: numbers for name, numbers in columns.items() if numbers}
    rows = [
        [
            element("span", title, element("small", meaning), class_="with-meaning"),
            *(compact(numbers.get(key)) for numbers in columns.values()),
        ]
        for key, title, meaning in _NUMBERS
        if any(is_number(numbers.get(key)) for numbers in columns.values())
    ]
    return table(
        ["", *columns],
        rows,
        caption="h is the representation, z the projection that the loss sees",
        numbers=range(1, len(columns) + 1),
        class_="health",
    )


def spectrum(values: dict[str, Any]) -> Html:
    """Singular values of h and z over the largest, with RankMe."""
    parts = {k: v for k, v in values["spectrum"].items() if v and k in NAMES}
    curves = [
        Curve(NAMES[k], tuple(range(1, len(v) + 1)), tuple(relative_spectrum(v, FLOOR)))
        for k, v in parts.items()
    ]
    marks = []
    for look, key in enumerate(parts):
        rank = (values.get(key) or {}).get("rank_me")
        if is_number(rank):
            marks.append((rank, f"RankMe of {NAMES[key][-1]}: {compact(rank)}", look))
    words = "; ".join(words for _, words, _ in marks)
    return chart(
        "Spectrum",
        line_chart(
            curves,
            label=f"Singular values over the largest, falling. {words}",
            x_label="number of the singular value",
            y_range=(decades(curves), 1.0),
            log=True,
            marks=marks,
        ),
        names=[curve.name for curve in curves],
        meaning="Singular values over the largest. A cliff is a dimensional collapse.",
    )


def decades(curves: Sequence[Curve]) -> float:
    """The power of ten that all values lie above, two or more below 1."""
    least = min(y for curve in curves for y in curve.y)
    return min(1e-2, 10.0 ** math.floor(math.log10(least)))


def histograms(values: dict[str, Any]) -> list[Html]:
    """Cosines of two views of an image beside those of two images, for h and z."""
    found = values.get("histograms") or {}
    drawn = []
    for key, name in NAMES.items():
        counts = found.get(key)
        if not counts:
            continue
        names = ["two views of an image", "two images"]
        shares = [
            [count / (sum(heights) or 1) for count in heights]
            for heights in (counts["positive"], counts["negative"])
        ]
        drawn.append(
            chart(
                f"Cosines of {name[-1]}, % of pairs",
                area_chart(
                    found["edges"],
                    list(zip(names, shares, strict=True)),
                    label=f"Histograms of the cosines of {name}: two views of an "
                    "image, and two images",
                    x_label="cosine",
                ),
                names=names,
                meaning="The less the two overlap, the better images are told apart.",
            )
        )
    return drawn
