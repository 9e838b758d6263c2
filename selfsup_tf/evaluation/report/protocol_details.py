"""What is folded below the table of all protocols: robustness and retrieval."""

from typing import Any

from selfsup_tf.evaluation.chart_values import Curve
from selfsup_tf.evaluation.report.gather import Result, reading
from selfsup_tf.evaluation.report.markup import Html, element, join
from selfsup_tf.evaluation.report.metrics import title_of
from selfsup_tf.evaluation.report.numbers import NOTHING, compact, percent
from selfsup_tf.evaluation.report.parts import chart, charts, fold, table
from selfsup_tf.evaluation.report.svg import line_chart


def retrieval_fold(result: Result) -> Html:
    """Mean average precision and recall, beside the untrained copy's."""
    with reading(result.path):
        trained = result.values["trained"]
        lines = f"{trained['num_queries']:,} queries, {trained['num_gallery']:,} images"
        lines += f" in the gallery ({trained['gallery']})"
        if trained.get("num_without_match"):
            lines += (
                f"; {trained['num_without_match']:,} without any match are left out"
            )
        names = [
            ("this encoder", trained),
            ("untrained", result.values.get("untrained")),
        ]
        names = [(name, values) for name, values in names if values]
        rows = [
            [
                f"recall at {k}",
                *(percent(values["recall_at"].get(k)) for _, values in names),
            ]
            for k in trained["recall_at"]
        ]
        numbers = table(
            ["", *(name for name, _ in names)],
            [["mean average precision",
              *(percent(v["mean_average_precision"]) for _, v in names)], *rows],
            caption=lines,
            numbers=range(1, len(names) + 1),
        )  # fmt: skip
        return fold(title_of(result), numbers)


def robustness_fold(result: Result) -> Html:
    """Top-1 under disturbances, drawn and in numbers."""
    with reading(result.path):
        return fold(title_of(result), robustness_chart(result.values), open_=True)


def robustness_chart(values: dict[str, Any]) -> Html:
    """Top-1 over the strength of each disturbance, with its parameters in a table."""
    trained = values["trained"]
    names = list(trained["top_1"])
    clean = trained["clean_top_1"]
    curves = [
        Curve(name, tuple(range(len(row) + 1)), (clean, *row))
        for name, row in trained["top_1"].items()
    ]
    untrained = (values.get("untrained") or {}).get("top_1") or {}
    drawn = chart(
        "Top-1, %",
        line_chart(
            curves,
            label="Top-1 accuracy, falling with the strength of "
            + ", ".join(
                f"{name} to {percent(trained['top_1'][name][-1])}" for name in names
            ),
            x_label="strength, 0 is the clean image",
            percent=True,
            dots=True,
        ),
        names=names,
        value=percent(trained["mean_top_1"]),
        meaning="The number is the mean over all disturbances and strengths.",
    )
    strengths = trained.get("strengths") or {}
    rows = []
    for name in names:
        cells = []
        for n, share in enumerate(trained["top_1"][name]):
            small = compact(strengths[name][n]) if name in strengths else None
            other = percent(untrained[name][n]) if name in untrained else None
            cells.append(
                join(
                    [
                        percent(share),
                        element("small", f" at {small}") if small else None,
                        element("small", f" ○ {other}") if other else None,
                    ]
                )
            )
        rows.append([name, *cells])
    longest = max(len(row) for row in rows)
    numbers = table(
        ["Disturbance", *range(1, longest)],
        [[*row, *[NOTHING] * (longest - len(row))] for row in rows],
        caption=f"Top-1 at five strengths, each with its parameter; clean "
        f"{percent(clean)}; judged by {trained.get('classifier', 'a classifier')}."
        + (" ○ untrained." if untrained else ""),
        numbers=range(1, longest),
        class_="stacked",
    )
    return element("div", charts(drawn), numbers, class_="pair")
