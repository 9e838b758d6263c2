"""Retrieval: recall@k and mean average precision; details are a `RetrievalResult`."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from selfsup_tf.evaluation.labelled import ComparedFlags, Labelled
from selfsup_tf.evaluation.protocol import Result, Row, Table, interval, share


@dataclasses.dataclass(frozen=True)
class RetrievalFlags(ComparedFlags):
    """How many of the images found for an image are of its class: recall@k and mAP."""

    gallery: Literal["train", "test"] = "train"
    """Where is looked: in the training images, or among the other test images."""
    ranks: tuple[int, ...] = (1, 5, 10)
    """The k of recall@k."""


class Retrieval(Labelled):
    title = "Retrieval"
    flags = RetrievalFlags
    order = 30
    measured_by_report = True
    function = "selfsup_tf.evaluation.measures.retrieval:retrieval"
    shown = ("gallery",)

    def takes_vectors(self, flags: RetrievalFlags) -> bool:
        return True

    def rows(self, found: Mapping[str, Any]) -> tuple[Row, ...]:
        name = "mean_average_precision"
        intervals = found.get("recall_at_intervals") or {}
        mean, reach = share(found[name]), interval(found.get(f"{name}_interval"))
        rows = [Row(name, "mAP", mean, reach)]
        for k, value in found["recall_at"].items():
            reach = interval(intervals.get(k))
            rows.append(Row(f"recall_at_{k}", f"R@{k}", share(value), reach))
        return tuple(rows)

    def tables(self, result: Result) -> list[Table]:
        found = result.details["trained"]
        shown = (
            ("queries", found["num_queries"]),
            (f"images in the gallery ({found['gallery']})", found["num_gallery"]),
            ("queries without any match, left out", found["num_without_match"]),
        )
        rows = tuple((name, f"{number:,}") for name, number in shown)
        return [Table(f"{result.title}: what was searched", ("", "Images"), rows)]


PROTOCOL = Retrieval()
