"""What protocols that compare with labels share: flags, gains, tables, old files.

Several encoders are judged on the same images; the first is the run's, and it gains on
each of the others. Nothing here imports TensorFlow.
"""

import dataclasses
import time
import typing
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from selfsup_tf.evaluation.intervals import bootstrap_interval
from selfsup_tf.evaluation.protocol import (
    Beside,
    Chart,
    EncoderFlags,
    Interval,
    Protocol,
    Result,
    Row,
    Table,
    interval,
    share,
)
from selfsup_tf.evaluation.results import titled
from selfsup_tf.evaluation.text import format_classes

if TYPE_CHECKING:
    from selfsup_tf.evaluation.judged import Judged

MOST_DRAWN = 100
"""Classes up to which a confusion is drawn; of more nothing could be seen."""

RowsOf = Callable[[Mapping[str, Any]], tuple[Row, ...]]
"""From an encoder's part of `Result.details` to its rows, the one that counts first."""


@dataclasses.dataclass(frozen=True)
class LabelledFlags(EncoderFlags):
    """A protocol that compares with labels."""

    untrained: bool = True
    """Whether the same network is judged untrained, beside it."""


@dataclasses.dataclass(frozen=True)
class ClassifierFlags(LabelledFlags):
    """A protocol that classifies."""

    classes: bool = False
    """Whether precision, recall and F1 of every class are printed, too."""


class Measured(typing.Protocol):
    """What a protocol has found of one encoder.

    Attributes:
        per_image: (N,), what each test image brought to the first row's value.
    """

    per_image: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values, but for `per_image`."""


def judge_labelled(
    protocol: Protocol,
    judged: "Judged",
    measure: Callable[..., Measured],
    rows_of: RowsOf,
    *,
    untrained: bool,
) -> Result:
    """Judges an encoder on labelled images, and those that stand beside it.

    Args:
        protocol: For its title.
        judged: The encoder and the images.
        measure: From an encoder, train and test images and `cache` to what is found.
        rows_of: From what is found, as plain values, to rows.
        untrained: Whether the same network untrained stands beside it.
    """
    encoders = judged.encoders(untrained)
    train, test = judged.open_evaluation()

    def measure_one(name: str, encoder: Any) -> Measured:
        return measure(encoder, train, test, cache=judged.cache)

    found, seconds = judge_each(encoders, measure_one)
    details = {name: one.to_dict() for name, one in found.items()}
    return judged.result(
        protocol.title,
        rows=rows_beside(details, rows_of, gain_intervals(found)),
        measured_on=measured_on(train=train, test=test),
        details=details,
        seconds=seconds,
    )


def judge_each(
    encoders: Mapping[str, Callable[[], Any]], measure: Callable[[str, Any], Any]
) -> tuple[dict[str, Any], dict[str, float]]:
    """Judges one encoder after the other, each made when its turn comes.

    Args:
        encoders: What makes them, by name; the first is the run's own.
        measure: From a name and an encoder to what is found of it.

    Returns:
        What was found of each, and the seconds it took.
    """
    found, seconds = {}, {}
    for name, make in encoders.items():
        start = time.perf_counter()
        found[name] = measure(name, make())
        seconds[name] = round(time.perf_counter() - start, 2)
    return found, seconds


def measured_on(**sources: Any) -> dict[str, dict[str, Any]]:
    """The names and sizes of sets of images, as a result has them."""
    return {
        name: {"name": source.name, "size": source.size}
        for name, source in sources.items()
    }


def gain_intervals(found: Mapping[str, Measured]) -> dict[str, Interval]:
    """Where the first encoder's gain on each of the others lies with probability .95.

    The differences are paired: all were judged on the same images.
    """
    (_, first), *others = found.items()
    return {
        name: bootstrap_interval(
            np.asarray(first.per_image, np.float64)
            - np.asarray(other.per_image, np.float64)
        )
        for name, other in others
    }


def rows_beside(
    details: Mapping[str, Mapping[str, Any]],
    rows_of: RowsOf,
    gains: Mapping[str, Interval | None],
) -> tuple[Row, ...]:
    """The first encoder's rows, with the numbers of the others and the gains on them.

    Args:
        details: What was found of each encoder, by its name.
        rows_of: From that to rows.
        gains: Intervals of the gain of the first row; of others none is known.
    """
    first, *others = ({row.name: row for row in rows_of(d)} for d in details.values())
    names = list(details)[1:]
    rows = []
    for place, row in enumerate(first.values()):
        beside = {}
        for name, theirs in zip(names, others, strict=True):
            value = theirs[row.name].value if row.name in theirs else None
            gain = None if None in (value, row.value) else row.value - value
            beside[name] = Beside(value, gain, None if place else gains.get(name))
        rows.append(dataclasses.replace(row, beside=beside))
    return tuple(rows)


def accuracy_rows(found: Mapping[str, Any]) -> tuple[Row, ...]:
    """Top-1 of a `Classification`, and top-5 where there are more than five classes."""
    return tuple(
        Row(name, title, share(found[name]), interval(found.get(f"{name}_interval")))
        for name, title in (("top_1", "top-1"), ("top_5", "top-5"))
        if name == "top_1" or found.get(name) is not None
    )


def format_with_classes(text: str, found: Mapping[str, Any], flags: Any) -> str:
    """A text, and class by class what was found, where --classes asks for that."""
    if not flags.classes:
        return text
    return f"{text}\n\n{format_classes(found['per_class'])}"


def confusion_chart(title: str, found: Mapping[str, Any]) -> Chart | None:
    """What is taken for what; None of more than `MOST_DRAWN` classes, or of none."""
    from selfsup_tf.evaluation.charts import draw_confusion

    names = found.get("class_names") or ()
    if not found.get("confusion") or len(names) > MOST_DRAWN:
        return None
    return Chart(
        f"{title}: confusion",
        draw_confusion(found["confusion"], names),
        meaning="Rows are the true classes and columns what they were taken for, in "
        "per cent of the row. A perfect classifier fills the diagonal alone.",
        value=f"{100 * found['top_1']:.1f} %",
        label=f"Confusion of {len(names)} classes, right in "
        f"{100 * found['top_1']:.1f} % of all images",
    )


def class_table(title: str, found: Mapping[str, Any]) -> list[Table]:
    """Precision, recall and F1 of each class."""
    rows = tuple(
        (
            str(row["name"]),
            *(f"{100 * row[name]:.1f} %" for name in ("precision", "recall", "f1")),
            f"{row['support']:,}",
        )
        for row in found.get("per_class") or ()
    )
    head = ("Class", "Precision", "Recall", "F1", "Images")
    return [Table(f"{title}, class by class", head, rows)] if rows else []


class Classifying(Protocol):
    """A protocol whose details hold a classification of each encoder."""

    needs = ("labels",)

    def draw(self, result: Result) -> dict[str, Chart]:
        """The confusion."""
        chart = confusion_chart(result.title, result.details["trained"])
        return {"": chart} if chart else {}

    def tables(self, result: Result) -> list[Table]:
        """Class by class."""
        return class_table(result.title, result.details["trained"])


def upgrade_labelled(
    protocol: Protocol,
    name: str,
    values: Mapping[str, Any],
    rows_of: RowsOf = accuracy_rows,
) -> Result:
    """A result from a JSON file of before there was one form; see `Protocol.upgrade`.

    Args:
        protocol: For its title.
        name: Of the file.
        values: Its contents: "trained", "untrained", "gain_interval_points", ...
        rows_of: From "trained" to rows.
    """
    word = values["protocol"]
    details = {"trained": dict(values["trained"])}
    if values.get("untrained"):
        details["untrained"] = dict(values["untrained"])
    gain = interval(values.get("gain_interval_points"))
    gains = {"untrained": gain and (gain[0] / 100, gain[1] / 100)}
    return Result(
        protocol=word,
        title=titled(protocol.title, name.removeprefix(word)),
        rows=rows_beside(details, rows_of, gains),
        measured_on={
            part: values[part] for part in ("train", "test") if values.get(part)
        },
        options={**values.get("options", {}), "untrained": "untrained" in details},
        details=details,
        weights_hash=values.get("encoder_hash"),
        seconds=values.get("seconds") or {},
        versions=values.get("versions") or {},
    )
