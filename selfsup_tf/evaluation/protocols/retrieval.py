"""Retrieval: recall@k and mean average precision; details are a `RetrievalResult`."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from selfsup_tf.evaluation.labelled import (
    LabelledFlags,
    judge_labelled,
    upgrade_labelled,
)
from selfsup_tf.evaluation.protocol import Protocol, Result, Row, Table, interval, share
from selfsup_tf.evaluation.text import format_rows, shown

if TYPE_CHECKING:
    from selfsup_tf.evaluation.judged import Judged


@dataclasses.dataclass(frozen=True)
class RetrievalFlags(LabelledFlags):
    """How many of the images found for an image are of its class: recall@k and mAP."""

    gallery: Literal["train", "test"] = "train"
    """Where is looked: in the training images, or among the other test images."""
    ranks: tuple[int, ...] = (1, 5, 10)
    """The k of recall@k."""


class Retrieval(Protocol):
    """See `selfsup_tf.evaluation.retrieval`."""

    title = "Retrieval"
    flags = RetrievalFlags
    order = 30
    needs = ("labels",)
    measured_by_report = True

    def run(self, judged: "Judged", flags: RetrievalFlags) -> Result:
        """Judges the encoder, and the same network untrained."""
        from selfsup_tf.evaluation.retrieval import retrieval

        measure = functools.partial(retrieval, gallery=flags.gallery, ranks=flags.ranks)
        return judge_labelled(self, judged, measure, _rows, untrained=flags.untrained)

    def text(self, result: Result, flags: RetrievalFlags) -> str:
        """The table of its rows, under the gallery."""
        gallery = result.details["trained"]["gallery"]
        return format_rows(result, {"": f"retrieval (gallery={gallery})"})

    def tables(self, result: Result) -> list[Table]:
        """Mean average precision and recall of each encoder."""
        found = result.details["trained"]
        caption = (
            f"{found['num_queries']:,} queries, {found['num_gallery']:,} images in the "
            f"gallery ({found['gallery']})"
        )
        if found.get("num_without_match"):
            caption += f"; {found['num_without_match']:,} without any match left out"
        rows = tuple(
            (row.title, *(shown(v, row.unit) for v in _values(row)))
            for row in result.rows
        )
        return [Table(caption, ("", *result.details), rows)]

    def upgrade(self, name: str, values: Mapping[str, Any]) -> Result:
        """A retrieval.json of before there was one form."""
        return upgrade_labelled(self, name, values, _rows)


def _values(row: Row) -> list[float | None]:
    return [row.value, *(one.value for one in row.beside.values())]


def _rows(found: Mapping[str, Any]) -> tuple[Row, ...]:
    """Mean average precision, then recall at each rank."""
    name = "mean_average_precision"
    intervals = found.get("recall_at_intervals") or {}
    return (
        Row(name, "mAP", share(found[name]), interval(found.get(f"{name}_interval"))),
        *(
            Row(f"recall_at_{k}", f"R@{k}", share(value), interval(intervals.get(k)))
            for k, value in found["recall_at"].items()
        ),
    )


PROTOCOL = Retrieval()
