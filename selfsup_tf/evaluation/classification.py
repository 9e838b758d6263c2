"""What a classifier got right: in all, class by class, and how sure that is.

Legend: N test images, C classes.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import sklearn.metrics

from selfsup_tf.evaluation.accuracy import top_hits
from selfsup_tf.evaluation.intervals import bootstrap_interval

Interval = tuple[float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classification:
    """The answers of a classifier, counted. A protocol's result extends it once.

    Attributes:
        top_1: Share of test images classified rightly, in [0, 1].
        top_5: Share whose class is among the five first; None for five classes or
            fewer.
        top_1_interval: Where top_1 lies with probability .95, were other test images
            drawn; see `bootstrap_interval`.
        top_5_interval: The same of top_5.
        num_test: N.
        num_classes: C.
        class_names: Of classes 0 to C - 1.
        per_class: For each class name, precision, recall, f1 and support (its test
            images). A class that is never predicted has precision 0, one without
            test images recall 0, as in scikit-learn with zero_division=0.
        confusion: C rows, the true classes, of C counts, the predicted ones.
        per_image: (N,) bool, whether the first answer was right. Not in `to_dict`.
    """

    top_1: float
    top_5: float | None
    top_1_interval: Interval
    top_5_interval: Interval | None
    num_test: int
    num_classes: int
    class_names: tuple[str, ...]
    per_class: tuple[dict[str, Any], ...]
    confusion: tuple[tuple[int, ...], ...]
    per_image: np.ndarray = dataclasses.field(repr=False, compare=False)

    @property
    def score(self) -> float:
        """What two encoders are compared by."""
        return self.top_1

    def columns(self) -> dict[str, float | None]:
        """What a table shows."""
        return {"top-1": self.top_1, "top-5": self.top_5}

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values, but for `per_image`."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name != "per_image"
        }


def count_answers(
    scores: np.ndarray, labels: np.ndarray, class_names: Sequence[str] | None = None
) -> dict[str, Any]:
    """The fields of a `Classification`.

    The answer is the class with the highest score; of equal ones the first.

    Args:
        scores: (N, C), any float type.
        labels: (N,) integers in [0, C).
        class_names: Of the classes; their numbers where there are none. Those beyond
            the names are numbers, too.
    """
    classes = scores.shape[1]
    names = [str(n) for n in range(classes)]
    names[: len(class_names or ())] = map(str, class_names or ())
    names = names[:classes]
    answers = scores.argmax(axis=1)
    hits = {n: top_hits(scores, labels, n) for n in (1, 5)}
    everywhere = {"labels": np.arange(classes)}
    counted = sklearn.metrics.precision_recall_fscore_support(
        labels, answers, zero_division=0, **everywhere
    )
    confusion = sklearn.metrics.confusion_matrix(labels, answers, **everywhere)
    return {
        "top_1": float(hits[1].mean()),
        "top_5": None if hits[5] is None else float(hits[5].mean()),
        "top_1_interval": bootstrap_interval(hits[1]),
        "top_5_interval": None if hits[5] is None else bootstrap_interval(hits[5]),
        "num_test": len(labels),
        "num_classes": classes,
        "class_names": tuple(names),
        "per_class": tuple(
            {
                "name": name,
                "precision": float(precision),
                "recall": float(recall),
                "f1": float(f1),
                "support": int(support),
            }
            for name, precision, recall, f1, support in zip(
                names, *counted, strict=True
            )
        ),
        "confusion": tuple(tuple(map(int, row)) for row in confusion),
        "per_image": hits[1],
    }


def format_classes(per_class: Sequence[dict[str, Any]]) -> str:
    """Precision, recall, F1 and test images of each class, as lines for a terminal."""
    width = max(5, *(len(row["name"]) for row in per_class))
    lines = [f"{'class':{width}}  precision   recall       F1  images"]
    lines += [
        f"{row['name']:{width}}{100 * row['precision']:9.2f} %"
        f"{100 * row['recall']:7.2f} %{100 * row['f1']:7.2f} %{row['support']:8d}"
        for row in per_class
    ]
    return "\n".join(lines)
