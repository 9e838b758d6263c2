"""An encoder with its numbers, and the advice that is made of several.

Nothing in this folder but `measure.py` needs TensorFlow.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from selfsup_tf.evaluation.protocol import Interval


@dataclasses.dataclass(frozen=True)
class Candidate:
    """An encoder, and what was measured of it on the images in question.

    Attributes:
        name: As the user named it, as a command takes it.
        label: The same, short, as a sentence takes it.
        trained_here: Whether it is a run of this package: "your run", not "as it is".
        parameters: How many numbers it has.
        image_size: Height and width of its images, in pixels.
        length: D of its representation.
        spread: How far the vectors' directions are spread, in [0, 1], see
            `statistics.Numbers`.
        collapsed: Whether that is so little that all images are one point.
        rank_me: Effective rank of the representations.
        scores: By measure, the share in [0, 1]: with labels "knn", "linear",
            "retrieval"; without "copies", see `candidates.copies_found`.
        intervals: Their 95 % intervals.
        untrained: Of the same network untrained, the first of the scores; None where
            there is none.
        gain: The paired 95 % interval of the gain on it.
        curve: (labelled images, k-NN accuracy with them alone), rising in the first.
        curve_gain: The 95 % interval of the gain of all labelled images on half.
        cost: See `exporting.cost.int8_cost`; empty where not measured.
        licence: What its source says, or None.
    """

    name: str
    label: str
    trained_here: bool
    parameters: int
    image_size: int
    length: int
    spread: float = 1.0
    collapsed: bool = False
    rank_me: float | None = None
    scores: Mapping[str, float] = dataclasses.field(default_factory=dict)
    intervals: Mapping[str, Interval] = dataclasses.field(default_factory=dict)
    untrained: float | None = None
    gain: Interval | None = None
    curve: Sequence[tuple[int, float]] = ()
    curve_gain: Interval | None = None
    cost: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    licence: str | None = None

    @property
    def learned(self) -> bool | None:
        """Whether it is better than the same network untrained; None if not known."""
        return None if self.gain is None else self.gain[0] > 0

    @property
    def spoken(self) -> str:
        """How a sentence names it."""
        return f"your run {self.label}" if self.trained_here else self.label


@dataclasses.dataclass(frozen=True)
class Advice:
    """What to do, and why.

    Attributes:
        headline: A sentence.
        reasons: Sentences.
        steps: (what for, command) of what comes next.
        taken: The name of the encoder to take; None where nothing says one.
    """

    headline: str
    reasons: tuple[str, ...]
    steps: tuple[tuple[str, str], ...]
    taken: str | None


def listed(candidates: Sequence[Candidate]) -> str:
    names = [one.label for one in candidates]
    if len(names) == 1:
        return names[0]
    return f"{', '.join(names[:-1])} and {names[-1]}"


def collapse(one: Candidate) -> str:
    """That all images have about the same vector."""
    return (
        f"{one.label} gives all images about the same vector (a spread of "
        f"{one.spread:.3f} of 1)."
    )
