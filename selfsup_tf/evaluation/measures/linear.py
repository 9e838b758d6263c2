"""The linear probe: what a linear classifier reads from frozen representations.

Legend: N images, S height and width of the encoder's input, D length of the
representation h, C classes.
"""

import dataclasses
import pathlib
from typing import Any

import keras
import numpy as np

from selfsup_tf.config.checks import check_not_negative, check_positive
from selfsup_tf.data.stored_vectors import StoredVectors
from selfsup_tf.errors import check, check_one_of
from selfsup_tf.evaluation.features import extract_features, open_images, weights_hash
from selfsup_tf.evaluation.measures.classification import (
    Classification,
    check_labels,
    count_answers,
)
from selfsup_tf.evaluation.measures.linear_fit import fit_lbfgs, fit_sgd
from selfsup_tf.shown import brief

SGD = {"epochs": 90, "learning_rate": 0.1, "weight_decay": 0.0}
PRESETS = {
    "lbfgs": {"optimizer": "lbfgs"},
    "simclr": {"optimizer": "sgd", **SGD, "weight_decay": 1e-6},
    "byol": {"optimizer": "sgd", **SGD, "epochs": 80, "learning_rate": 0.2},
}
"""How the papers fit their probes: google-research/simclr README and tf2/run.py;
deepmind-research, byol/configs/eval.py. None has a warm-up; all rates fall by half a
cosine."""

# How far the logit of a class that no image taught lies below all others: its
# probability is e**-30 at most, and int8 need not stretch its range for it.
UNSEEN = 30.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearResult(Classification):
    """The outcome of a linear probe, beside what every classification has.

    Attributes:
        optimizer: lbfgs or sgd.
        num_train: Images the classifier learned from.
        trunk_hash: The encoder's weights, the same before and after.
        fit: How the classifier was fitted. lbfgs: inverse_penalty (C of
            scikit-learn), its accuracy on the split of the train set that chose it,
            the sizes of that split, iterations, whether it converged. sgd: epochs,
            batch_size, learning_rate (after scaling), weight_decay, final train loss.
    """

    optimizer: str
    num_train: int
    trunk_hash: str
    fit: dict[str, Any]

    __repr__ = brief


class TrunkChangedError(RuntimeError):
    """A linear probe changed the weights of the encoder that it was to judge."""


def linear_probe(
    encoder: keras.Model,
    train: Any,
    test: Any,
    *,
    preset: str = "lbfgs",
    batch_size: int = 256,
    seed: int = 0,
    epochs: int | None = None,
    learning_rate: float | None = None,
    weight_decay: float | None = None,
    cache: pathlib.Path | None = None,
) -> LinearResult:
    """Fits a linear classifier to the frozen encoder and judges it on `test`.

    Args:
        encoder: float32 [0, 1] (N, S, S, 3) -> h (N, D). Its weights, BatchNorm's
            statistics included, are the same afterwards.
        train: A labelled Source or (images, labels).
        test: Likewise; used once, at the end, and for no choice.
        preset: Of `PRESETS`. lbfgs fits a logistic regression to the standardised
            representations of the evaluation views (seconds); simclr and byol are the
            papers' protocols, SGD on fresh crops and flips in each epoch (hours).
        batch_size: Images in a call of the encoder; for sgd also in a step. The
            papers' is 4096 (SimCLR) and 1024 (BYOL); the rate follows it.
        seed: Chooses the split (lbfgs), order and crops (sgd).
        epochs: sgd: passes over the train set; None for the preset's, as the next.
        learning_rate: sgd: per 256 images.
        weight_decay: sgd: L2 penalty.
        cache: A folder where representations are kept.

    Raises:
        InputError: No labels, one class, an unknown preset, or an option that can't be.
        TrunkChangedError: The encoder was changed; the numbers would be worthless.

    Reference:
        google-research/simclr README ("Linear evaluation"); google-deepmind
        byol/configs/eval.py.
    """
    check_one_of(preset, PRESETS, "a preset of the linear probe")
    optimizer = PRESETS[preset]["optimizer"]
    given = dict(zip(SGD, (epochs, learning_rate, weight_decay), strict=True))
    given = {name: value for name, value in given.items() if value is not None}
    check(
        optimizer == "sgd" or not given,
        "none of the options of sgd beside lbfgs, which has no epochs and no rate",
        ", ".join(f"{name}={value}" for name, value in given.items()),
        "Leave them out, or choose the preset simclr or byol.",
    )
    check(
        optimizer == "lbfgs" or not isinstance(encoder, StoredVectors),
        f"a network for the preset {preset}, which draws crops",
        "vectors in a file",
        "Use the preset lbfgs.",
    )
    for name, value in (("batch_size", batch_size), *given.items()):
        check_number = check_not_negative if name == "weight_decay" else check_positive
        check_number(name, value)
    train, test = open_images(encoder, train), open_images(encoder, test)
    num_classes = check_labels(train.labels, test.labels)
    before = weights_hash(encoder)
    options = {"batch_size": batch_size, "cache": cache}
    test_features = extract_features(encoder, test, **options)
    if optimizer == "lbfgs":
        features = extract_features(encoder, train, **options)
        classifier, fit = fit_lbfgs(features, num_classes, seed=seed)
    else:
        classifier, fit = fit_sgd(
            encoder,
            train,
            num_classes,
            batch_size=batch_size,
            seed=seed,
            **{name: (SGD | PRESETS[preset] | given)[name] for name in SGD},
        )
    scores = classifier(test_features.features)
    after = weights_hash(encoder)
    if before != after:
        raise TrunkChangedError(
            f"expected the encoder to be frozen; its weights were {before[:12]} before "
            f"the probe and are {after[:12]} after it. A layer of the encoder assigns "
            "to its weights when called with training=False; mend that layer."
        )
    return LinearResult(
        **count_answers(scores, test_features.labels, train.class_names),
        optimizer=optimizer,
        num_train=train.size,
        trunk_hash=before,
        fit=fit,
    )


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
    train = open_images(encoder, train)
    check(
        train.labelled,
        "labelled images for a linear classifier",
        f"{train.name}, which has no labels",
        "Export without a classifier, or name labelled images.",
    )
    features = extract_features(encoder, train, cache=cache)
    num_classes = check_labels(features.labels, features.labels)
    names = tuple(train.class_names or map(str, range(num_classes)))
    fitted, _ = fit_lbfgs(features, len(names), seed=seed)
    kernel, bias = fitted.unstandardised()
    unseen = np.isneginf(bias)
    logits = features.features @ kernel[:, ~unseen] + bias[~unseen]
    bias[unseen] = logits.min() - UNSEEN
    images = keras.Input(encoder.input_shape[1:], name="image")
    dense = keras.layers.Dense(len(names), dtype="float32", name="logits")
    classifier = keras.Model(images, dense(encoder(images)), name="classifier")
    dense.set_weights([kernel, bias])
    return classifier, names
