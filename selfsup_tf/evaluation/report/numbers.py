"""How numbers are written on the page."""

import math
from collections.abc import Sequence
from typing import Any

from selfsup_tf.evaluation.chart_values import is_number

NOTHING = "–"


def percent(value: Any, digits: int = 1) -> str:
    """A share in [0, 1]: .6127 is "61.3 %"."""
    # The space is one at which no line breaks.
    return f"{100 * value:.{digits}f}\u00a0%" if is_number(value) else NOTHING


def percent_interval(bounds: Sequence[float] | None) -> str:
    """Two shares in per cent: "60.4 to 62.2"."""
    if not bounds or not all(map(is_number, bounds)):
        return NOTHING
    return f"{100 * bounds[0]:.1f} to {100 * bounds[1]:.1f}"


def points(value: Any) -> str:
    """A difference in points, with its sign."""
    return f"{value:+.1f}".replace("-", "−") if is_number(value) else NOTHING


def points_interval(bounds: Sequence[float] | None) -> str:
    """Two differences: "+20.1 to +22.3"."""
    if not bounds or not all(map(is_number, bounds)):
        return NOTHING
    return f"{points(bounds[0])} to {points(bounds[1])}"


def compact(value: Any) -> str:
    """A number of any size in about four characters that count."""
    if not is_number(value):
        return NOTHING
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e7 or size < 1e-4:
        exponent = math.floor(math.log10(size))
        text = f"{value / 10**exponent:.3g}·10{superscript(exponent)}"
    elif size >= 1000 or (isinstance(value, int) and size >= 1):
        text = f"{value:,.0f}"
    else:
        text = f"{value:.4g}"
    return text.replace("-", "−")


def superscript(number: int) -> str:
    """-2 is "⁻²"."""
    return str(number).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def megabytes(size: Any) -> str:
    """Bytes as "1.34 MB"."""
    return f"{size / 1e6:.2f} MB" if is_number(size) else NOTHING


def plain(value: Any) -> str:
    """A value of a config: None is none, lists are joined."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return compact(value)
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} {plain(v)}" for key, v in value.items()) or "none"
    return str(value)
