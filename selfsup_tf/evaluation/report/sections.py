"""What the page of one run shows, as values for its templates."""

import collections
import dataclasses
import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import markupsafe

from selfsup_tf.config import Config, ViewConfig
from selfsup_tf.config.run_config import operational_fields
from selfsup_tf.evaluation.curves import draw_panels, training_panels, warmup
from selfsup_tf.evaluation.expected import find_expected
from selfsup_tf.evaluation.next_steps import command
from selfsup_tf.evaluation.numbers import compact, percent, plain
from selfsup_tf.evaluation.protocol import Chart, Protocol, Result, Row, Table
from selfsup_tf.evaluation.report.drawing import Drawings
from selfsup_tf.evaluation.report.gather import RunFiles, reading
from selfsup_tf.evaluation.results import StoredResult, in_order, wanted_by_report
from selfsup_tf.methods import find_method, list_methods

_MOST_CARDS = 5
Pairs = list[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class Line:
    """One number in the table of all.

    Attributes:
        stored: The result that it is of.
        row: The number.
        title: Of the result, and of its group where it has any.
        first: Whether it is the first one under this title.
        beside: The encoder that stood beside the run, where it is of that one.
    """

    stored: StoredResult
    row: Row
    title: str
    first: bool = True
    beside: str = ""

    @property
    def main(self) -> bool:
        """Whether the table of all numbers has it: shares, and each group's first."""
        return self.first or self.row.unit == "share"


@dataclasses.dataclass(frozen=True)
class Shown:
    """A result as its section shows it.

    Attributes:
        stored: The result.
        protocol: Its protocol; None where the module is not there.
        charts: Each with its <svg> element.
        tables: Of its details.
    """

    stored: StoredResult
    protocol: Protocol | None
    charts: list[tuple[Chart, markupsafe.Markup]]
    tables: list[Table]

    @property
    def result(self) -> Result:
        """The result."""
        return self.stored.result

    @property
    def heading(self) -> str:
        """The title of the section."""
        return self.protocol.title if self.protocol else self.result.protocol

    @property
    def pictures(self) -> dict[pathlib.Path, str]:
        """What each of its pictures that are there shows."""
        pictures = self.result.pictures.items()
        found = {self.stored.path.with_name(name): alt for name, alt in pictures}
        return {path: alt for path, alt in found.items() if path.is_file()}

    @property
    def numbers(self) -> tuple[list[tuple[str, str | None]], dict[str, list]]:
        """Its rows that are no shares, as columns and rows of a table.

        The columns are its groups, and beside each the others' numbers; a row has a
        (row, beside) for each, or None.
        """
        rows = [row for row in self.result.rows if row.unit != "share"]
        if len(rows) == len({row.group for row in rows}):
            return [], {}  # the table of all numbers has them
        columns = {}
        for row in rows:
            columns |= dict.fromkeys((row.group, name) for name in (None, *row.beside))
        columns = sorted(columns, key=lambda c: [g for g, _ in columns].index(c[0]))
        lines = collections.defaultdict(dict)
        for row in rows:
            lines[row.name][row.group] = row
        return columns, {name: list(line.values()) for name, line in lines.items()}


def reported(run: RunFiles) -> dict[str, Any]:
    """Everything that the template of a run's page asks for."""
    drawings, known = Drawings(), in_order()
    expected = find_expected(run.config)
    shown = [
        show(stored, known.get(stored.result.protocol), drawings)
        for stored in run.results
    ]
    sections = collections.defaultdict(list)
    for one in shown:
        if _has_details(one):
            sections[one.result.protocol].append(one)
    return {
        "run": run,
        "title": f"{run.name}: encoder report",
        "cards": _cards(run.results),
        "lines": [line for line in lines_of(run.results) if line.main],
        "sections": dict(sorted(sections.items(), key=lambda one: not _shows(one[1]))),
        "unread": run.unread,
        "missing": _missing(run),
        "curves": [
            _curve(panel, run, drawings)
            for panel in training_panels(run.records, expected)
        ],
        "expected": expected,
        "departures": expected.departures(run.records) if expected else [],
        "compared": expected.compared(run.records) if expected else 0,
        "warmup": warmup(run.config),
        "groups": config_groups(run.config),
        "first": run.records[0] if run.records else {},
        "devices": devices,
    }


def show(stored: StoredResult, protocol: Protocol | None, drawings: Drawings) -> Shown:
    """Asks the protocol of a result for what it shows."""
    if protocol is None:
        return Shown(stored, None, [], [])
    with reading(stored.path):
        charts = protocol.draw(stored.result).values()
        drawn = [(chart, drawings.svg(chart)) for chart in charts]
        return Shown(stored, protocol, drawn, protocol.tables(stored.result))


def lines_of(results: Iterable[StoredResult]) -> list[Line]:
    """The numbers of all results."""
    lines = []
    for stored in results:
        for group, rows in stored.result.groups.items():
            title = stored.result.title + (f": {group}" if group else "")
            lines += [Line(stored, row, title, row is rows[0]) for row in rows]
    return lines


def _has_details(shown: Shown) -> bool:
    result = shown.result
    return bool(
        result.verdict or result.notes or shown.charts or shown.tables
        or shown.pictures or shown.numbers[0]
        or (shown.protocol and shown.protocol.template)
    )  # fmt: skip


def _shows(results: Sequence[Shown]) -> bool:
    """Whether it shows images of the data, which a reader grasps first."""
    return any(shown.pictures for shown in results)


def _cards(results: Sequence[StoredResult]) -> list[Line]:
    """The number that counts of each protocol, of its plain and newest result."""
    best = {}
    for stored in sorted(results, key=lambda s: s.stale):
        row = next(iter(stored.result.rows), None)
        if row and row.value is not None and not row.group:
            line = Line(stored, row, stored.result.title)
            best.setdefault(stored.result.protocol, line)
    order = dict.fromkeys(stored.result.protocol for stored in results)
    cards = [best[protocol] for protocol in order if protocol in best]
    others = [card for card in cards if card.row.unit != "share"]
    shares = [card for card in cards if card.row.unit == "share"]
    return shares[: max(1, _MOST_CARDS - len(others))] + others


def _missing(run: RunFiles) -> list[tuple[str, str]]:
    """Titles and commands of what a report is meant to show and has not found."""
    # By whatever options, but not of other images.
    own = (one for one in run.results if not one.result.place)
    found = {one.result.protocol for one in own}
    there = {
        "labels": not run.records or run.records[0].get("labelled", True),
        "classifier": run.directory.kept("classifier").is_file(),
        "log": bool(run.records),
    }
    return [
        (protocol.title, command(name, run.directory))
        for name, protocol in wanted_by_report(there).items()
        if name not in found
    ]


def _curve(panel, run: RunFiles, drawings: Drawings) -> tuple[Chart, markupsafe.Markup]:
    final = next(y for y in reversed(panel.curves[0].y) if y is not None)
    value = percent(final) if panel.percent else compact(final)
    name = panel.curves[0].name
    chart = Chart(
        panel.title + (", %" if panel.percent else ""),
        draw_panels([panel], run.config),
        panel.meaning,
        value,
        f"{panel.title} over the epochs; at the end {name} is {value}",
    )
    return chart, drawings.svg(chart)


def devices(value: Any) -> str:
    """A value; of a list of devices how many there are of each kind."""
    if not (isinstance(value, list) and all(isinstance(v, dict) for v in value)):
        return plain(value)
    kinds = collections.Counter(
        " ".join(str(v[k]) for k in ("type", "model") if v.get(k)) for v in value
    )
    return ", ".join(f"{n} × {k}" if n > 1 else k for k, n in kinds.items()) or "none"


def method_name(config: dict[str, Any]) -> str:
    """The method as its authors write it, if it is installed, or its plain name."""
    name = str(config.get("method", "a method"))
    return find_method(name).title if name in list_methods() else name


def config_groups(config: dict[str, Any]) -> list[tuple[str, Pairs, Pairs]]:
    """(title, what was set for this run, what is as the package has it) of each group.

    Args:
        config: A config.json.
    """
    fields = {field.name for field in dataclasses.fields(Config)}
    defaults = json.loads(json.dumps(dataclasses.asdict(Config())))
    views = {f"view_{n}": view for n, view in enumerate(config.get("views") or (), 1)}
    view_defaults = json.loads(json.dumps(dataclasses.asdict(ViewConfig())))
    defaults |= dict.fromkeys(views, view_defaults)
    nested = {name: v for name, v in config.items() if isinstance(v, dict)} | views
    flat = {n: v for n, v in config.items() if n not in nested and n != "views"}
    own = {name: v for name, v in flat.items() if name not in fields}
    operational = operational_fields(Config)
    operation = {n: v for n, v in flat.items() if n in operational}
    general = {n: v for n, v in flat.items() if n not in own and n not in operation}
    equal: dict[str, list[str]] = {}
    for title, values in sorted(nested.items()):
        equal.setdefault(repr(values), []).append(title)
    groups = [
        (method_name(config), own, {}),
        ("Training", general, defaults),
        *(
            (" and ".join(titles).replace("_", " ").capitalize(), nested[titles[0]],
             defaults.get(titles[0]) or {})
            for titles in equal.values()
        ),
        ("How it was run", operation, defaults),
    ]  # fmt: skip
    found = []
    for title, values, usual in groups:
        differing, same = [], []
        for name, value in values.items():
            kept = same if name in usual and value == usual[name] else differing
            kept.append((name, plain(value)))
        if values:
            found.append((title, differing, same))
    return found
