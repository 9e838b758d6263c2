"""Says of encoders what can be said without labels: which are ruled out."""

import shlex
from collections.abc import Sequence

from selfsup_tf.commands import spelled
from selfsup_tf.evaluation.advice.candidate import Advice, Candidate, collapse, listed
from selfsup_tf.evaluation.numbers import percent

EASY = 0.95
"""Copies that even untrained networks find, from which on they tell nothing."""


def advise_unlabelled(candidates: Sequence[Candidate]) -> Advice:
    """Says what can be said without labels: which encoders are ruled out.

    Ruled out is who has collapsed, or finds fewer copies than the same network
    untrained, beyond the 95 % interval of the difference.

    Args:
        candidates: One or more, whose scores hold "copies".
    """
    ranked = sorted(candidates, key=lambda one: -one.scores["copies"])
    out = [one for one in ranked if one.collapsed or (one.gain and one.gain[1] < 0)]
    left = [one for one in ranked if one not in out]
    untrained = [one.untrained for one in ranked if one.untrained is not None]
    easy = bool(untrained) and min(untrained) >= EASY
    reasons = (
        *map(_copies, ranked),
        *(collapse(one) for one in ranked if one.collapsed),
        *(
            f"{one.label} is not told from the same network untrained."
            for one in left
            if one.learned is False
        ),
        *(
            ["Even untrained networks find the copies here, so that they tell little."]
            if easy
            else []
        ),
        "To find copies is what SimCLR and BYOL train for, so it favours them; it does "
        "not say that images of a kind lie together.",
    )
    names = " ".join(shlex.quote(one.name) for one in candidates)
    step = (
        "Sort some images into folders, ten of each kind are a beginning: "
        "FOLDER/KIND/*.jpg; then ask again",
        f"{spelled('eval')} advise --data=FOLDER --candidates {names}",
    )
    return Advice(f"Without labels: {_ruled_out(out, left)}.", reasons, (step,), None)


def _ruled_out(out: Sequence[Candidate], left: Sequence[Candidate]) -> str:
    if not left:
        return f"{listed(out)} can be ruled out, and nothing is left"
    if out and len(left) > 1:
        best = f"which of {listed(left)} is best only labels can say"
        return f"{listed(out)} can be ruled out; {best}"
    if out:
        return f"{listed(out)} can be ruled out, {left[0].label} not"
    if len(left) > 1:
        return "nothing rules one of them out, and nothing says which is best"
    return f"nothing speaks against {left[0].label}"


def _copies(one: Candidate) -> str:
    found = f"{one.label} finds the altered copy of an image in "
    found += f"{percent(one.scores['copies'])} of all cases"
    if one.untrained is None:
        return f"{found}."
    return f"{found}, the same network untrained in {percent(one.untrained)}."
