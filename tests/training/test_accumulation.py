"""Micro-batches: the gradient of the whole batch, and what BatchNorm makes of it."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from selfsup_tf.config import make_plan
from selfsup_tf.data.pipeline import training_dataset
from selfsup_tf.data.sources import open_source
from selfsup_tf.distribution.strategy import connect
from selfsup_tf.methods import find_method
from selfsup_tf.training.optimizers import build_optimizer
from selfsup_tf.training.step import make_train_steps

COUNT, SIZE = 8, 16


def make_encoder(*, norm, dropout=0.0):
    """A little network, with or without BatchNorm and dropout."""
    keras.utils.set_random_seed(3)
    layers = [
        keras.Input((16, 16, 3)),
        keras.layers.Conv2D(6, 3, strides=2, activation="relu"),
        *([keras.layers.BatchNormalization()] if norm else []),
        *([keras.layers.Dropout(dropout, seed=5)] if dropout else []),
        keras.layers.Conv2D(8, 3, strides=2),
        keras.layers.GlobalAveragePooling2D(),
    ]
    return keras.Sequential(layers)


class Step:
    """One step from the same weights on the same images, float64."""

    def __init__(self, config, encoder, images):
        source = open_source(images)
        plan = make_plan(config, source.size)
        strategy = connect(config)
        keras.utils.set_random_seed(0)
        with strategy.scope():
            self.method = find_method(config.method).load()(config, encoder=encoder)
            self.method.prepare(source)
            self.method.build()
            optimizer = build_optimizer(
                config.optimizer, plan, self.method.trainable_variables
            )
            steps = make_train_steps(self.method, optimizer, plan)
        dataset = training_dataset(
            source, config, total_steps=1, inputs=self.method.model.input
        )
        self.batch = next(iter(dataset))
        self.model = self.method.model
        self.before = [v.numpy() for v in self.model.variables]
        start = [v.numpy() for v in self.method.trainable_variables]
        batches = iter(strategy.experimental_distribute_dataset(dataset))
        with strategy.scope():
            metrics = steps(batches, tf.constant(0, tf.int64), tf.constant(1))
        self.loss = metrics["train/loss"].numpy()[0]
        self.metrics = [metrics[n].numpy()[0] for n in self.method.metric_names]
        self.spread = metrics["train/representation_std"].numpy()[0]
        self.gradients = [
            a - v.numpy()
            for a, v in zip(start, self.method.trainable_variables, strict=True)
        ]
        self.state = [v.numpy() for v in self.model.non_trainable_variables]

    def restart(self):
        """Brings back the weights from before the step."""
        for variable, value in zip(self.model.variables, self.before, strict=True):
            variable.assign(value)


def assert_equal(found, expected, rtol):
    """Beside the largest number of each array: a bias before a norm has none."""
    for a, b in zip(found, expected, strict=True):
        scale = max(np.abs(b).max(), 1e-3)
        np.testing.assert_allclose(a, b, rtol=0, atol=rtol * scale)


@pytest.mark.parametrize("name", ["simclr", "barlow", "vicreg", "finetune"])
def test_without_batchnorm_it_is_the_whole_batch(
    name, plain_sgd, tiny_config, few_images
):
    """In two passes where images look at each other, in one where they don't.

    The coupled decay, a part of the gradient, is counted once.
    """
    decayed = dataclasses.replace(plain_sgd, weight_decay=0.1)
    options = {
        "simclr": {"projector_norm": "none"},
        **{wide: {"projector": (8,)} for wide in ("barlow", "vicreg")},
    }.get(name, {})
    steps = [
        Step(
            tiny_config(
                name,
                precision="float64",
                optimizer=decayed,
                batch_size=SIZE,
                accumulate=count,
                **options,
            ),
            make_encoder(norm=False),
            few_images,
        )
        for count in (1, COUNT)
    ]
    whole, parts = steps
    assert parts.loss == pytest.approx(whole.loss, rel=1e-12)
    assert parts.spread == pytest.approx(whole.spread, rel=1e-12)
    assert parts.metrics == pytest.approx(whole.metrics, rel=1e-12)
    assert max(np.abs(g).max() for g in whole.gradients) > 1e-3
    assert_equal(parts.gradients, whole.gradients, 1e-10)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("name", ["byol", "finetune", "simclr"])
def test_with_batchnorm_it_is_its_definition(
    name, dropout, plain_sgd, tiny_config, few_images
):
    """Each micro-batch through the model by itself, one loss of all outputs.

    The moving statistics take one step, by the mean of those of the micro-batches; a
    dropout draws on from micro-batch to micro-batch.
    """
    config = tiny_config(
        name,
        precision="float64",
        optimizer=plain_sgd,
        batch_size=SIZE,
        accumulate=4,
    )
    step = Step(config, make_encoder(norm=True, dropout=dropout), few_images)
    step.restart()
    model, method = step.model, step.method
    inputs = {n: tf.split(step.batch[n], 4) for n in model.input}
    state = [v.value for v in model.non_trainable_variables]
    parts, statistics = [], []
    with tf.GradientTape() as tape:
        for k in range(4):
            outputs, new = model.stateless_call(
                [v.value for v in model.trainable_variables],
                state,
                {n: values[k] for n, values in inputs.items()},
                training=True,
            )
            parts.append(outputs)
            statistics.append([np.asarray(value) for value in new])
            state = [
                old if v.dtype == "float64" else value
                for v, old, value in zip(
                    model.non_trainable_variables, state, new, strict=True
                )
            ]
        whole = {n: tf.concat([p[n] for p in parts], axis=0) for n in parts[0]}
        loss = tf.reduce_mean(method.compute_loss(whole))
    gradients = tape.gradient(loss, [v.value for v in method.trainable_variables])
    assert step.loss == pytest.approx(loss.numpy(), rel=1e-12)
    metrics = [tf.reduce_mean(m) for m in method.compute_metrics(whole).values()]
    assert step.metrics == pytest.approx(metrics, rel=1e-12)
    assert_equal(step.gradients, [g.numpy() for g in gradients], 1e-10)
    for found, *each in zip(step.state, *statistics, strict=True):
        if found.dtype == np.float64:
            np.testing.assert_allclose(found, np.mean(each, axis=0), rtol=1e-12)
        else:
            np.testing.assert_array_equal(found, each[-1])
    assert 0 < step.spread < 1


def test_a_batch_that_cannot_be_parted_is_refused(tiny_config):
    with pytest.raises(ValueError, match=r"accumulate=3; received 16.*15 and 18"):
        tiny_config("simclr", accumulate=3)
