"""What the page of several runs shows, as values for its template."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import markupsafe

from selfsup_tf.config.stored import by_flag
from selfsup_tf.evaluation.beside import SAME_NETWORK
from selfsup_tf.evaluation.curves import draw_runs, training_panels
from selfsup_tf.evaluation.numbers import NOTHING, measured_on, plain
from selfsup_tf.evaluation.protocol import Chart
from selfsup_tf.evaluation.report.drawing import Drawings
from selfsup_tf.evaluation.report.gather import RunFiles, reading
from selfsup_tf.evaluation.report.sections import Line, lines_of
from selfsup_tf.evaluation.results import in_order
from selfsup_tf.fields import is_number
from selfsup_tf.run import RunDirectory


@dataclasses.dataclass(frozen=True)
class Compared:
    """One number of all runs.

    Attributes:
        title: What was done.
        name: Of the number.
        lines: Of each run, or None.
    """

    title: str
    name: str
    lines: list[Line | None]

    @property
    def main(self) -> bool:
        """Whether it counts; others are folded away."""
        return any(line.main for line in self.lines if line)

    @property
    def differs(self) -> bool:
        """Whether the runs were judged on different images."""
        return len({measured_on(line.stored.result) for line in self.lines if line}) > 1

    @property
    def best(self) -> float | None:
        """The best value; None where all are equal or neither is better.

        Who is behind its own network untrained isn't the best of anything.
        """
        found = [
            line.row
            for line in self.lines
            if line and is_number(line.row.value) and not _behind(line)
        ]
        better = {row.higher_is_better for row in found}
        values = {row.value for row in found}
        if len(values) < 2 or len(better) > 1 or None in better:
            return None
        return max(values) if better == {True} else min(values)

    def sign(self, line: Line) -> str:
        """Tells the "best", those "like" it, and who is "behind" its untrained network.

        Of those like it the intervals overlap the best's.
        """
        if is_number(line.row.value) and _behind(line):
            return "behind"
        if self.best is None or not is_number(line.row.value):
            return ""
        if line.row.value == self.best:
            return "best"
        leader = next(r for r in self.lines if r and r.row.value == self.best)
        return "like" if _tied(line, leader) or _tied(leader, line) else ""


def compared(runs: Sequence[RunFiles]) -> dict[str, Any]:
    """Everything that the template of a comparison asks for."""
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        names = [str(run.directory.path) for run in runs]
    letters = [chr(ord("A") + n) for n in range(len(runs))]
    labels = [f"{letter} {name}" for letter, name in zip(letters, names, strict=True)]
    drawings = Drawings()
    others = _beside(runs)
    numbers = _numbers(runs, others)
    stale = any(line and line.stored.stale for row in numbers for line in row.lines)
    return {
        "title": f"{len(runs)} runs compared",
        "runs": list(zip(letters, names, runs, strict=True)),
        "others": [(chr(ord("A") + len(runs) + n), o) for n, o in enumerate(others)],
        "numbers": numbers,
        "stale": stale,
        "legend": _legend(numbers),
        "curves": _curves(runs, labels, drawings),
        "sections": _sections(runs, labels, drawings),
        "differences": _differences([by_flag(run.config) for run in runs]),
    }


_SIGNS = {
    "best": "★ is the best of a row",
    "like": "≈ marks those whose interval overlaps the best's",
    "behind": "“behind” is worse than the same network without this training",
    "none": "“–” was not measured",
}


def _legend(numbers: Sequence[Compared]) -> str:
    """What the signs of the table mean, of those that stand in it."""
    there = {
        one.sign(line) if line and is_number(line.row.value) else "none"
        for one in numbers
        if one.main
        for line in one.lines
    }
    return "; ".join(words for sign, words in _SIGNS.items() if sign in there)


def _behind(line: Line) -> bool:
    """Whether it is behind the same network without its training."""
    return any(line.row.standing(name) == "behind" for name in SAME_NETWORK)


def _tied(one: Line, other: Line) -> bool:
    """Whether the 95 % intervals leave open which is better: a pair's, or of each."""
    beside = one.row.beside.get(other.beside)
    if beside is not None:
        gain = beside.gain_interval
        return gain is not None and gain[0] <= 0 <= gain[1]
    ours, theirs = one.row.interval, other.row.interval
    return bool(ours and theirs) and ours[0] <= theirs[1] and theirs[0] <= ours[1]


def _beside(runs: Sequence[RunFiles]) -> list[str]:
    """Encoders that were judged beside one of the runs, such as a frozen network."""
    fresh = [one for run in runs for one in run.results if not one.stale]
    names = dict.fromkeys(
        name for one in fresh for row in one.result.rows for name in row.beside
    )
    own = {run.directory.path.resolve() for run in runs}
    return [
        name
        for name in names
        if name not in SAME_NETWORK
        and RunDirectory(name).path.expanduser().resolve() not in own
    ]


def _numbers(runs: Sequence[RunFiles], others: Sequence[str]) -> list[Compared]:
    """The rows of the table, in the order in which the runs have them."""
    found = [
        {
            (line.title, line.row.title, line.row.name): line
            for line in lines_of(run.results)
        }
        for run in runs
    ]
    order, keys = list(in_order()), {}
    for lines in found:
        for key, line in lines.items():
            name = line.stored.result.protocol
            keys.setdefault(key, [*order, name].index(name))
    keys = sorted(keys, key=keys.get)
    compared = []
    for title, shown, name in keys:
        lines = [lines.get((title, shown, name)) for lines in found]
        lines += [_line_of(other, lines) for other in others]
        compared.append(Compared(title, shown, lines))
    return compared


def _line_of(name: str, lines: Sequence[Line | None]) -> Line | None:
    """The number of an encoder beside a run, as if it were a run's own."""
    for line in filter(None, lines):
        there = line.row.beside.get(name)
        if there is not None and not line.stored.stale:
            row = dataclasses.replace(
                line.row, value=there.value, interval=None, beside={}
            )
            return dataclasses.replace(line, row=row, beside=name)
    return None


def _curves(
    runs: Sequence[RunFiles], labels: Sequence[str], drawings: Drawings
) -> list[tuple[Chart, markupsafe.Markup]]:
    found = [{p.key: p for p in training_panels(run.records)} for run in runs]
    drawn = []
    for key in dict.fromkeys(key for panels in found for key in panels):
        panels = {
            label: by_key.get(key) for label, by_key in zip(labels, found, strict=True)
        }
        first = next(panel for panel in panels.values() if panel)
        # Of a panel with two curves the first one, or the lines would be too many.
        title = first.title
        title += f": {first.curves[0].name}" if len(first.curves) > 1 else ""
        there = [label for label, panel in panels.items() if panel]
        chart = Chart(
            title + (", %" if first.percent else ""),
            draw_runs(panels),
            first.meaning,
            label=f"{title} of {', '.join(there)}",
        )
        drawn.append((chart, drawings.svg(chart)))
    return drawn


def _sections(
    runs: Sequence[RunFiles], labels: Sequence[str], drawings: Drawings
) -> list[tuple[str, str, list[tuple[Chart, markupsafe.Markup]]]]:
    """(name, title, charts) of each protocol that lays runs over each other."""
    sections = []
    for name, protocol in in_order().items():
        there = {}
        for label, run in zip(labels, runs, strict=True):
            of_it = [s for s in run.results if s.result.protocol == name]
            if of_it:  # the plain one of the newest encoder, where there is one
                there[label] = min(of_it, key=lambda stored: stored.stale)
        if not there:
            continue
        with reading(next(iter(there.values())).path):
            charts = protocol.compare({k: s.result for k, s in there.items()})
        if charts:
            drawn = [(chart, drawings.svg(chart)) for chart in charts.values()]
            sections.append((name, protocol.title, drawn))
    return sections


def _differences(configs: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """Names and values of what the configs don't agree on."""
    rows = []
    for key in dict.fromkeys(key for config in configs for key in config):
        values = [plain(c[key]) if key in c else NOTHING for c in configs]
        if len(set(values)) > 1:
            rows.append((key, values))
    return rows
