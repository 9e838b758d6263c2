"""Chooses among encoders by labelled images, and says why."""

from collections.abc import Mapping, Sequence

from selfsup_tf.evaluation.advice.candidate import Advice, Candidate, collapse, listed
from selfsup_tf.evaluation.advice.steps import begin, distil, hand_over
from selfsup_tf.evaluation.numbers import gain as signed
from selfsup_tf.evaluation.numbers import interval, percent
from selfsup_tf.evaluation.protocol import Interval

SMALLER = 1.5
"""How many times smaller an encoder is before its size is worth a word."""
FEW_POINTS = 0.01
"""A gain surely below this is hardly one."""

Gains = Mapping[tuple[str, str], Interval]


def advise(
    candidates: Sequence[Candidate], gains: Gains, *, where: Sequence[str]
) -> Advice:
    """Chooses among encoders that were judged on the same labelled images.

    The best by k-NN accuracy is taken, unless others are level with it: of those the
    smallest. Level means that the paired 95 % interval of the difference contains 0.
    Whoever is not ahead of its untrained network is taken only where all are not, and
    then nothing is.

    Args:
        candidates: One or more.
        gains: The interval of the gain in k-NN accuracy of the first name on the
            second, of every pair in either order.
        where: The words of a command that name the images.
    """
    ranked = sorted(candidates, key=lambda one: -one.scores["knn"])
    best = ranked[0]
    level = [best]
    level += [one for one in ranked[1:] if gains[best.name, one.name][0] <= 0]
    size = _Sizes(level)
    taken = min([one for one in level if one.learned is not False] or level, key=size)
    reasons = (
        *_tie(taken, level, size),
        *(_behind(best, one, gains) for one in ranked if one not in level),
        *(_untaught(one) for one in ranked if one.learned is False),
        *(collapse(one) for one in ranked if one.collapsed),
        *_otherwise(ranked, taken),
        *(_lossy(one) for one in level if one.cost.get("int8_faithful") is False),
        *_labels(taken),
    )
    if taken.learned is False:
        steps = begin(where, ranked)
        return Advice(_nothing(best, ranked), reasons, steps, None)
    headline = _headline(taken, level, ranked, gains, size)
    steps = (
        hand_over(taken, where) if taken.trained_here else distil(taken, where, ranked)
    )
    return Advice(headline, reasons, steps, taken.name)


class _Sizes:
    """What encoders weigh, all in one unit: that of their int8 files, or parameters.

    Args:
        level: Those among which the smallest is sought.
    """

    def __init__(self, level: Sequence[Candidate]):
        self._int8 = all(one.cost.get("int8_faithful") for one in level)

    def __call__(self, one: Candidate) -> float:
        return one.cost["int8_bytes"] if self._int8 else one.parameters

    def compare(self, one: Candidate, other: Candidate) -> str:
        """The size of one beside the other's, where they differ enough."""
        unit = "as an int8 file" if self._int8 else "in parameters"
        if self(other) >= SMALLER * self(one):
            return f", at 1/{self(other) / self(one):.2g} of the size {unit}"
        if self(one) >= SMALLER * self(other):
            return f", at {self(one) / self(other):.2g} times the size {unit}"
        return ""


def _nothing(best: Candidate, ranked: Sequence[Candidate]) -> str:
    so_far = "on these images training has shown nothing yet"
    if len(ranked) == 1:
        return f"{best.label} is no better than the same network untrained: {so_far}."
    if all(one.learned is False for one in ranked):
        return f"None of them is better than the same network untrained: {so_far}."
    untaught = "is no better than the same network untrained"
    return f"{best.label} leads, yet {untaught}: {so_far}."


def _headline(taken, level, ranked, gains, size) -> str:
    others = [one for one in ranked if one not in level]
    if len(level) > 1:
        rest = [one for one in level if one is not taken]
        smallest = all(size(taken) * SMALLER <= size(one) for one in rest)
        why = ", the smallest" if smallest else ""
        return f"{listed(level)} are level: take {taken.label}{why}."
    if not others and taken.learned is None:
        return (
            f"Nothing stands beside {taken.label}: name others, or let it be judged "
            "untrained."
        )
    if not others:
        shares = f"{percent(taken.scores['knn'])}, untrained {percent(taken.untrained)}"
        return f"{taken.label} has learned something of these images: k-NN {shares}."
    frozen = [one for one in others if not one.trained_here]
    runs = [one for one in others if one.trained_here]
    # Who has trained wants to know whether that was worth it.
    rival = ((frozen if taken.trained_here else runs) or others)[0]
    compared = _Sizes([taken, rival]).compare(taken, rival)
    ahead = f"ahead of {rival.spoken} by {_points(taken, rival, gains)}{compared}"
    if not taken.trained_here and runs:
        return f"No training is needed: {taken.label}, as it is, is {ahead}."
    return f"Take {taken.spoken}: it is {ahead}."


def _tie(taken: Candidate, level: Sequence[Candidate], size: _Sizes) -> list[str]:
    if len(level) < 2:
        return []
    rest = [(one, size.compare(taken, one)) for one in level if one is not taken]
    return [
        f"Other test images could turn the order of {listed(level)}.",
        *(
            f"{taken.label} stands beside {one.label}{compared}."
            for one, compared in rest
            if compared
        ),
    ]


def _behind(best: Candidate, one: Candidate, gains: Gains) -> str:
    shares = f"{percent(one.scores['knn'])} against {percent(best.scores['knn'])}"
    return (
        f"{one.label} is behind {best.label} by {_points(best, one, gains)}: {shares}."
    )


def _points(one: Candidate, other: Candidate, gains: Gains) -> str:
    difference = signed(one.scores["knn"] - other.scores["knn"], "share")
    reach = interval(gains[one.name, other.name], "share", signed=True)
    return f"{difference} points ({reach})".replace("+", "")


def _untaught(one: Candidate) -> str:
    stands = "worse than" if one.gain[1] < 0 else "not ahead of"
    return (
        f"{one.label} is {stands} the same network untrained "
        f"({percent(one.untrained)}; gain {interval(one.gain, 'share', signed=True)} "
        "points): it has learned nothing that shows here."
    )


def _lossy(one: Candidate) -> str:
    return (
        f"{one.label} loses much as an int8 file (cosine "
        f"{one.cost['int8_cosine']:.2f}), so that its size is counted in parameters."
    )


def _otherwise(ranked: Sequence[Candidate], taken: Candidate) -> list[str]:
    """A linear probe that sees it differently, beyond its interval."""
    first = max(ranked, key=lambda one: one.scores["linear"])
    if first is taken or first.intervals["linear"][0] <= taken.intervals["linear"][1]:
        return []
    return [
        f"A linear classifier sees it otherwise: {percent(first.scores['linear'])} for "
        f"{first.label} against {percent(taken.scores['linear'])} for {taken.label}. "
        f"Take {first.label} where you fit a classifier on its vectors."
    ]


def _labels(taken: Candidate) -> list[str]:
    """Whether more labelled images would help the encoder that is taken."""
    if taken.curve_gain is None:
        return []
    (half, before), (whole, after) = taken.curve[-2:]
    low, high = taken.curve_gain
    said = "can't be told from these images to help it"
    if low > 0:
        said = "still help it"
    elif high < FEW_POINTS:
        said = "hardly help it"
    points = signed(after - before, "share")
    reach = interval(taken.curve_gain, "share", signed=True)
    return [
        f"More labels {said}: {whole:,} in place of {half:,} labelled images changed "
        f"its k-NN accuracy by {points} points ({reach})."
    ]
