"""What the page of `eval.py advise` shows, as values for its template."""

from collections.abc import Sequence
from typing import Any

from selfsup_tf.evaluation.advice import charts
from selfsup_tf.evaluation.advice.candidate import Advice
from selfsup_tf.evaluation.protocol import Chart, Result, Table
from selfsup_tf.evaluation.report.drawing import Drawings

LABELLED = (
    "k-NN: the labels of the 20 nearest training images vote. Linear: a logistic "
    "regression on the frozen vectors. Retrieval: mean average precision over the "
    "training images. Untrained: the k-NN of the same network with fresh weights. "
    "Intervals are of 95 %, over the choice of the images that judge."
)
UNLABELLED = (
    "Copies found: how often the mirrored, darker middle of an image is nearest to "
    "that image. Untrained: the same of the network with fresh weights. RankMe: how "
    "many directions the vectors use."
)
COSTS = (
    "int8: the size of the encoder as a TFLite file of 8-bit integers, its time for an "
    "image on one core of the machine that measured it, and the mean cosine of its "
    "vectors with the encoder's."
)


def advised(advice: Advice, result: Result, tables: Sequence[Table]) -> dict[str, Any]:
    """Everything that the template of an advice asks for."""
    drawings = Drawings()
    drawn = [(chart, drawings.svg(chart)) for chart in _charts(result.details)]
    numbers, *agreement = tables
    words = [LABELLED if "train" in result.measured_on else UNLABELLED]
    if any(one["cost"] for one in result.details.values()):
        words.append(COSTS)
    judging = list(result.measured_on.values())[-1]
    faults = [
        f"{one['label']} has no int8 file: {one['cost']['int8_fault']}"
        for one in result.details.values()
        if "int8_fault" in one["cost"]
    ]
    licences = [
        f"{one['label']}: licence {one['licence']}"
        for one in result.details.values()
        if one["licence"]
    ]
    versions = ", ".join(f"{key} {value}" for key, value in result.versions.items())
    return {
        "title": f"Advice for {judging['name']}",
        "images": judging["name"],
        "advice": advice,
        "numbers": numbers,
        "meaning": " ".join(words),
        "drawn": drawn,
        "agreement": agreement[0] if agreement else None,
        "notes": [
            *_images(result),
            *result.notes[len(advice.reasons) :],
            *faults,
            *licences,
            f"By {versions}.",
        ],
    }


def _images(result: Result) -> list[str]:
    what = {
        "train": "teach k-NN and the linear classifier",
        "test": "judge",
        "images": "are looked at",
    }
    return [
        f"{one['size']:,} images {what[part]}: {one['name']}."
        for part, one in result.measured_on.items()
    ]


def _charts(found: dict[str, Any]) -> list[Chart]:
    drawn = []
    curves = {one["label"]: one["curve"] for one in found.values() if one["curve"]}
    if curves:
        drawn.append(
            Chart(
                "Learning curve",
                charts.draw_learning_curves(curves),
                "What k-NN makes of fewer labelled images: where a line still rises at "
                "its end, more labels help.",
                label=f"k-NN accuracy over labelled images of {', '.join(curves)}",
            )
        )
    if len(found) > 1:
        measured = all("int8_bytes" in one["cost"] for one in found.values())
        places = {
            one["label"]: (
                one["cost"]["int8_bytes"] / 1e6
                if measured
                else one["parameters"] / 1e6,
                next(iter(one["scores"].values())),
            )
            for one in found.values()
        }
        share = (
            "k-NN, %"
            if curves or "knn" in next(iter(found.values()))["scores"]
            else "copies found, %"
        )
        drawn.append(
            Chart(
                "Size",
                charts.draw_accuracy_over_size(
                    places, "int8, MB" if measured else "million parameters", share
                ),
                "Further left is smaller, further up is better.",
                label=f"{share} over the size of {', '.join(places)}",
            )
        )
    return drawn
