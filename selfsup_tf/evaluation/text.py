"""Results as text for a terminal and as a table for a notebook; no TensorFlow."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from selfsup_tf.shown import html_table

if TYPE_CHECKING:
    from selfsup_tf.evaluation.protocol import Result, Row

_FEW = 4  # numbers that a line holds


def format_rows(result: "Result", heads: Mapping[str, str] | None = None) -> str:
    """A table of a result's numbers, one for each group of rows.

    ```
    knn (k=200, temperature=0.1): 50000 images of cifar10/train judge 10000 of ...
                   top-1     top-5
    trained      50.48 %   94.11 %
    untrained    29.83 %   82.77 %
    gain          +20.65    +11.34  points
    With other test images the gain in top-1 would be within +19.80 and +21.50 (95 %).
    ```

    Args:
        result: The result.
        heads: What to say of a group in place of the result's title and the group.
    """
    parts = []
    for group, rows in result.groups.items():
        head = ", ".join(filter(None, (result.title, group)))
        head = (heads or {}).get(group, head)
        where = judged_on(result.measured_on)
        lines = [f"{head}: {where}" if where else head, *_table(rows)]
        parts.append("\n".join(lines))
    said = [] if result.verdict is None else [f"{result.title}: {result.verdict}"]
    said += [f"  {note}" for note in result.notes]
    return "\n\n".join(filter(None, ["\n".join(said), *parts]))


def format_line(result: "Result") -> str:
    """A result in a line: its title, its verdict and its first numbers."""
    said = [result.verdict] if result.verdict else []
    for row in result.rows[:_FEW]:
        others = (
            f"{name} {shown(b.value, row.unit)}" for name, b in row.beside.items()
        )
        beside = ", ".join(others)
        value = f"{row.title} {shown(row.value, row.unit)}"
        said.append(f"{value} ({beside})" if beside else value)
    if len(result.rows) > _FEW:
        said.append(f"{len(result.rows) - _FEW} more")
    return ": ".join(filter(None, (result.title, "; ".join(said))))


def format_html(result: "Result") -> str:
    """The table of a result's numbers for a notebook, with its verdict and notes.

    A line for each number: of the encoder with its interval, of the others, the gains.
    """
    others = list(dict.fromkeys(name for row in result.rows for name in row.beside))
    gains = ["gain" if len(others) == 1 else f"gain on {name}" for name in others]
    lines = []
    for row in result.rows:
        value = shown(row.value, row.unit)
        if row.interval:
            value += " ({} to {})".format(*(shown(b, row.unit) for b in row.interval))
        beside = [row.beside.get(name) for name in others]
        values = [shown(one and one.value, row.unit) for one in beside]
        values += [
            "-" if one is None or one.gain is None else difference(one.gain, row.unit)
            for one in beside
        ]
        lines.append([" ".join(filter(None, (row.group, row.title))), value, *values])
    title = ": ".join(filter(None, (result.title, result.verdict)))
    where = judged_on(result.measured_on)
    notes = [*result.notes, *([f"{where}."] if where else [])]
    return html_table(title, ["", "trained", *others, *gains], lines, notes)


def judged_on(sets: Mapping[str, Mapping[str, Any]]) -> str:
    """Which images a result is of, such as "50000 images of a judge 10000 of b"."""
    if "train" in sets and "test" in sets:
        train, test = sets["train"], sets["test"]
        return (
            f"{train['size']} images of {train['name']} judge {test['size']} of "
            f"{test['name']}"
        )
    return ", ".join(f"{one['size']} images of {one['name']}" for one in sets.values())


def _table(rows: "Sequence[Row]") -> list[str]:
    """The numbers of one group: a column for each row, a line for each encoder."""
    others = list(dict.fromkeys(name for row in rows for name in row.beside))
    gains = {name: "gain" if len(others) == 1 else f"gain on {name}" for name in others}
    width = max(map(len, ("untrained", *others, *gains.values())))
    cells = max(12, *(len(row.title) + 2 for row in rows))

    def line(name: str, values: Sequence[str]) -> str:
        return f"{name:{width}}" + "".join(f"{value:>{cells}}" for value in values)

    lines = [
        line("", [row.title for row in rows]).rstrip(),
        line("trained", [shown(row.value, row.unit) for row in rows]),
    ]
    for name, gain in gains.items():
        beside = [row.beside.get(name) for row in rows]
        pairs = list(zip(rows, beside, strict=True))
        values = [shown(one and one.value, row.unit) for row, one in pairs]
        lines.append(line(name, values))
        differences = [
            "" if one is None or one.gain is None else difference(one.gain, row.unit)
            for row, one in pairs
        ]
        unit = "  points" if all(row.unit == "share" for row in rows) else ""
        lines.append(line(gain, differences) + unit)
        if beside[0] is not None and beside[0].gain_interval is not None:
            bounds = beside[0].gain_interval
            low, high = (difference(bound, rows[0].unit) for bound in bounds)
            standing = rows[0].standing(name)
            said = {"tie": ", a tie", "behind": f", behind {name}"}.get(standing, "")
            lines.append(
                f"With other test images the {gain} in {rows[0].title} would be within "
                f"{low} and {high} (95 %){said}."
            )
    return lines


def shown(value: float | None, unit: str) -> str:
    """A number in its unit, such as 61.20 %; a dash where it is missing."""
    if value is None:
        return "-"
    return f"{100 * value:.2f} %" if unit == "share" else f"{value:.4g}"


def difference(gain: float, unit: str) -> str:
    """A gain with its sign: points of a share, else in the row's unit."""
    return f"{100 * gain:+.2f}" if unit == "share" else f"{gain:+.4g}"


def format_classes(per_class: Sequence[Mapping[str, Any]]) -> str:
    """Precision, recall, F1 and test images of each class, as lines for a terminal."""
    width = max(5, *(len(row["name"]) for row in per_class))
    lines = [f"{'class':{width}}  precision   recall       F1  images"]
    lines += [
        f"{row['name']:{width}}{100 * row['precision']:9.2f} %"
        f"{100 * row['recall']:7.2f} %{100 * row['f1']:7.2f} %{row['support']:8d}"
        for row in per_class
    ]
    return "\n".join(lines)
