"""Axes of a chart: where a value lies, which values are named, which are drawn."""

import dataclasses
import itertools
import math
from collections.abc import Iterable

from selfsup_tf.evaluation.report.numbers import compact, superscript

_MOST_POINTS = 300


@dataclasses.dataclass(frozen=True)
class Axis:
    """Values from `low` to `high` on `start` to `end`, in units of the drawing."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def place(self, value: float) -> float:
        """Where a value lies; outside it lies at the edge."""
        low, high = (math.log10(v) if self.log else v for v in (self.low, self.high))
        value = math.log10(max(value, self.low)) if self.log else value
        share = (value - low) / (high - low)
        return round(self.start + min(max(share, 0), 1) * (self.end - self.start), 1)

    def ticks(self) -> list[tuple[float, str]]:
        """Round values with their words."""
        if self.log:
            first, last = (round(math.log10(v)) for v in (self.low, self.high))
            every = max(1, math.ceil((last - first) / 4))
            exponents = range(last, first - 1, -every)
            return [
                (10.0**e, "1" if e == 0 else f"10{superscript(e)}") for e in exponents
            ]
        return [(value, compact(value)) for value in round_values(self.low, self.high)]


def round_values(low: float, high: float, count: int = 4) -> list[float]:
    """About `count` round numbers between two, in steps of 1, 2 or 5."""
    rough = (high - low) / count
    power = 10 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(n * step, 12) for n in range(first, last + 1)]


def span(values: Iterable[float], *, at_least: float = 1e-6) -> tuple[float, float]:
    """The range of values with a little air, never empty."""
    values = list(values)
    low, high = min(values), max(values)
    air = max(0.06 * (high - low), 0.02 * max(abs(low), abs(high)), at_least)
    return (max(0.0, low - air) if low >= 0 else low - air), high + air


def thinned(
    found: list[tuple[float, float | None]], most: int = _MOST_POINTS
) -> list[tuple[float, float | None]]:
    """No more points than the eye can tell apart; of each stretch both extremes stay.

    So a spike of one step is seen in a run of a million.
    """
    if len(found) <= most:
        return found
    kept, stretches = [], most // 2
    bounds = [round(n * len(found) / stretches) for n in range(stretches + 1)]
    for start, end in itertools.pairwise(bounds):
        stretch = range(start, end)
        gaps = [n for n in stretch if found[n][1] is None]
        values = [n for n in stretch if found[n][1] is not None]
        chosen = set(gaps[:1])
        if values:
            chosen |= {
                min(values, key=lambda n: found[n][1]),
                max(values, key=lambda n: found[n][1]),
            }
        kept += [found[n] for n in sorted(chosen)]
    return kept
