"""What protocols that compare with labels share: flags, gains, tables.

Several encoders are judged on the same images; the first is the run's, and it gains on
each of the others. Nothing here imports TensorFlow.
"""

import dataclasses
import importlib
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from selfsup_tf.evaluation.beside import BesideFlags
from selfsup_tf.evaluation.naming import options_of
from selfsup_tf.evaluation.protocol import (
    Beside,
    Chart,
    Interval,
    Protocol,
    Result,
    Row,
    Table,
    interval,
    share,
)
from selfsup_tf.evaluation.text import format_classes, format_rows

if TYPE_CHECKING:
    from selfsup_tf.evaluation.judged import Judged
    from selfsup_tf.evaluation.measures.intervals import Scored

MOST_DRAWN = 100
"""Classes up to which a confusion is drawn; of more nothing could be seen."""

RowsOf = Callable[[Mapping[str, Any]], tuple[Row, ...]]
"""From an encoder's part of `Result.details` to its rows, the one that counts first."""


@dataclasses.dataclass(frozen=True)
class ComparedFlags(BesideFlags):
    """A protocol that judges other encoders beside the run's."""

    untrained: bool = True
    """Whether the same network is judged untrained, beside it."""


@dataclasses.dataclass(frozen=True)
class ClassifierFlags(ComparedFlags):
    """A protocol that classifies."""

    classes: bool = False
    """Whether precision, recall and F1 of every class are printed, too."""


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
    """The names, sizes and fingerprints of sets of images, as a result has them."""
    return {name: described(source) for name, source in sources.items()}


def described(source: Any, size: int | None = None) -> dict[str, Any]:
    """A set of images as `Result.measured_on` has it.

    Args:
        source: The images.
        size: How many of them, where not all.
    """
    return {
        "name": source.name,
        "size": source.size if size is None else size,
        "fingerprint": source.fingerprint,
    }


def gain_intervals(found: "Mapping[str, Scored]") -> dict[str, Interval]:
    """The 95 % interval of the first encoder's gain on each of the others."""
    (_, first), *others = found.items()
    return {name: first.gain_interval(other) for name, other in others}


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


def format_with_classes(text: str, found: Mapping[str, Any], flags: Any) -> str:
    """A text, and class by class what was found, where --classes asks for that."""
    if not vars(flags).get("classes"):
        return text
    return f"{text}\n\n{format_classes(found['per_class'])}"


def confusion_chart(title: str, found: Mapping[str, Any]) -> Chart | None:
    """The confusion matrix as a chart; None of more than `MOST_DRAWN` classes."""
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
    """Precision, recall and F1 of each class, and what is taken for what."""
    from selfsup_tf.evaluation.charts import confused_pairs

    if not found.get("confusion"):
        return []
    rows = tuple(
        (
            str(row["name"]),
            *(f"{100 * row[name]:.1f} %" for name in ("precision", "recall", "f1")),
            f"{row['support']:,}",
        )
        for row in found.get("per_class") or ()
    )
    head = ("Class", "Precision", "Recall", "F1", "Images")
    tables = [Table(f"{title}, class by class", head, rows)] if rows else []
    names = [str(name) for name in found.get("class_names") or ()]
    pairs = tuple(
        (true, taken, f"{100 * share:.1f} %", f"{count:,}")
        for true, taken, count, share in confused_pairs(found["confusion"], names)
    )
    head = ("Class", "Taken for", "Share", "Images")
    return [*tables, Table(f"{title}, most often confused", head, pairs)]


class Labelled(Protocol):
    """A protocol that judges on labelled images, the network untrained beside it.

    Details are what its function gives of each encoder, as plain values.

    Attributes:
        function: "MODULE:NAME" of what judges: from an encoder, train and test images,
            the protocol's own flags and `cache` to a `Scored`.
        shown: Which details stand over its table on a terminal.
    """

    needs = ("labels",)
    function: ClassVar[str] = ""
    shown: ClassVar[tuple[str, ...]] = ()

    def takes_vectors(self, flags: ComparedFlags) -> bool:
        """Whether vectors in a file may stand beside; asked before any is judged."""
        return False

    def run(self, judged: "Judged", flags: ComparedFlags) -> Result:
        module, _, name = self.function.partition(":")
        judge = getattr(importlib.import_module(module), name)
        options = options_of(flags)
        del options["untrained"]
        encoders = judged.encoders(vectors=self.takes_vectors(flags))
        train, test = judged.open_evaluation()

        def measure(_: str, encoder: Any) -> "Scored":
            return judge(encoder, train, test, cache=judged.cache, **options)

        found, seconds = judge_each(encoders, measure)
        details = {name: one.to_dict() for name, one in found.items()}
        return judged.result(
            self.title,
            rows=rows_beside(details, self.rows, gain_intervals(found)),
            measured_on=measured_on(train=train, test=test),
            details=details,
            seconds=seconds,
        )

    def rows(self, found: Mapping[str, Any]) -> tuple[Row, ...]:
        """An encoder's numbers without a comparison, the one that counts first.

        By default those of a `Classification`: top-1, and top-5 of over five classes.
        """
        return tuple(
            Row(
                name, title, share(found[name]), interval(found.get(f"{name}_interval"))
            )
            for name, title in (("top_1", "top-1"), ("top_5", "top-5"))
            if name == "top_1" or found.get(name) is not None
        )

    def settings(self, result: Result) -> str:
        return self._settings(result.details["trained"]) if self.shown else ""

    def head(self, word: str, found: Mapping[str, Any]) -> str:
        """What stands over the table, such as knn (k=200, temperature=0.1)."""
        return f"{word} ({self._settings(found)})"

    def _settings(self, found: Mapping[str, Any]) -> str:
        return ", ".join(f"{name}={found[name]}" for name in self.shown)

    def text(self, result: Result, flags: Any) -> str:
        found = result.details["trained"]
        text = format_rows(result, {"": self.head(result.protocol, found)})
        return format_with_classes(text, found, flags)

    def draw(self, result: Result) -> dict[str, Chart]:
        chart = confusion_chart(result.title, result.details["trained"])
        return {"": chart} if chart else {}

    def tables(self, result: Result) -> list[Table]:
        return class_table(result.title, result.details["trained"])
