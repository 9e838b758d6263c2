"""What a classifier got right: in all, class by class, and how sure that is.

Legend: N test images, C classes.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from selfsup_tf.data.source import Source
from selfsup_tf.data.sources import check_labelled
from selfsup_tf.errors import check
from selfsup_tf.evaluation.features import extract_features, open_images
from selfsup_tf.evaluation.measures.intervals import Scored, bootstrap_interval
from selfsup_tf.evaluation.protocol import Interval
from selfsup_tf.shown import brief


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classification(Scored):
    """The answers of a classifier, counted. A protocol's result extends it once.

    Attributes:
        top_1: Share of test images classified rightly, in [0, 1].
        top_5: Share whose class is among the five first; None for five classes or
            fewer. Of classes with equal scores each has its part of a place, see
            `top_hits`.
        top_1_interval: Where top_1 lies with probability .95, were other test images
            drawn; see `bootstrap_interval`.
        top_5_interval: The same of top_5.
        num_test: N.
        num_classes: C.
        class_names: Of classes 0 to C - 1.
        per_class: For each class name, precision, recall, f1 and support (its test
            images). A class that is never predicted has precision 0, one without
            test images recall 0, as in scikit-learn with zero_division=0.
        confusion: C rows, the true classes, of C counts, the predicted ones. An image
            whose first classes have equal scores counts in parts, for each of them.
        per_image: (N,) float64, whether the first answer was right: 1, 0 or a part.
    """

    top_1: float
    top_5: float | None
    top_1_interval: Interval
    top_5_interval: Interval | None
    num_test: int
    num_classes: int
    class_names: tuple[str, ...]
    per_class: tuple[dict[str, Any], ...]
    confusion: tuple[tuple[int | float, ...], ...]

    __repr__ = brief


def count_answers(
    scores: np.ndarray, labels: np.ndarray, class_names: Sequence[str] | None = None
) -> dict[str, Any]:
    """The fields of a `Classification`.

    The answer is the class with the highest score, in parts where several have it, so
    that no number depends on how the classes are numbered.

    Args:
        scores: (N, C), any float type; -inf is no answer.
        labels: (N,) integers in [0, C).
        class_names: Of the classes; their numbers where there are none. Those beyond
            the names are numbers, too.
    """
    classes = scores.shape[1]
    names = [str(n) for n in range(classes)]
    names[: len(class_names or ())] = map(str, class_names or ())
    names = names[:classes]
    hits = {n: top_hits(scores, labels, n) for n in (1, 5)}
    best = scores == scores.max(axis=1, keepdims=True)
    confusion = np.zeros((classes, classes))
    np.add.at(confusion, labels, best / best.sum(axis=1, keepdims=True))
    if not best.sum(axis=1).max() > 1:
        confusion = confusion.astype(np.int64)
    right, answered = confusion.diagonal(), confusion.sum(axis=0)
    support = np.bincount(labels, minlength=classes)
    counted = (
        right / np.maximum(answered, 1e-12),
        right / np.maximum(support, 1),
        2 * right / np.maximum(answered + support, 1e-12),
        support,
    )
    rows = zip(names, *(column.tolist() for column in counted), strict=True)
    keys = ("name", "precision", "recall", "f1", "support")
    return {
        "top_1": float(hits[1].mean()),
        "top_5": None if hits[5] is None else float(hits[5].mean()),
        "top_1_interval": bootstrap_interval(hits[1]),
        "top_5_interval": None if hits[5] is None else bootstrap_interval(hits[5]),
        "num_test": len(labels),
        "num_classes": classes,
        "class_names": tuple(names),
        "per_class": tuple(dict(zip(keys, row, strict=True)) for row in rows),
        "confusion": tuple(map(tuple, confusion.tolist())),
        "per_image": hits[1],
    }


def classifier_accuracy(
    classifier: keras.Model,
    test: Any,
    *,
    class_names: tuple[str, ...] | None = None,
    batch_size: int = 256,
    partly: bool = False,
) -> Classification:
    """Judges a classifier on every test image, each once.

    Args:
        classifier: float32 [0, 1] (N, S, S, 3) -> logits (N, C).
        test: A labelled Source or (images, labels).
        class_names: What the logits mean; the test set's must be the same.
        batch_size: Images in a call of the classifier.
        partly: Whether the test set may lack the last of classes that are numbers.

    Raises:
        InputError: The test set has no labels, or other classes than the classifier.
    """
    source = open_images(classifier, test)
    check_labelled(source)
    classes = classifier.output_shape[-1]
    check(
        class_names is None or len(class_names) == classes,
        f"a classifier of the {len(class_names or ())} classes of its run",
        f"a network of {classes} outputs",
        "Name the run's directory, or its classifier.keras.",
    )
    if class_names is not None:
        check_classes(source, class_names, partly=partly)
    check(
        int(source.labels.max()) < classes,
        f"labels below {classes}, the number of the classifier's classes",
        int(source.labels.max()),
        "Judge it on images of the same classes.",
    )
    outputs = extract_features(classifier, source, batch_size=batch_size)
    names = class_names or source.class_names
    return Classification(**count_answers(outputs.features, outputs.labels, names))


def check_classes(
    test: Source, class_names: Sequence[str], *, partly: bool = False
) -> None:
    """Raises InputError where test images have other classes than a classifier.

    `partly` allows that of classes that are numbers the last are missing.
    """
    known, asked = tuple(class_names), tuple(test.class_names)
    partly = partly and known == tuple(map(str, range(len(known))))
    check(
        asked == (known[: len(asked)] if partly else known),
        f"the classes that the classifier tells apart: {_some(known)}",
        f"{_some(asked)} in {test.name}",
        "Judge it on images of the same classes.",
    )


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def top_hits(scores: np.ndarray, labels: np.ndarray, n: int) -> np.ndarray | None:
    """Whether the class of each example is among the `n` with the highest scores.

    Where classes with equal scores share the last places, each of them is a hit by its
    part: 2 places among 5 classes are .4, the expectation over their orders. A class
    whose score is -inf is none.

    Args:
        scores: (N, C), any float type.
        labels: (N,) integers in [0, C).
        n: How many classes count as the answer.

    Returns:
        (N,) float64 in [0, 1]; None where there are no more than `n` classes: all would
        be hits whatever the scores.
    """
    if n > 1 and scores.shape[1] <= n:
        return None
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    places = n - (scores > own).sum(axis=1)
    hits = np.clip(places / np.maximum((scores == own).sum(axis=1), 1), 0, 1)
    return np.where(np.isneginf(own[:, 0]), 0.0, hits)


def check_labels(
    train_labels: np.ndarray | None,
    test_labels: np.ndarray | None,
    *,
    names: tuple[str, str] = ("train", "test"),
) -> int:
    """The number of classes of a labelled train and test set.

    Raises:
        InputError: One has no labels, or they aren't 0, 1, 2, ..., or there is only
            one class.
    """
    for name, labels in zip(names, (train_labels, test_labels), strict=True):
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
        f"a {names[0]} set of two or more classes",
        f"only class {train_labels[0]}",
        "Of one class any answer would be right.",
    )
    return int(max(train_labels.max(), test_labels.max())) + 1
