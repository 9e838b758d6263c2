"""A classifier of images: a frozen encoder and the linear probe on top of it.

Legend: N images, S height and width of the encoder's input, D length of the
representation h, C classes.
"""

import pathlib
from typing import Any

import keras
import numpy as np

from selfsup_tf.data.sources import open_source
from selfsup_tf.errors import check
from selfsup_tf.evaluation.accuracy import check_labels
from selfsup_tf.evaluation.features import extract_features
from selfsup_tf.evaluation.linear import fit_regression

# How far the logit of a class that no image taught lies below all others: its
# probability is e**-30 at most, and int8 need not stretch its range for it.
UNSEEN = 30.0


def linear_classifier(
    encoder: keras.Model,
    train: Any,
    *,
    seed: int = 0,
    cache: pathlib.Path | None = None,
) -> tuple[keras.Model, tuple[str, ...]]:
    """Fits the linear probe (lbfgs) and puts it on top of the encoder.

    Args:
        encoder: float32 [0, 1] (N, S, S, 3) -> h (N, D).
        train: A labelled Source or (images, labels).
        seed: Of the split that chooses the regularisation.
        cache: A folder where representations are kept.

    Returns:
        A model from images, (N, S, S, 3) float32 in [0, 1], to logits (N, C), that
        holds the encoder itself, and the names of the C classes.

    Raises:
        InputError: No labels, or one class.
    """
    train = open_source(train)
    check(
        train.labelled,
        "labelled images for a linear classifier",
        f"{train.name}, which has no labels",
        "Export without a classifier, or name labelled images.",
    )
    features = extract_features(encoder, train, cache=cache)
    num_classes = check_labels(features.labels, features.labels)
    names = tuple(train.class_names or map(str, range(num_classes)))
    mean, std, model, _ = fit_regression(features, seed=seed)
    weights, bias = model.coef_, model.intercept_
    if len(model.classes_) == 2 and len(weights) == 1:
        # One row tells two classes apart: the softmax of (0, z) is the sigmoid of z.
        weights = np.concatenate([np.zeros_like(weights), weights])
        bias = np.array([0.0, bias[0]])
    kernel = np.zeros((features.features.shape[1], len(names)))
    offset = np.zeros(len(names))
    kernel[:, model.classes_] = (weights / std).T
    offset[model.classes_] = bias - weights @ (mean / std)
    logits = features.features @ kernel + offset
    unseen = np.setdiff1d(np.arange(len(names)), model.classes_)
    offset[unseen] = logits[:, model.classes_].min() - UNSEEN
    images = keras.Input(encoder.input_shape[1:], name="image")
    dense = keras.layers.Dense(len(names), dtype="float32", name="logits")
    classifier = keras.Model(images, dense(encoder(images)), name="classifier")
    dense.set_weights([kernel, offset])
    return classifier, names
