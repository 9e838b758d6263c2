"""The one way in which a user is told what does not fit."""

import difflib
from collections.abc import Iterable
from typing import Any


class InputError(ValueError):
    """Something the user gave can't be used; the message is all that is shown.

    Args:
        expected: What would have been right, to follow "expected ".
        received: What came instead, to follow "received ".
        advice: What to do about it, a sentence.
    """

    def __init__(self, expected: str, received: Any, advice: str):
        super().__init__(f"expected {expected}; received {received}. {advice}")


def nearest(word: str, words: Iterable[str]) -> str:
    """A sentence that names the member of `words` most like `word`, or all of them."""
    words = sorted(words)
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if close:
        return f"Perhaps you meant: {close[0]}"
    return f"Choose one of: {', '.join(words)}"


def check_one_of(value: Any, members: Iterable[Any], expected: str) -> None:
    """Raises InputError unless `value` is among `members`; the nearest is named."""
    members = list(members)
    if value not in members:
        advice = nearest(str(value), map(str, members))
        raise InputError(expected, repr(value), advice)


def check_pair(one: Any, other: Any) -> None:
    """Raises InputError unless two tensors can be row by row of the same images."""
    ours, theirs = tuple(one.shape), tuple(other.shape)
    pairs = zip(ours, theirs, strict=False)
    check(
        len(ours) == len(theirs) == 2
        and all(a == b or None in (a, b) for a, b in pairs),
        "two tensors of one shape (N, P), row by row of the same images",
        f"{ours} and {theirs}",
        "Give both views of the same batch.",
    )


def check(condition: bool, expected: str, received: Any, advice: str) -> None:
    """Raises InputError unless `condition` holds."""
    if not condition:
        raise InputError(expected, received, advice)
