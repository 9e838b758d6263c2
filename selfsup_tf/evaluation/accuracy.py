"""Accuracy from scores, and what labels must be like to be scored."""

import numpy as np

from selfsup_tf.errors import check


def top_hits(scores: np.ndarray, labels: np.ndarray, n: int) -> np.ndarray | None:
    """Whether the class of each example is among the `n` with the highest scores.

    Classes with equal scores rank by their number, so that an example is a hit or a
    miss and never half of one.

    Args:
        scores: (N, C), any float type.
        labels: (N,) integers in [0, C).
        n: How many classes count as the answer.

    Returns:
        (N,) bool; None where there are no more than `n` classes: all would be hits
        whatever the scores.
    """
    if n > 1 and scores.shape[1] <= n:
        return None
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    before = np.arange(scores.shape[1])[None, :] < labels[:, None]
    rank = ((scores > own) | ((scores == own) & before)).sum(axis=1)
    return rank < n


def check_labels(
    train_labels: np.ndarray | None, test_labels: np.ndarray | None
) -> int:
    """The number of classes of a labelled train and test set.

    Raises:
        InputError: One has no labels, or they aren't 0, 1, 2, ..., or there is only
            one class.
    """
    for name, labels in (("train", train_labels), ("test", test_labels)):
        check(
            labels is not None,
            f"a labelled {name} set",
            f"a {name} set without labels",
            "This protocol compares with labels; for a folder of images, make one "
            "sub-folder for each class. Without labels there are health, neighbours "
            "and map.",
        )
        check(
            len(labels) > 0,
            f"a {name} set with images",
            "none",
            f"Check what the {name} set was opened from.",
        )
        check(
            labels.min() >= 0,
            f"{name} labels of 0 or more",
            int(labels.min()),
            "Leave out the images without a class.",
        )
    check(
        len(np.unique(train_labels)) > 1,
        "a train set of two or more classes",
        f"only class {train_labels[0]}",
        "A classifier needs something to tell apart.",
    )
    return int(max(train_labels.max(), test_labels.max())) + 1
