"""What is a split and what a class: one list of names and one rule for all sources."""

import collections
import re
from collections.abc import Iterable

TRAIN = ("train", "training")
TEST = ("test", "testing", "val", "valid", "validation", "dev")
"""Words for what a network is judged by, the usual ones first."""
_WORDS = (*TRAIN, *TEST, "unlabeled", "unlabelled")


def find_splits(names: Iterable[str]) -> dict[str, str]:
    """Tells which of the names that stand beside each other are splits, if any.

    Names are splits when they are equal, in any case, but for a word: Train and Valid,
    or seg_train and seg_test. One must be to learn from. Unless another is to be judged
    by, all names must be splits: dev and test beside cat are classes, and so are train
    and plane.

    Returns:
        The names by their words. The first is that to learn from, as "train", then come
        those to be judged by, the usual ones first, then others.
    """
    names = list(names)
    for found in _alike(names):
        train = [word for word in TRAIN if word in found]
        if train and (judges_of(found) or len(found) == len(names)):
            return {"train": found.pop(train[0]), **found}
    return {}


def judges_of(words: Iterable[str]) -> tuple[str, ...]:
    """Those words that stand for a split to be judged by, in their order."""
    return tuple(word for word in words if word in TEST)


def is_test(name: str) -> bool:
    """Whether the name of a split, by itself, says that it is to be judged by."""
    return any(re.search(f"(?<![a-z]){w}(?![a-z])", name.lower()) for w in TEST)


def all_like_splits(names: Iterable[str]) -> bool:
    """Whether two names or more would be splits, were there one to learn from."""
    names = list(names)
    return len(names) > 1 and any(len(f) == len(names) for f in _alike(names))


def _alike(names: list[str]) -> list[dict[str, str]]:
    """Names by their words, of each group alike but for those; the largest first."""
    groups = collections.defaultdict(dict)
    for word in _WORDS:
        for name in names:
            before, found, after = name.lower().partition(word)
            if found:
                groups[before, after].setdefault(word, name)
    # Of train and training alone, the one that leaves nothing is meant.
    order = sorted(
        groups, key=lambda around: (-len(groups[around]), len("".join(around)))
    )
    return [groups[around] for around in order]
