"""Linear classifiers of representations: fitted to stored ones, or to fresh crops.

Legend: N images, B images in a step, S height and width of the encoder's input, D
length of the representation h, C classes.
"""

import dataclasses
import math
import os
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import sklearn.exceptions
import sklearn.linear_model
import tensorflow as tf
import threadpoolctl

from selfsup_tf.config import ViewConfig
from selfsup_tf.data import random, views
from selfsup_tf.data.pipeline import BATCHED_PIXELS
from selfsup_tf.data.source import Source
from selfsup_tf.errors import check
from selfsup_tf.evaluation.features import Features, image_size

INVERSE_PENALTIES = (0.001, 0.01, 0.1, 1.0, 10.0)
CHOICE_SIZE = 10_000
MAX_ITERATIONS = 500
# Crop and flip are what is left of SimCLR's view for ImageNet.
CROP_AND_FLIP = ViewConfig(jitter=0.0, grayscale=0.0, blur=0.0)


@dataclasses.dataclass(frozen=True)
class LinearClassifier:
    """Logits of representations: (h - mean) / std times the kernel, plus the bias.

    Attributes:
        mean: (D,) float32.
        std: (D,) float32, above 0.
        kernel: (D, C) float32.
        bias: (C,) float32; -inf for a class that no image taught.
    """

    mean: np.ndarray
    std: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray

    def __call__(self, h: np.ndarray) -> np.ndarray:
        """Logits (N, C) float32 of representations (N, D) float32."""
        return (h - self.mean) / self.std @ self.kernel + self.bias

    def unstandardised(self) -> tuple[np.ndarray, np.ndarray]:
        """Kernel (D, C) and bias (C,), float64, with the same logits of h itself."""
        kernel = self.kernel.astype(np.float64) / self.std[:, None]
        return kernel, self.bias - self.mean @ kernel


def fit_lbfgs(
    features: Features,
    num_classes: int,
    candidates: tuple[float, ...] = INVERSE_PENALTIES,
    seed: int = 0,
) -> tuple[LinearClassifier, dict[str, Any]]:
    """Fits a logistic regression to labelled representations, and to nothing else.

    Args:
        features: Of the train set.
        num_classes: C.
        candidates: Values of scikit-learn's C; see `choose_inverse_penalty`.
        seed: Of the split that chooses.

    Returns:
        The classifier, and how it was found.
    """
    mean = features.features.mean(axis=0, dtype=np.float64).astype(np.float32)
    std = features.features.std(axis=0, dtype=np.float64).astype(np.float32)
    # A dimension that never moves says nothing and must not be blown up.
    std = np.where(std > 1e-6, std, 1.0).astype(np.float32)
    standardised = (features.features - mean) / std
    best, fit = choose_inverse_penalty(standardised, features.labels, candidates, seed)
    model = _logistic_regression(standardised, features.labels, best)
    iterations = int(model.n_iter_.max())
    fit |= {"iterations": iterations, "converged": iterations < MAX_ITERATIONS}
    weights, bias = model.coef_, model.intercept_
    if len(model.classes_) == 2 and len(weights) == 1:
        # One row tells two classes apart: the softmax of (0, z) is the sigmoid of z.
        weights = np.concatenate([np.zeros_like(weights), weights])
        bias = np.array([0.0, bias[0]], bias.dtype)
    # A class that the train set lacks can't be predicted: its score is the least.
    kernel = np.zeros((len(mean), num_classes), weights.dtype)
    offset = np.full(num_classes, -np.inf, bias.dtype)
    kernel[:, model.classes_], offset[model.classes_] = weights.T, bias
    return LinearClassifier(mean, std, kernel, offset), fit


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


def fit_sgd(
    encoder: keras.Model,
    source: Source,
    num_classes: int,
    *,
    batch_size: int,
    epochs: int,
    learning_rate: float,
    weight_decay: float,
    seed: int,
    batched_pixels: int = BATCHED_PIXELS,
) -> tuple[LinearClassifier, dict[str, Any]]:
    """Trains logits, which start at zero, by Nesterov SGD under a cosine schedule.

    The remainder of an epoch that fills no batch is dropped; each epoch has another
    order.

    Args:
        encoder: Called with training=False; no gradient reaches it.
        source: Labelled images.
        num_classes: C.
        batch_size: B.
        epochs: Passes over the train set.
        learning_rate: Per 256 images.
        weight_decay: Times half the squared length of the weights, added to the loss.
        seed: Of order and crops.
        batched_pixels: Up to this many pixels images are cropped as a batch, which is
            faster; beyond, one by one, each of its own size.

    Returns:
        The classifier, and how it was found.

    Raises:
        InputError: A loss that is no number.
    """
    batch_size = min(batch_size, source.size)
    total = epochs * (source.size // batch_size)
    rate = learning_rate * batch_size / 256
    head = keras.layers.Dense(num_classes, kernel_initializer="zeros", dtype="float32")
    head.build((None, encoder.output_shape[-1]))
    optimizer = keras.optimizers.SGD(
        keras.optimizers.schedules.CosineDecay(rate, total), momentum=0.9, nesterov=True
    )
    optimizer.build(head.trainable_variables)
    step = _make_step(encoder, head, optimizer, weight_decay)
    shape = source.image_shape
    whole = shape is not None and shape[0] * shape[1] <= batched_pixels
    crops = _make_crops(source, image_size(encoder), batch_size, seed, whole)
    mean_loss = math.nan
    for epoch in range(epochs):
        losses = [step(batch["image"], batch["label"]) for batch in crops(epoch)]
        mean_loss = float(tf.reduce_mean(losses))
        check(
            math.isfinite(mean_loss),
            "a finite loss of the linear probe",
            f"{mean_loss} in epoch {epoch + 1}",
            "Lower the learning rate; or the encoder's representations are huge.",
        )
    fit = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": rate,
        "weight_decay": weight_decay,
        "steps": total,
        "train_loss": mean_loss,
    }
    kernel, bias = head.get_weights()
    ones = np.ones(len(kernel), np.float32)
    return LinearClassifier(np.zeros_like(ones), ones, kernel, bias), fit


def _make_step(encoder, head, optimizer, weight_decay):
    """An update of `head`, compiled: images (B, S, S, 3), labels (B,) -> mean loss."""

    @tf.function(autograph=False)
    def step(images, labels):
        h = tf.stop_gradient(tf.cast(encoder(images, training=False), tf.float32))
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, head(h))
            loss = tf.reduce_mean(losses)
            penalty = weight_decay * tf.nn.l2_loss(head.kernel)
            objective = loss + penalty
        variables = head.trainable_variables
        gradients = tape.gradient(objective, [v.value for v in variables])
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return loss

    return step


def _make_crops(
    source: Source, size: int, batch_size: int, seed: int, whole: bool
) -> Callable[[int], tf.data.Dataset]:
    """A function of an epoch to its batches of fresh crops.

    They are {"image": (B, S, S, 3) float32 in [0, 1], "label": (B,) int64}.
    """
    view = views.View(CROP_AND_FLIP, size)

    # Traced once, for all epochs; XLA merges the passes over a batch's pixels.
    @tf.function(jit_compile=True, autograph=False)
    def crop_batch(batch, epoch):
        keys = random.image_keys(seed, epoch, batch["index"], 0)
        return {"image": view(batch["image"], keys), "label": batch["label"]}

    @tf.function(autograph=False)
    def crop_one(example, epoch):
        keys = random.image_keys(seed, epoch, example["index"][tf.newaxis], 0)
        crop = view.crop_one(example["image"], keys[0])
        image = view.finish(crop[tf.newaxis], keys)[0]
        return {"image": image, "label": example["label"]}

    @tf.autograph.experimental.do_not_convert
    def crops(epoch):
        number = tf.constant(epoch, tf.int64)
        examples = source.shuffled(seed=seed, epoch=epoch)
        if whole:
            examples = examples.batch(batch_size, drop_remainder=True)
        crop = crop_batch if whole else crop_one
        examples = examples.map(
            lambda example: crop(example, number), num_parallel_calls=tf.data.AUTOTUNE
        )
        if not whole:
            examples = examples.batch(batch_size, drop_remainder=True)
        return examples.prefetch(tf.data.AUTOTUNE)

    return crops
