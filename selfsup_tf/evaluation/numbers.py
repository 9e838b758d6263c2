"""How numbers and values are written on the page."""

import math
from collections.abc import Sequence
from typing import Any

from selfsup_tf.evaluation.plotting import power_of_ten
from selfsup_tf.evaluation.protocol import Result
from selfsup_tf.fields import is_number

NOTHING = "–"


def number(value: Any, unit: str) -> str:
    """A number of a row: a share in per cent, another one as it is."""
    return percent(value) if unit == "share" else compact(value)


def gain(value: Any, unit: str) -> str:
    """A difference with its sign, of shares in points: "+21.3"."""
    if not is_number(value):
        return NOTHING
    text = f"{100 * value:+.1f}" if unit == "share" else f"{value:+.3g}"
    return text.replace("-", "−")


def interval(
    bounds: Sequence[float] | None, unit: str, *, signed: bool = False
) -> str | None:
    """The bounds of a number, "60.4 to 62.2", or of a gain; None without bounds."""
    if not bounds or not all(map(is_number, bounds)):
        return None
    write = gain if signed else number
    return " to ".join(write(bound, unit).removesuffix("\u00a0%") for bound in bounds)


def percent(value: Any) -> str:
    """A share in [0, 1]: .6127 is "61.3 %"."""
    # The space is one at which no line breaks.
    return f"{100 * value:.1f}\u00a0%" if is_number(value) else NOTHING


def compact(value: Any) -> str:
    """A number of any size in about four characters that count."""
    if not is_number(value):
        return NOTHING
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e7 or size < 1e-4:
        exponent = math.floor(math.log10(size))
        text = f"{value / 10**exponent:.3g}·{power_of_ten(10.0**exponent)}"
    elif size >= 1000 or (isinstance(value, int) and size >= 1):
        text = f"{value:,.0f}"
    else:
        text = f"{value:.4g}"
    return text.replace("-", "−")


def megabytes(size: Any) -> str:
    """Bytes as "1.34 MB", or fewer as "13.4 kB"."""
    if not is_number(size):
        return NOTHING
    return f"{size / 1e6:.2f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


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


def measured_on(result: Result) -> str:
    """The images that a result was measured on: "10,000 of cifar10:test"."""
    images = result.measured_on.get("test") or result.measured_on.get("images")
    return f"{images['size']:,} of {images['name']}" if images else ""
