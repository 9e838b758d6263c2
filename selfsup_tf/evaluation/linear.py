"""The linear probe: what a linear classifier reads from frozen representations.

Legend: N images, D length of the representation h, C classes.
"""

import dataclasses
import os
import pathlib
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import sklearn.exceptions
import sklearn.linear_model
import threadpoolctl

from selfsup_tf.data.sources import open_source
from selfsup_tf.errors import check, nearest
from selfsup_tf.evaluation import linear_sgd
from selfsup_tf.evaluation.accuracy import check_labels
from selfsup_tf.evaluation.classification import Classification, count_answers
from selfsup_tf.evaluation.features import (
    Features,
    extract_features,
    weights_hash,
)

INVERSE_PENALTIES = (0.001, 0.01, 0.1, 1.0, 10.0)
CHOICE_SIZE = 10_000
MAX_ITERATIONS = 500
SGD = {"epochs": 90, "learning_rate": 0.1, "weight_decay": 0.0}
PRESETS = {
    "lbfgs": {"optimizer": "lbfgs"},
    "simclr": {"optimizer": "sgd", **SGD, "weight_decay": 1e-6},
    "byol": {"optimizer": "sgd", **SGD, "epochs": 80, "learning_rate": 0.2},
}
"""How the papers fit their probes: google-research/simclr README and tf2/run.py;
deepmind-research, byol/configs/eval.py. None has a warm-up; all rates fall by half a
cosine."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearResult(Classification):
    """What a linear probe measured, beside what every classification does.

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


class TrunkChangedError(RuntimeError):
    """A linear probe changed the weights of the encoder that it was to judge."""


def linear_probe(
    encoder: keras.Model,
    train: Any,
    test: Any,
    *,
    preset: str = "lbfgs",
    optimizer: str | None = None,
    batch_size: int = 256,
    seed: int = 0,
    inverse_penalties: tuple[float, ...] = INVERSE_PENALTIES,
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
        optimizer: lbfgs or sgd; None for the preset's.
        batch_size: Images in a call of the encoder; for sgd also in a step. The
            papers' is 4096 (SimCLR) and 1024 (BYOL); the rate follows it.
        seed: Chooses the split (lbfgs), order and crops (sgd).
        inverse_penalties: lbfgs: candidates for C, of which a split of the train set
            chooses.
        epochs: sgd: passes over the train set; None for the preset's, as the next.
        learning_rate: sgd: per 256 images.
        weight_decay: sgd: L2 penalty.
        cache: A folder where representations are kept.

    Raises:
        InputError: No labels, one class, or an unknown preset or optimizer.
        TrunkChangedError: The encoder was changed; the numbers would be worthless.

    Reference:
        google-research/simclr README ("Linear evaluation"); google-deepmind
        byol/configs/eval.py.
    """
    check(
        preset in PRESETS,
        "a preset of the linear probe",
        repr(preset),
        nearest(str(preset), PRESETS),
    )
    check(
        optimizer in (None, "lbfgs", "sgd"),
        "optimizer to be lbfgs or sgd",
        repr(optimizer),
        nearest(str(optimizer), ("lbfgs", "sgd")),
    )
    optimizer = optimizer or PRESETS[preset]["optimizer"]
    given = {
        "epochs": epochs,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
    }
    given = {name: value for name, value in given.items() if value is not None}
    check(
        optimizer == "sgd" or not given,
        "none of the options of sgd beside lbfgs, which has no epochs and no rate",
        ", ".join(f"{name}={value}" for name, value in given.items()),
        "Leave them out, or choose the preset simclr or byol.",
    )
    train, test = open_source(train), open_source(test)
    before = weights_hash(encoder)
    options = {"batch_size": batch_size, "cache": cache}
    test_features = extract_features(encoder, test, **options)
    if optimizer == "lbfgs":
        features = extract_features(encoder, train, **options)
        num_classes = check_labels(features.labels, test_features.labels)
        num_train = len(features.labels)
        classifier, fit = fit_lbfgs(features, num_classes, inverse_penalties, seed)
    else:
        num_train, num_classes, classifier, fit = linear_sgd.fit_sgd(
            encoder,
            train,
            test_features.labels,
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
        num_train=num_train,
        trunk_hash=before,
        fit=fit,
    )


def choose_inverse_penalty(
    features: np.ndarray,
    labels: np.ndarray,
    candidates: tuple[float, ...] = INVERSE_PENALTIES,
    seed: int = 0,
) -> tuple[float, dict[str, Any]]:
    """C of the logistic regression that does best on a fifth of the train set.

    It sees the train set only. Of a large one it takes 10,000 examples, since the
    best C hardly moves with more of them and the time does. Of equally good values the
    smallest, which is the simplest classifier, is taken.

    Args:
        features: Standardised, (N, D).
        labels: (N,).
        candidates: Values of C.
        seed: Chooses the split.

    Returns:
        C, and what it was chosen by.
    """
    random = np.random.default_rng(seed)
    order = random.permutation(len(labels))[:CHOICE_SIZE]
    held_out = _stratified_fifth(labels[order])
    fit_on, judge_on = order[~held_out], order[held_out]
    best, best_accuracy = min(candidates), None
    if len(judge_on) and len(np.unique(labels[fit_on])) > 1:
        for candidate in sorted(candidates):
            # Loosely fitted: that moves no choice and halves the time.
            model = _logistic_regression(
                features[fit_on], labels[fit_on], candidate, tolerance=1e-3
            )
            accuracy = float(model.score(features[judge_on], labels[judge_on]))
            if best_accuracy is None or accuracy > best_accuracy:
                best, best_accuracy = candidate, accuracy
    return best, {
        "inverse_penalty": best,
        "candidates": sorted(candidates),
        "split_accuracy": best_accuracy,
        "split_fitted": len(fit_on),
        "split_judged": len(judge_on),
    }


def fit_lbfgs(
    features: Features,
    num_classes: int,
    candidates: tuple[float, ...] = INVERSE_PENALTIES,
    seed: int = 0,
) -> tuple[Callable[[np.ndarray], np.ndarray], dict[str, Any]]:
    """Fits a logistic regression to labelled representations, and to nothing else.

    Args:
        features: Of the train set.
        num_classes: C.
        candidates: Values of scikit-learn's C; see `choose_inverse_penalty`.
        seed: Of the split that chooses.

    Returns:
        A function of representations (N, D) to log-odds (N, C), and how it was found.
    """
    mean, std, model, fit = fit_regression(features, candidates, seed)

    def classify(test_features):
        # A class that the train set lacks can't be predicted: its score is the least.
        scores = np.full((len(test_features), num_classes), -np.inf)
        # A probability that underflows has the least score there is, -inf.
        with np.errstate(divide="ignore"):
            scores[:, model.classes_] = model.predict_log_proba(
                (test_features - mean) / std
            )
        return scores

    return classify, fit


def fit_regression(
    features: Features,
    candidates: tuple[float, ...] = INVERSE_PENALTIES,
    seed: int = 0,
) -> tuple[
    np.ndarray, np.ndarray, sklearn.linear_model.LogisticRegression, dict[str, Any]
]:
    """The mean and deviation, (D,) float32, that standardise; the model; its making."""
    mean = features.features.mean(axis=0, dtype=np.float64).astype(np.float32)
    std = features.features.std(axis=0, dtype=np.float64).astype(np.float32)
    # A dimension that never moves says nothing and must not be blown up.
    std = np.where(std > 1e-6, std, 1.0).astype(np.float32)
    standardised = (features.features - mean) / std
    best, fit = choose_inverse_penalty(standardised, features.labels, candidates, seed)
    model = _logistic_regression(standardised, features.labels, best)
    iterations = int(model.n_iter_.max())
    fit |= {"iterations": iterations, "converged": iterations < MAX_ITERATIONS}
    return mean, std, model, fit


def _logistic_regression(features, labels, inverse_penalty, tolerance=1e-4):
    model = sklearn.linear_model.LogisticRegression(
        C=inverse_penalty, solver="lbfgs", max_iter=MAX_ITERATIONS, tol=tolerance
    )
    # A thread of BLAS for each core makes a fit 50 times slower where another program
    # keeps one of the cores busy (measured on 2 cores), so half of them are left free.
    threads = max(1, (os.cpu_count() or 1) // 2)
    with threadpoolctl.threadpool_limits(threads), warnings.catch_warnings():
        # Reported in the result, as `converged`.
        warnings.simplefilter("ignore", sklearn.exceptions.ConvergenceWarning)
        return model.fit(features, labels)


def _stratified_fifth(labels: np.ndarray) -> np.ndarray:
    """Which examples are held out: the last fifth of each class, at least one of two.

    Args:
        labels: (N,) in an order already random.
    """
    held_out = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        (where,) = np.nonzero(labels == label)
        count = max(len(where) // 5, int(len(where) > 1))
        held_out[where[len(where) - count :]] = True
    return held_out
