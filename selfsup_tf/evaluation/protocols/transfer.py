"""Transfer: k-NN and linear accuracy on other images than the encoder learned from.

Details of each encoder are {"knn": a `KnnResult`, "linear": a `LinearResult`}.

Reference: Kornblith, Shlens, Le 2019, "Do better ImageNet models transfer better?",
    section 3 (logistic regression, its penalty chosen on a part of the train set).
"""

import dataclasses
import re
from collections.abc import Mapping

from selfsup_tf.evaluation.judged import Judged
from selfsup_tf.evaluation.labelled import (
    ClassifierFlags,
    class_table,
    confusion_chart,
    format_with_classes,
)
from selfsup_tf.evaluation.naming import short_name, titled
from selfsup_tf.evaluation.protocol import Chart, Protocol, Result, Table
from selfsup_tf.evaluation.protocols import knn, linear
from selfsup_tf.evaluation.text import format_rows

WAYS = {"knn": knn.PROTOCOL, "linear": linear.PROTOCOL}


@dataclasses.dataclass(frozen=True)
class TransferFlags(ClassifierFlags):
    """k-NN and linear accuracy on other labelled images than the run learned from."""

    data: str = dataclasses.field()  # required, unlike that of the other protocols
    """The other images: a folder, an .npz file, a TFDS name."""


class Transfer(Protocol):
    title = "Transfer"
    flags = TransferFlags
    order = 50
    needs = ("labels",)

    def run(self, judged: Judged, flags: TransferFlags) -> Result:
        found = {}
        for way, protocol in WAYS.items():
            plain = protocol.flags(
                flags.run_dir, untrained=flags.untrained, beside=flags.beside
            )
            found[way] = protocol.run(judged, plain)
        data = short_name(flags.data)
        parts = judged.name.split("_", 1)[1]
        rest = re.sub(rf"(^|_){re.escape(data)}(?=_|$)", "", parts, count=1)
        return _joined(found, titled(f"{self.title} to {data}", rest))

    def text(self, result: Result, flags: TransferFlags) -> str:
        texts = []
        for way, found in result.details["trained"].items():
            title = WAYS[way].title
            rows = tuple(row for row in result.rows if row.group == title)
            part = dataclasses.replace(result, rows=rows)
            text = format_rows(part, {title: WAYS[way].head(way, found)})
            texts.append(format_with_classes(text, found, flags))
        return "\n\n".join(texts)

    def draw(self, result: Result) -> dict[str, Chart]:
        charts = {
            way: confusion_chart(f"{result.title}: {WAYS[way].title}", found)
            for way, found in result.details["trained"].items()
        }
        return {way: chart for way, chart in charts.items() if chart}

    def tables(self, result: Result) -> list[Table]:
        return [
            table
            for way, found in result.details["trained"].items()
            for table in class_table(f"{result.title}: {WAYS[way].title}", found)
        ]


def _joined(found: Mapping[str, Result], title: str) -> Result:
    """One result of both ways; each is a group of rows."""
    first = next(iter(found.values()))
    encoders = first.details
    return dataclasses.replace(
        first,
        protocol="transfer",
        title=title,
        rows=tuple(
            dataclasses.replace(row, group=WAYS[way].title)
            for way, one in found.items()
            for row in one.rows
        ),
        details={
            name: {way: one.details[name] for way, one in found.items()}
            for name in encoders
        },
        seconds={
            name: round(sum(one.seconds.get(name, 0) for one in found.values()), 2)
            for name in encoders
        },
    )


PROTOCOL = Transfer()
