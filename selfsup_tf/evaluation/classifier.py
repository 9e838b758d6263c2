"""How often a classifier, encoder and logits in one, is right."""

import dataclasses
from typing import Any

import keras

from selfsup_tf.data.sources import check_labelled, open_source
from selfsup_tf.errors import check
from selfsup_tf.evaluation.classification import Classification, count_answers
from selfsup_tf.evaluation.features import extract_features


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifierResult(Classification):
    """What a classifier got right."""


def classifier_accuracy(
    classifier: keras.Model,
    test: Any,
    *,
    class_names: tuple[str, ...] | None = None,
    batch_size: int = 256,
) -> ClassifierResult:
    """Judges a classifier on every test image, each once.

    Args:
        classifier: float32 [0, 1] (N, S, S, 3) -> logits (N, C).
        test: A labelled Source or (images, labels).
        class_names: What the logits mean; the test set's must be the same.
        batch_size: Images in a call of the classifier.

    Raises:
        InputError: The test set has no labels, or other classes than the classifier.
    """
    source = open_source(test)
    check_labelled(source)
    classes = classifier.output_shape[-1]
    check(
        class_names is None or len(class_names) == classes,
        f"a classifier of the {len(class_names or ())} classes of its run",
        f"a network of {classes} outputs",
        "Name the run's directory, or its classifier.keras.",
    )
    check(
        class_names is None or tuple(source.class_names) == tuple(class_names),
        f"the classes that the classifier tells apart: {_some(class_names or ())}",
        f"{_some(source.class_names)} in {source.name}",
        "Judge it on images of the same classes.",
    )
    check(
        int(source.labels.max()) < classes,
        f"labels below {classes}, the number of the classifier's classes",
        int(source.labels.max()),
        "Judge it on images of the same classes.",
    )
    outputs = extract_features(classifier, source, batch_size=batch_size)
    names = class_names or source.class_names
    return ClassifierResult(**count_answers(outputs.features, outputs.labels, names))


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
