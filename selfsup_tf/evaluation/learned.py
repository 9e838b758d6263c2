"""Whether a network has learned the labels that shall judge it: told by names alone."""

import pathlib
import re

from selfsup_tf.config import FROM_PYTHON


def may_have_learned(own: str, data: str) -> bool:
    """Whether a run on the data `own` may have learned from `data`: a part, or all.

    What was given in Python may have been anything.
    """
    from selfsup_tf.data.folders import TEST_SPLITS

    if own == FROM_PYTHON:
        return True
    ours, theirs = (pathlib.Path(d).expanduser().resolve() for d in (own, data))
    if data == own or ours.is_relative_to(theirs):
        return True
    inside = theirs.relative_to(ours).parts if theirs.is_relative_to(ours) else ()
    return bool(inside) and inside[0] not in TEST_SPLITS


def may_have_learned_test(own: str, split: str, data: str) -> bool:
    """Whether a run on a part of `own` may have learned from the test split of `data`.

    Args:
        own: What the run learned from.
        split: Which part of it, such as train, train+test or test[:50%].
        data: What judges the run.
    """
    from selfsup_tf.data.folders import TEST_SPLITS

    ours, theirs = (pathlib.Path(d).expanduser().resolve() for d in (own, data))
    if data == own or ours == theirs:
        return bool({*TEST_SPLITS, "all"} & set(re.findall(r"\w+", split)))
    inside = ours.relative_to(theirs).parts if ours.is_relative_to(theirs) else ()
    return bool(inside) and inside[0] in TEST_SPLITS
