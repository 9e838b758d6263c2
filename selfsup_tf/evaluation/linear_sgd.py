"""The linear probe of SimCLR and BYOL: SGD on fresh crops and flips.

Legend: B images in a step, S height and width of the encoder's input, D length of the
representation h, C classes.
"""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from selfsup_tf.config import ViewConfig
from selfsup_tf.data import random, views
from selfsup_tf.data.pipeline import BATCHED_PIXELS
from selfsup_tf.data.source import Source
from selfsup_tf.data.sources import open_source
from selfsup_tf.errors import check
from selfsup_tf.evaluation.accuracy import check_labels
from selfsup_tf.evaluation.features import image_size

# Crop and flip are what is left of SimCLR's view for ImageNet.
CROP_AND_FLIP = ViewConfig(jitter=0.0, grayscale=0.0, blur=0.0)


def fit_sgd(
    encoder: keras.Model,
    train: Any,
    test_labels: np.ndarray | None,
    *,
    batch_size: int,
    epochs: int,
    learning_rate: float,
    weight_decay: float,
    seed: int,
) -> tuple[int, int, Callable[[np.ndarray], np.ndarray], dict[str, Any]]:
    """Trains logits, which start at zero, by Nesterov SGD under a cosine schedule.

    The remainder of an epoch that fills no batch is dropped; each epoch has another
    order.

    Args:
        encoder: Called with training=False; no gradient reaches it.
        train: A labelled Source or (images, labels).
        test_labels: Only to count the classes.
        batch_size: B.
        epochs: Passes over the train set.
        learning_rate: Per 256 images.
        weight_decay: Times half the squared length of the weights, added to the loss.
        seed: Of order and crops.

    Returns:
        The number of train images, C, a function of features (N, D) to logits (N, C),
        and how it was found.

    Raises:
        InputError: No labels, one class, or a loss that is no number.
    """
    source = open_source(train)
    num_classes = check_labels(source.labels, test_labels)
    check(epochs >= 1, "epochs of 1 or more", epochs, "SimCLR's protocol has 90.")
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
    crops = _make_crops(source, image_size(encoder), batch_size, seed)
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
    return source.size, num_classes, lambda features: head(features).numpy(), fit


def _make_step(encoder, head, optimizer, weight_decay):
    """An update of `head`, compiled: images (B, S, S, 3), labels (B,) -> mean loss."""

    @tf.function
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
    source: Source, size: int, batch_size: int, seed: int
) -> Callable[[int], tf.data.Dataset]:
    """A function of an epoch to its batches of fresh crops.

    They are {"image": (B, S, S, 3) float32 in [0, 1], "label": (B,) int64}.
    """
    view = views.View(CROP_AND_FLIP, size)

    # Traced once, for all epochs; XLA merges the passes over a batch's pixels.
    @tf.function(jit_compile=True)
    def crop_batch(batch, epoch):
        keys = random.image_keys(seed, epoch, batch["index"], 0)
        return {"image": view(batch["image"], keys), "label": batch["label"]}

    @tf.function
    def crop_one(example, epoch):
        keys = random.image_keys(seed, epoch, example["index"][tf.newaxis], 0)
        crop = view.crop_one(example["image"], keys[0])
        image = view.finish(crop[tf.newaxis], keys)[0]
        return {"image": image, "label": example["label"]}

    shape = source.image_shape
    whole = shape is not None and shape[0] * shape[1] <= BATCHED_PIXELS

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
