"""What the losses at rising learning rates say, in numbers, words and a picture.

Reference: Smith 2017, "Cyclical learning rates for training neural networks", section
3.3 (the test; he reads the rates off the curve); Gugger 2018, "How do you find a good
learning rate", and fastai (the steepest fall as the suggestion, a tenth of the lowest
point's rate as the other, and the end at four times the best loss).
"""

import dataclasses
import math
import pathlib
from typing import Any

import numpy as np

from selfsup_tf.errors import check
from selfsup_tf.figures import COLOURS, Figure
from selfsup_tf.files import save_figure
from selfsup_tf.shown import brief

DIVERGED = 4.0
"""Times its best that the mean of the last losses may be before a test ends."""

_WINDOW = 0.2  # of the steps, over which the loss is smoothed
_SIGNIFICANT = 4.0  # standard errors that the loss has to fall by
_BLOWN_UP = 2.0  # times its beginning: what is above counts as that much

_BLUE, _VERMILLION, *_, _GREY, _ = COLOURS


@dataclasses.dataclass(frozen=True)
class LearningRates:
    """What a range test has found. Rates are per 256 images, as the config's is.

    Attributes:
        rates: Of each step, rising.
        losses: Of the batch of each step, before its update.
        smoothed: The losses, smoothed.
        suggestion: The rate at which the smoothed loss falls fastest by the logarithm
            of the rate, at or before its lowest point; None where it does not fall.
        lowest_at: The rate of the smoothed loss's lowest point. A rate beyond it is
            too high.
        stopped_at: The rate at which the test ended early, None where it did not.
        reason: Why it did; None where it did not.
    """

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    suggestion: float | None
    lowest_at: float
    stopped_at: float | None = None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return dataclasses.asdict(self)

    __repr__ = brief

    def _repr_png_(self) -> bytes:
        return self.draw()._repr_png_()

    def draw(self, path: str | pathlib.Path | None = None) -> Figure:
        """Draws loss over rate, and writes it where there is a path (.png, .svg)."""
        figure = Figure(figsize=(7, 4.2), layout="constrained")
        axes = figure.subplots()
        rates, losses = np.array(self.rates), np.array(self.losses)
        # A loss of a million must not flatten the curve.
        top = _BLOWN_UP * abs(self.smoothed[0])
        within = losses <= top
        axes.plot(rates[within], losses[within], ".", color=_GREY, label="each batch")
        axes.plot(rates, self.smoothed, color=_BLUE, lw=2, label="smoothed")
        if not within.all():
            beyond = rates[~within]
            label = f"above {top:.3g}"
            axes.plot(beyond, np.full(len(beyond), top), "^", color=_GREY, label=label)
            axes.set_ylim(top=1.03 * top)
        for rate, dash, word, height in (
            (self.suggestion, "--", "suggestion", 0.98),
            (self.stopped_at, ":", "diverges", 0.91),
        ):
            if rate is not None:
                side = "left" if rate < math.sqrt(rates[0] * rates[-1]) else "right"
                axes.axvline(rate, color=_VERMILLION, ls=dash, lw=1.5)
                axes.text(
                    *(rate, height, f" {word} {rate:.2g} "),
                    transform=axes.get_xaxis_transform(),
                    **{"ha": side, "va": "top", "color": _VERMILLION},
                )
        axes.set(
            xscale="log",
            xlabel="learning rate per 256 images (--optimizer.learning_rate)",
            ylabel="loss",
            title=_outcome(self),
        )
        axes.title.set_size(10)
        axes.legend(frameon=False, loc="lower left")
        axes.spines[["top", "right"]].set_visible(False)
        if path is not None:
            save_figure(figure, path)
        return figure


def say_diverged(losses: list[float], *, steps: int) -> str | None:
    """Why a test of so many steps has to end with these losses; None if it goes on."""
    count = half_window(steps) + 1
    if len(losses) < count:
        return None
    levels = np.convolve(losses, np.full(count, 1 / count), "valid")
    if levels[-1] > DIVERGED * levels.min() > 0:
        return f"the mean of {count} losses is above {DIVERGED:g} times its best"
    return None


def read_curve(
    rates: np.ndarray, losses: list[float], *, steps: int, reason: str | None = None
) -> LearningRates:
    """What the losses at rising rates say.

    Of the losses up to the smoothed lowest point, the last third has to lie below the
    first by four standard errors, estimated from the differences between neighbours.

    Args:
        rates: Of each step, (T,); one more than there are losses where the last loss
            was not finite.
        losses: Of each step, finite.
        steps: How many were planned; the loss is smoothed over a fifth of them.
        reason: Why there are no more.

    Raises:
        InputError: There is no loss.
    """
    check(
        len(losses) > 0,
        "a finite loss before the first update",
        "NaN or infinity",
        "Look at the images and at --precision: no learning rate can help.",
    )
    count, half = len(losses), half_window(steps)
    losses = np.array(losses, np.float64)
    # A blow-up by powers of ten must not raise the line before it.
    capped = np.minimum(losses, _BLOWN_UP * abs(losses[: half + 1].mean()))
    smoothed, slopes = local_lines(np.log(rates[:count]), capped, half)
    lowest = int(np.argmin(smoothed))
    suggestion = None
    if _falls(capped[: lowest + 1]):
        # At the ends, half the neighbours that a slope is estimated from are missing.
        first = min(half, lowest)
        suggestion = float(rates[first + np.argmin(slopes[first : lowest + 1])])
    return LearningRates(
        rates=rates[:count].tolist(),
        losses=losses.tolist(),
        smoothed=smoothed.tolist(),
        suggestion=suggestion,
        lowest_at=float(rates[lowest]),
        stopped_at=float(rates[-1]) if reason else None,
        reason=reason,
    )


def _falls(losses):
    third = len(losses) // 3
    if third < 2:
        return False
    fall = losses[:third].mean() - losses[-third:].mean()
    # Neighbours share the trend, so what they differ by is the noise, twice over.
    noise = math.sqrt(np.mean(np.diff(losses) ** 2) / 2)
    return fall > _SIGNIFICANT * noise * math.sqrt(2 / third)


def half_window(steps: int) -> int:
    """How many losses to either side of one the smoothing takes in."""
    return max(2, round(_WINDOW * steps / 2))


def local_lines(
    x: np.ndarray, y: np.ndarray, half: int
) -> tuple[np.ndarray, np.ndarray]:
    """Level and slope at each point of the least-squares line through those around it.

    Unlike a running mean it neither lags behind nor bends at the ends.

    Args:
        x: (T,), rising.
        y: (T,).
        half: How many points to either side count, as far as there are.
    """
    levels, slopes = np.zeros(len(y)), np.zeros(len(y))
    for i in range(len(y)):
        near = slice(max(0, i - half), i + half + 1)
        terms = np.stack([np.ones_like(x[near]), x[near] - x[i]], axis=1)
        levels[i], slopes[i] = np.linalg.lstsq(terms, y[near], rcond=None)[0]
    return levels, slopes


def _outcome(result: LearningRates) -> str:
    """The outcome as a sentence without its full stop."""
    if result.suggestion is None:
        return "The loss does not fall by more than its noise: no rate to suggest"
    return (
        f"The loss falls fastest at {result.suggestion:.2g}, "
        f"and is lowest at {result.lowest_at:.2g}"
    )


def format_lr_find(result: LearningRates) -> str:
    """The outcome as lines of text for a terminal, with the flag to paste."""
    lines = [
        f"{len(result.rates)} steps at rates from {result.rates[0]:.2g} to "
        f"{result.rates[-1]:.2g}, per 256 images.",
        f"{_outcome(result)}.",
    ]
    if result.reason is not None:
        lines.append(f"The test ended at {result.stopped_at:.2g}: {result.reason}.")
    if result.suggestion is None:
        lines.append(
            "Try other rates or more steps; if it never falls, look at the images and "
            "the views."
        )
    else:
        lines.append(
            "Where it falls fastest is a rate to begin with; a tenth of the rate where "
            f"it is lowest, {result.lowest_at / 10:.2g}, is the other common choice:\n"
            f"  --optimizer.learning_rate={result.suggestion:.2g}"
        )
    return "\n".join(lines)
