"""Runs side by side: what differs, who is better, how they got there."""

import pathlib
from collections.abc import Sequence
from typing import Any

from selfsup_tf.evaluation.chart_values import (
    Curve,
    is_number,
    relative_spectrum,
    training_panels,
)
from selfsup_tf.evaluation.report.gather import RunFiles, reading
from selfsup_tf.evaluation.report.header import headline, when
from selfsup_tf.evaluation.report.health_section import FLOOR, NAMES, decades
from selfsup_tf.evaluation.report.markup import Html, element, join
from selfsup_tf.evaluation.report.metrics import Metric
from selfsup_tf.evaluation.report.numbers import (
    NOTHING,
    compact,
    percent,
    percent_interval,
    plain,
)
from selfsup_tf.evaluation.report.parts import chart, charts, section, table, tag
from selfsup_tf.evaluation.report.protocol_section import all_metrics
from selfsup_tf.evaluation.report.svg import line_chart, sample
from selfsup_tf.evaluation.report.verdicts import badge

_PANELS = ("loss", "knn", "rank_me", "spread", "cosine", "learning_rate")


def comparison_body(runs: Sequence[RunFiles]) -> Html:
    """The sections of the page."""
    names = _names(runs)
    return join(
        [
            _header(runs, names),
            _metrics_section(runs, names),
            _curves_section(runs, names),
            _spectra_section(runs, names),
            _config_section(runs, names),
        ]
    )


def _names(runs: Sequence[RunFiles]) -> list[str]:
    """The directories' names, or their paths where two have one name."""
    names = [run.name for run in runs]
    if len(set(names)) == len(names):
        return names
    return [str(pathlib.PurePath(run.path)) for run in runs]


def _letter(number: int) -> str:
    return chr(ord("A") + number)


def _header(runs: Sequence[RunFiles], names: list[str]) -> Html:
    items = []
    for n, (run, name) in enumerate(zip(runs, names, strict=True)):
        verdict = run.health.values.get("verdict") if run.health else None
        items.append(
            element(
                "li",
                element(
                    "p",
                    element("strong", f"{_letter(n)} ", class_="letter"),
                    sample(n),
                    class_="name",
                ),
                element("p", name, class_="run"),
                element("p", headline(run.config), class_="small"),
                element("p", when(run), class_="small"),
                element("p", badge(verdict)),
            )
        )
    return element(
        "header",
        element("p", "Encoders compared", class_="over"),
        element("h1", f"{len(runs)} runs side by side"),
        element("ul", items, class_="cards runs"),
        class_="top",
    )


def _metrics_section(runs: Sequence[RunFiles], names: list[str]) -> Html:
    found = [{(m.title, m.name): m for m in all_metrics(run)} for run in runs]
    keys = list(dict.fromkeys(key for metrics in found for key in metrics))
    rows, differ, stale = [], False, False
    for title, name in keys:
        row = [metrics.get((title, name)) for metrics in found]
        data = {m.data for m in row if m is not None}
        differ |= len(data) > 1
        stale |= any(m is not None and m.stale for m in row)
        rows.append([_heading(title, name, differs=len(data) > 1), *_cells(row)])
    rows += _health_rows(runs)
    notes = [
        "★ is the best of a row; ≈ marks those whose interval overlaps the best's. "
        "“–” was not measured.",
        "† These were judged on different images." if differ else None,
        "“earlier” was measured on an earlier state of the encoder." if stale else None,
    ]
    return section(
        "metrics",
        "Numbers",
        table(
            _heads(names),
            rows,
            caption="Trained encoders, with 95 % intervals",
            numbers=range(1, len(runs) + 1),
            class_="stacked compared",
        ),
        *(element("p", note, class_="meaning") for note in notes if note),
    )


def _heads(names: list[str]) -> list[Any]:
    """The runs as headings of columns."""
    heads = [
        element("span", f"{_letter(n)} ", element("span", name), class_="head")
        for n, name in enumerate(names)
    ]
    return ["", *heads]


def _heading(title: str, name: str, *, differs: bool) -> Html:
    name += " †" if differs else ""
    return element("span", f"{title}, ", element("span", name, class_="number-name"))


def _cells(row: list[Metric | None]) -> list[Any]:
    values = [m.value for m in row if m is not None and is_number(m.value)]
    best = max(values, default=None)
    leaders = [m for m in row if m is not None and m.value == best]
    tied = len(leaders) == len(values)
    cells = []
    for metric in row:
        if metric is None or metric.value is None:
            cells.append(NOTHING)
            continue
        words, sign = percent(metric.value), None
        if metric in leaders and not tied:
            words, sign = element("strong", words), tag("★ best", "good")
        elif metric not in leaders and _overlap(metric, leaders[0]):
            sign = tag("≈", "none")
        interval = percent_interval(metric.interval) if metric.interval else None
        cells.append(
            join(
                [
                    element("span", sign, " ", words, class_="cell"),
                    element("small", interval) if interval else None,
                    tag("earlier", "stale") if metric.stale else None,
                ]
            )
        )
    return cells


def _overlap(one: Metric, other: Metric) -> bool:
    if not one.interval or not other.interval:
        return False
    return one.interval[0] <= other.interval[1] and other.interval[0] <= one.interval[1]


def _health_rows(runs: Sequence[RunFiles]) -> list[list[Any]]:
    rows = []
    for part, name in NAMES.items():
        for key, title in (("rank_me", "RankMe"), ("alignment", "Alignment"),
                           ("uniformity", "Uniformity")):  # fmt: skip
            values = [_health(run, part, key) for run in runs]
            if any(is_number(value) for value in values):
                rows.append([f"{title} of {name[-1]}", *map(compact, values)])
    return rows


def _health(run: RunFiles, part: str, key: str) -> Any:
    if run.health is None:
        return None
    with reading(run.health.path):
        return (run.health.values.get(part) or {}).get(key)


def _curves_section(runs: Sequence[RunFiles], names: list[str]) -> Html:
    found = [{p.key: p for p in training_panels(run.records)} for run in runs]
    figures = []
    for key in _PANELS:
        shown = [(n, panels[key]) for n, panels in enumerate(found) if key in panels]
        if not shown:
            continue
        # Of a panel with two curves the first one, or the lines would be too many.
        panel, first = shown[0][1], shown[0][1].curves[0].name
        title = panel.title + (f": {first}" if len(panel.curves) > 1 else "")
        looks = [n for n, _ in shown]
        figures.append(
            chart(
                title + (", %" if panel.percent else ""),
                line_chart(
                    [p.curves[0] for _, p in shown],
                    label=f"{title} of {', '.join(names[n] for n in looks)}",
                    x_label="epoch",
                    percent=panel.percent,
                    looks=looks,
                ),
                names=[f"{_letter(n)} {names[n]}" for n in looks],
                looks=looks,
                meaning=panel.meaning if key != "learning_rate" else "",
            )
        )
    content = charts(*figures) if figures else element("p", "No logs.", class_="absent")
    return section("curves", "Curves", content)


def _spectra_section(runs: Sequence[RunFiles], names: list[str]) -> Html:
    figures = []
    for part, name in NAMES.items():
        shown = []
        for n, run in enumerate(runs):
            if run.health is not None:
                with reading(run.health.path):
                    values = (run.health.values.get("spectrum") or {}).get(part)
                    if values:
                        shown.append((n, relative_spectrum(values, FLOOR)))
        if shown:
            looks = [n for n, _ in shown]
            curves = [
                Curve(names[n], tuple(range(1, len(v) + 1)), tuple(v)) for n, v in shown
            ]
            figures.append(
                chart(
                    f"Spectrum of {name}",
                    line_chart(
                        curves,
                        label=f"Singular values of {name}, falling",
                        x_label="number of the singular value",
                        y_range=(decades(curves), 1.0),
                        log=True,
                        looks=looks,
                    ),
                    names=[f"{_letter(n)} {names[n]}" for n in looks],
                    looks=looks,
                    meaning="Singular values over the largest.",
                )
            )
    line = element("p", "No run has an eval/health.json.", class_="absent")
    return section("spectra", "Spectra", charts(*figures) if figures else line)


def _config_section(runs: Sequence[RunFiles], names: list[str]) -> Html:
    flats = [_flat(run.config) for run in runs]
    keys = list(dict.fromkeys(key for flat in flats for key in flat))
    rows = []
    for key in keys:
        values = [plain(flat[key]) if key in flat else NOTHING for flat in flats]
        if len(set(values)) > 1:
            rows.append([element("code", key), *values])
    if rows:
        content = table(
            _heads(names),
            rows,
            caption="Only what differs",
        )
    else:
        content = element("p", "The configs are equal.", class_="absent")
    return section("config", "Config", content)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
