"""How results show themselves: a line in Python, and in a notebook a table."""

import dataclasses
import html
import numbers
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_FEW = 4  # values that are shown one by one
_LONG = 40  # letters of a word, such as a hash, beyond which it is cut
_CUT = 12


def brief(result: Any, **instead: str) -> str:
    """A dataclass in a line: its numbers, and how many there are where there are many.

    Args:
        result: Any dataclass; serves as its `__repr__`.
        **instead: What to show of a field in place of its value.
    """
    shown = (
        f"{field.name}={instead.get(field.name) or _brief(getattr(result, field.name))}"
        for field in dataclasses.fields(result)
        if field.repr
    )
    return f"{type(result).__name__}({', '.join(shown)})"


def _brief(value: Any) -> str:
    if isinstance(value, str) and len(value) > _LONG and " " not in value:
        return repr(f"{value[:_CUT]}…")
    if isinstance(value, bool | str | None):
        return repr(value)
    if isinstance(value, numbers.Integral):
        return str(int(value))
    if isinstance(value, numbers.Real):
        return f"{float(value):.4g}"
    if isinstance(value, os.PathLike):
        return repr(str(value))
    if isinstance(value, np.ndarray):
        return f"<{' x '.join(map(str, value.shape))} {value.dtype}>"
    if isinstance(value, Mapping):
        if len(value) > _FEW or any(map(_holds_many, value.values())):
            return f"<{len(value)} entries>"
        return "{" + ", ".join(f"{k!r}: {_brief(v)}" for k, v in value.items()) + "}"
    if isinstance(value, Sequence):
        if len(value) > _FEW or any(map(_holds_many, value)):
            return f"<{len(value)} entries>"
        return "(" + ", ".join(map(_brief, value)) + ")"
    return f"<{type(value).__name__}>"


def _holds_many(value: Any) -> bool:
    """Whether a value within another would make that long."""
    if isinstance(value, str):
        return False
    return isinstance(value, Mapping) or (
        isinstance(value, Sequence) and len(value) > _FEW
    )


def html_table(
    title: str, head: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str]
) -> str:
    """A table for a notebook, with sentences below it.

    Args:
        title: Over the table.
        head: Headings of the columns.
        rows: Cells; the first of each row is its heading.
        notes: The sentences.
    """
    heads = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    lines = [f"<tr>{heads}</tr>"] if rows else []
    for first, *rest in rows:
        cells = "".join(f"<td>{html.escape(cell)}</td>" for cell in rest)
        lines.append(f"<tr><th>{html.escape(first)}</th>{cells}</tr>")
    said = "".join(f"<p>{html.escape(note)}</p>" for note in notes)
    table = f"<table>{''.join(lines)}</table>" if lines else ""
    return f"<p><b>{html.escape(title)}</b></p>{table}{said}"
