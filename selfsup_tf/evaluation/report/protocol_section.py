"""What the protocols measured: one table of all, and each in detail."""

from typing import Any

from selfsup_tf.evaluation.report.confusion import confusion_figure
from selfsup_tf.evaluation.report.gather import Result, RunFiles, reading
from selfsup_tf.evaluation.report.header import track
from selfsup_tf.evaluation.report.markup import Html, element, join
from selfsup_tf.evaluation.report.metrics import (
    Metric,
    classification,
    metrics_of,
)
from selfsup_tf.evaluation.report.numbers import (
    NOTHING,
    percent,
    percent_interval,
    points,
    points_interval,
)
from selfsup_tf.evaluation.report.parts import (
    absent,
    fold,
    section,
    table,
    tag,
)
from selfsup_tf.evaluation.report.protocol_details import (
    retrieval_fold,
    robustness_fold,
)


def protocol_section(run: RunFiles, metrics: list[Metric]) -> Html:
    """The table of all results, then each in detail."""
    lead = (
        "The encoder stays as it is, but for fine-tuning, and is judged by what can be "
        "read from its features. Beside it stands the same network with fresh weights. "
        "Intervals are of 95\u00a0%, over the choice of test images."
    )
    if not metrics:
        content = [
            absent("Not measured yet.", f"eval.py {name}", run.path)
            for name in ("knn", "linear")
        ]
        return section("protocols", "Protocols", *content, lead=lead)
    details = [
        *(robustness_fold(result) for result in run.of("robustness")),
        *(retrieval_fold(result) for result in run.of("retrieval")),
        *(_per_class(result) for result in run.results),
    ]
    unread = None
    others = [*run.unread, *(r.path.name for r in run.of("health")[1:])]
    if others:
        words = f"Also in eval/, and not shown here: {', '.join(others)}."
        unread = element("p", words, class_="absent")
    return section(
        "protocols", "Protocols", _table(metrics), *details, unread, lead=lead
    )


def all_metrics(run: RunFiles) -> list[Metric]:
    """Those of every result, in the order of the protocols."""
    order = ["linear", "knn", "finetune", "accuracy", "retrieval", "robustness"]

    def place(result: Result) -> tuple[int, bool, str]:
        known = result.protocol in order
        number = order.index(result.protocol) if known else len(order)
        return number, result.name != result.protocol, result.name

    results = sorted(run.results, key=place)
    return [metric for result in results for metric in metrics_of(result)]


def _table(metrics: list[Metric]) -> Html:
    rows, before = [], None
    for metric in metrics:
        value = element("strong", percent(metric.value))
        rows.append(
            [
                _heading(metric, first=metric.title != before),
                _above(value, percent_interval(metric.interval)),
                _baseline(metric),
                _above(points(metric.gain), points_interval(metric.gain_interval)),
                track(metric),
            ]
        )
        before = metric.title
    return table(
        ["Protocol", "Trained", "Untrained", "Gain, points", "0 to 100 %"],
        rows,
        caption="Small: 95 % intervals. ● trained, ○ untrained or as the row says.",
        numbers=(1, 2, 3),
        class_="protocols stacked",
    )


def _heading(metric: Metric, *, first: bool) -> Html:
    """The number's name, behind its protocol's, which is read aloud in every row."""
    name = element("span", metric.name, class_="number-name")
    if not first:
        title = element("span", metric.title, " ", class_="unseen")
        return element("span", title, name, class_="further")
    stale = tag("of an earlier state", "stale") if metric.stale else None
    data = element("small", metric.data) if metric.data else None
    title = element("strong", metric.title)
    return element("span", title, " ", name, " ", stale, data, class_="with-meaning")


def _above(number: Any, interval: str) -> Any:
    """A number over its interval, where there is one."""
    if interval == NOTHING:
        return number
    return join([number, element("small", interval)])


def _baseline(metric: Metric) -> Any:
    words = percent(metric.baseline)
    if metric.baseline is None or metric.baseline_name == "untrained":
        return words
    return join([words, element("small", metric.baseline_name)])


def _per_class(result: Result) -> Html | None:
    with reading(result.path):
        folds = []
        for title, trained in classification(result):
            rows = [
                [c["name"], *(percent(c[k]) for k in ("precision", "recall", "f1")),
                 f"{c['support']:,}"]
                for c in trained.get("per_class") or []
            ]  # fmt: skip
            if rows:
                numbers = table(
                    ["Class", "Precision", "Recall", "F1", "Images"],
                    rows,
                    caption=f"{title}, class by class",
                    numbers=(1, 2, 3, 4),
                )
                folds.append(fold(f"{title}: class by class", numbers))
        return join(folds)


def confusion_section(run: RunFiles) -> Html:
    """What is taken for what, for every classification that has been made."""
    lead = (
        "Rows are the true classes and columns what they were taken for, in per cent "
        "of the row. A perfect classifier fills the diagonal alone."
    )
    found = []
    for result in sorted(run.results, key=lambda r: (r.protocol != "linear", r.name)):
        with reading(result.path):
            for title, trained in classification(result):
                found.append((title, confusion_figure(title, trained)))
    if not found:
        content = [absent("Not measured yet.", "eval.py linear", run.path)]
    else:
        content = [
            fold(title, figure, open_=n == 0) for n, (title, figure) in enumerate(found)
        ]
    return section("confusion", "Confusion", *content, lead=lead)
