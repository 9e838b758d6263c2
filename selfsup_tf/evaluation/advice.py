"""Says in words which of several encoders is the best for some images, and why.

It reads numbers alone: whoever measures them is `candidates.py`. No TensorFlow.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from selfsup_tf.evaluation.numbers import gain as signed
from selfsup_tf.evaluation.numbers import interval, percent
from selfsup_tf.evaluation.protocol import Interval

COLLAPSED = 2.0
"""RankMe up to which an encoder gives all images about the same vector."""
SMALLER = 1.5
"""How many times smaller an encoder is before its size is worth a word."""


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
        rank_me: Effective rank of the representations; None where not measured.
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
    def size(self) -> tuple[str, float]:
        """What it weighs: bytes of its int8 file, or else its parameters."""
        if "int8_bytes" in self.cost:
            return "as an int8 file", self.cost["int8_bytes"]
        return "in parameters", self.parameters

    @property
    def learned(self) -> bool | None:
        """Whether it is better than the same network untrained; None if not known."""
        return None if self.gain is None else self.gain[0] > 0


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


def advise(
    candidates: Sequence[Candidate],
    gains: Mapping[tuple[str, str], Interval],
    *,
    data: str,
    measure: str = "knn",
) -> Advice:
    """Chooses among encoders that were judged on the same labelled images.

    The best by k-NN accuracy is taken, unless others are level with it: of those the
    smallest. Level means that the paired 95 % interval of the difference contains 0.

    Args:
        candidates: One or more.
        gains: The interval of the gain in `measure` of the first name on the second,
            of every pair in either order.
        data: Their images, as a command names them.
        measure: Which of the scores decides.
    """
    ranked = sorted(candidates, key=lambda one: -one.scores[measure])
    best = ranked[0]
    level = [best]
    level += [one for one in ranked[1:] if gains[best.name, one.name][0] <= 0]
    taken = _smallest(level)
    reasons = [
        *_tie(taken, level),
        *(_behind(best, one, gains, measure) for one in ranked if one not in level),
        *_untaught(ranked),
        *_collapsed(ranked),
        *_otherwise(ranked, best, level),
        *_labels(taken),
    ]
    if taken.learned is False:
        first = "None of them" if len(ranked) > 1 else taken.label
        headline = (
            f"{first} is better than the same network untrained: on these images "
            "training has shown nothing yet."
        )
        if any(one.learned is not False for one in ranked):
            headline = (
                f"{taken.label} leads, yet it has learned nothing that shows here."
            )
        steps = (_train(data), _ask_again(data, ranked))
        return Advice(headline, tuple(reasons), steps, None)
    headline = _headline(taken, level, ranked, gains, measure)
    return Advice(headline, tuple(reasons), _steps(taken, data), taken.name)


def advise_unlabelled(candidates: Sequence[Candidate], *, data: str) -> Advice:
    """Says what can be said without labels: which encoders are ruled out.

    Args:
        candidates: One or more, whose scores hold "copies".
        data: Their images, as a command names them.
    """
    out = [one for one in candidates if one.learned is False or _is_collapsed(one)]
    left = [one for one in candidates if one not in out]
    headline = f"Without labels: {_ruled_out(out, left)}."
    reasons = [
        *(
            f"{one.label} finds the altered copy of an image in "
            f"{percent(one.scores['copies'])} of all cases"
            + (
                f", the same network untrained in {percent(one.untrained)}."
                if one.untrained is not None
                else "."
            )
            for one in sorted(candidates, key=lambda one: -one.scores["copies"])
        ),
        *_untaught(candidates),
        *_collapsed(candidates),
        "To find copies is what SimCLR and BYOL train for, so it favours them; it does "
        "not say that images of a kind lie together.",
    ]
    names = " ".join(one.name for one in candidates)
    steps = (
        (
            "Sort some images into folders, ten of each kind are a beginning: "
            "FOLDER/KIND/*.jpg; then ask again",
            f"python eval.py advise --data=FOLDER --candidates {names}",
        ),
    )
    return Advice(headline, tuple(reasons), steps, None)


def _ruled_out(out: Sequence[Candidate], left: Sequence[Candidate]) -> str:
    if not left:
        return "none of them shows that it has learned anything"
    if out and len(left) > 1:
        best = f"which of {_listed(left)} is best only labels can say"
        return f"{_listed(out)} can be ruled out; {best}"
    if out:
        return f"{_listed(out)} can be ruled out, {left[0].label} not"
    if len(left) > 1:
        return "nothing rules one of them out, and nothing says which is best"
    return f"nothing speaks against {left[0].label}"


def _smallest(level: Sequence[Candidate]) -> Candidate:
    measured = all("int8_bytes" in one.cost for one in level)
    return min(
        level, key=lambda one: one.cost["int8_bytes"] if measured else one.parameters
    )


def _headline(taken, level, ranked, gains, measure) -> str:
    others = [one for one in ranked if one not in level]
    if len(level) > 1:
        rest = [one for one in level if one is not taken]
        smaller = [one for one in rest if _size_of(taken, one)]
        why = "the smallest" if len(smaller) == len(rest) else "no larger"
        return f"{_listed(level)} are level: take {taken.label}, {why}."
    if not others:
        return f"{taken.label} has learned something of these images; it stands alone."
    frozen = [one for one in others if not one.trained_here]
    runs = [one for one in others if one.trained_here]
    # Who has trained wants to know whether that was worth it.
    rival = (runs if not taken.trained_here else frozen) or others
    ahead = (
        f"ahead of {_name(rival[0])} by "
        f"{_points(taken, rival[0], gains, measure)}{_size_of(taken, rival[0])}"
    )
    if not taken.trained_here and runs:
        return f"No training is needed: {taken.label}, as it is, is {ahead}."
    return f"Take {_name(taken)}: it is {ahead}."


def _tie(taken: Candidate, level: Sequence[Candidate]) -> list[str]:
    if len(level) < 2:
        return []
    sizes = [
        f"{taken.label} stands beside {one.label}{_size_of(taken, one)}"
        for one in level
        if one is not taken and _size_of(taken, one)
    ]
    return [
        f"Other test images could turn the order of {_listed(level)}.",
        *(f"{size}." for size in sizes),
    ]


def _behind(best, one, gains, measure) -> str:
    return (
        f"{one.label} is behind {best.label} by {_points(best, one, gains, measure)}: "
        f"{percent(one.scores[measure])} against {percent(best.scores[measure])}."
    )


def _points(one, other, gains, measure) -> str:
    difference = signed(one.scores[measure] - other.scores[measure], "share")
    reach = interval(gains[one.name, other.name], "share", signed=True)
    return f"{difference} points ({reach})".replace("+", "")


def _size_of(one: Candidate, other: Candidate) -> str:
    (unit, ours), (theirs_unit, theirs) = one.size, other.size
    if unit != theirs_unit:
        unit, ours, theirs = "in parameters", one.parameters, other.parameters
    if theirs >= SMALLER * ours:
        return f", at 1/{theirs / ours:.2g} of the size {unit}"
    if ours >= SMALLER * theirs:
        return f", at {ours / theirs:.2g} times the size {unit}"
    return ""


def _untaught(candidates: Sequence[Candidate]) -> list[str]:
    return [
        f"{one.label} is not ahead of the same network untrained "
        f"({percent(one.untrained)}; gain {interval(one.gain, 'share', signed=True)} "
        "points): it has learned nothing that shows here."
        for one in candidates
        if one.learned is False
    ]


def _is_collapsed(one: Candidate) -> bool:
    return one.rank_me is not None and one.rank_me < COLLAPSED


def _collapsed(candidates: Sequence[Candidate]) -> list[str]:
    return [
        f"{one.label} gives all images about the same vector (RankMe {one.rank_me:.1f} "
        f"of {one.length})."
        for one in candidates
        if _is_collapsed(one)
    ]


def _otherwise(ranked, best, level) -> list[str]:
    """A linear probe that sees it differently, beyond its interval."""
    if any("linear" not in one.scores for one in ranked):
        return []
    first = max(ranked, key=lambda one: one.scores["linear"])
    theirs, ours = first.intervals.get("linear"), best.intervals.get("linear")
    if first in level or not theirs or not ours or theirs[0] <= ours[1]:
        return []
    return [
        f"A linear classifier sees it otherwise: {percent(first.scores['linear'])} for "
        f"{first.label} against {percent(best.scores['linear'])}. Take {first.label} "
        "where you fit a classifier on its vectors."
    ]


def _labels(taken: Candidate) -> list[str]:
    """Whether more labelled images would help the encoder that is taken."""
    if len(taken.curve) < 2 or taken.curve_gain is None:
        return []
    (half, before), (whole, after) = taken.curve[-2:]
    reach = interval(taken.curve_gain, "share", signed=True)
    points = signed(after - before, "share")
    if taken.curve_gain[0] > 0:
        return [
            f"More labels still help it: from {half:,} to {whole:,} labelled images "
            f"its k-NN accuracy rose by {points.lstrip('+')} points ({reach})."
        ]
    return [
        f"More labels hardly help it: {whole:,} in place of {half:,} labelled images "
        f"changed its k-NN accuracy by {points} points ({reach})."
    ]


def _steps(taken: Candidate, data: str) -> tuple[tuple[str, str], ...]:
    if taken.trained_here:
        return (
            (
                "Hand it over, proven on your images",
                f"python export.py --run_dir={taken.name} --formats all",
            ),
            (
                "Look at what it sees",
                f"python eval.py report --run_dir={taken.name}",
            ),
        )
    return (
        (
            "Teach it to a small encoder for devices, without labels",
            f"python train.py distill folder_edge --data={data} "
            f"--teacher={taken.name} --run_dir=runs/student",
        ),
        (
            "Then ask again",
            f"python eval.py advise --data={data} --candidates {taken.name} "
            "runs/student",
        ),
    )


def _train(data: str) -> tuple[str, str]:
    return (
        "Begin from an encoder that exists",
        "python train.py distill folder_edge --teacher=imagenet:EfficientNetB0 "
        f"--data={data} --run_dir=runs/student",
    )


def _ask_again(data: str, ranked: Sequence[Candidate]) -> tuple[str, str]:
    names = " ".join(["runs/student", *(one.name for one in ranked)])
    return (
        "Then ask again",
        f"python eval.py advise --data={data} --candidates {names}",
    )


def _name(one: Candidate) -> str:
    return f"your run {one.label}" if one.trained_here else one.label


def _listed(candidates: Sequence[Candidate]) -> str:
    names = [one.label for one in candidates]
    if len(names) == 1:
        return names[0]
    return f"{', '.join(names[:-1])} and {names[-1]}"
