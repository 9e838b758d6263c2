"""Robustness: accuracy on spoilt images; details are a `RobustnessResult`."""

import dataclasses
import statistics
from collections.abc import Mapping
from typing import Any, Literal

from selfsup_tf.evaluation.labelled import ComparedFlags, Labelled
from selfsup_tf.evaluation.protocol import Chart, Result, Row, Table, interval, share


@dataclasses.dataclass(frozen=True)
class RobustnessFlags(ComparedFlags):
    """Accuracy under blur, noise, JPEG and brightness, each in five strengths."""

    classifier: Literal["knn", "linear"] = "knn"
    """What judges; it learns from clean images alone."""
    corruptions: tuple[str, ...] = ("blur", "noise", "jpeg", "brightness")
    """Which of them."""
    seed: int = 0
    """Of the noise."""


class Robustness(Labelled):
    title = "Robustness"
    flags = RobustnessFlags
    order = 40
    function = "selfsup_tf.evaluation.measures.robustness:robustness"
    shown = ("classifier",)

    def rows(self, found: Mapping[str, Any]) -> tuple[Row, ...]:
        means = (
            ("mean", "over all disturbances and strengths"),
            ("clean", "of images as they are"),
        )
        rows = [
            Row(
                f"{name}_top_1",
                f"{name} top-1",
                share(found[f"{name}_top_1"]),
                interval(found.get(f"{name}_top_1_interval")),
                meaning=meaning,
            )
            for name, meaning in means
        ]
        for kind, shares in found["top_1"].items():
            mean = statistics.fmean(shares)
            rows.append(Row(f"{kind}_top_1", kind, mean, meaning="top-1, mean"))
        return tuple(rows)

    def draw(self, result: Result) -> dict[str, Chart]:
        from selfsup_tf.evaluation.charts import draw_robustness

        found = result.details["trained"]
        ends = ", ".join(
            f"{name} to {100 * shares[-1]:.1f} %"
            for name, shares in found["top_1"].items()
        )
        chart = Chart(
            "Top-1 under disturbances, %",
            draw_robustness(result.details),
            meaning="The number is the mean over all disturbances and strengths.",
            value=f"{100 * found['mean_top_1']:.1f} %",
            label=f"Top-1 accuracy, falling with the strength of {ends}",
        )
        return {"": chart}

    def tables(self, result: Result) -> list[Table]:
        found = result.details["trained"]
        others = {
            name: one["top_1"]
            for name, one in result.details.items()
            if name != "trained"
        }
        strengths = found.get("strengths") or {}
        rows = []
        for kind, shares in found["top_1"].items():
            cells = []
            for n, value in enumerate(shares):
                cell = f"{100 * value:.1f} %"
                if kind in strengths:
                    cell += f"\nat {strengths[kind][n]:g}"
                for name, theirs in others.items():
                    cell += f"\n{name} {100 * theirs[kind][n]:.1f} %"
                cells.append(cell)
            rows.append((kind, *cells))
        caption = (
            "Top-1 at five strengths, each with its parameter; clean "
            f"{100 * found['clean_top_1']:.1f} %; judged by {found['classifier']}."
        )
        longest = max(len(row) for row in rows)
        head = ("Disturbance", *(str(n) for n in range(1, longest)))
        filled = (row + ("",) * (longest - len(row)) for row in rows)
        return [Table(caption, head, tuple(filled))]


PROTOCOL = Robustness()
