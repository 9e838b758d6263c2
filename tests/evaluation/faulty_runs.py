"""Two epochs of a recipe with a fault planted: METHOD RECIPE FOLDER FAULT ...

Each run begins as the whole run of the recipe would and is left after two epochs. Its
log lies in FOLDER/FAULT. Run by test_expected.py, in a process of its own.
"""

import contextlib
import dataclasses
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf

import selfsup_tf
from selfsup_tf.evaluation.monitor import hold_out
from selfsup_tf.methods import find_method
from selfsup_tf.training import loop, optimizers, reporting

EPOCHS = 2


class TwoEpochs(Exception):
    """The run is left."""


def leave(networks):
    """A monitor."""
    raise TwoEpochs


def shifted(outputs):
    """The second views of each image's neighbour."""
    rolled = {k: tf.roll(v, 1, axis=0) for k, v in outputs.items() if k.endswith("_2")}
    return outputs | rolled


def one_view(outputs):
    """The first view twice."""
    return outputs | {k: outputs[k[:-1] + "1"] for k in outputs if k.endswith("_2")}


def with_outputs(method_class, change):
    """A method whose loss and log get other outputs."""

    class Faulty(method_class):
        def compute_loss(self, outputs):
            return super().compute_loss(change(outputs))

        def compute_metrics(self, outputs):
            return super().compute_metrics(change(outputs))

    return Faulty


def unnormalised(method_class):
    """NT-Xent of inner products in place of cosines."""

    class Faulty(method_class):
        def compute_loss(self, outputs):
            z = tf.concat([outputs["projection_1"], outputs["projection_2"]], axis=0)
            logits = tf.matmul(z, z, transpose_b=True) / self.config.temperature
            logits = tf.linalg.set_diag(logits, tf.fill([len(z)], -1e9))
            positive = tf.roll(tf.range(len(z)), len(z) // 2, axis=0)
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(positive, logits)
            return tf.add_n(tf.split(loss, 2)) / 2

    return Faulty


def frozen(method_class):
    """Only the heads follow the gradient."""

    class Faulty(method_class):
        @property
        def trainable_variables(self):
            own = {id(v) for v in self.encoder.trainable_variables}
            return [v for v in super().trainable_variables if id(v) not in own]

    return Faulty


FAULTS = {
    "shifted labels": lambda m: with_outputs(m, shifted),
    "one view for both": lambda m: with_outputs(m, one_view),
    "no normalisation of z": unnormalised,
    "a frozen encoder": frozen,
}


def run(method, recipe, fault, folder):
    """Leaves the log of a run in a folder."""
    package = find_method(method)
    config = package.recipe(recipe)(seed=7, knn_epochs=EPOCHS, checkpoint_epochs=EPOCHS)
    if fault == "a rate ten times too high":
        rate = 10 * config.optimizer.learning_rate
        optimizer = dataclasses.replace(config.optimizer, learning_rate=rate)
        config = dataclasses.replace(config, optimizer=optimizer)
    if fault == "decay on BatchNorm":
        for module in (optimizers, reporting):
            module.is_excluded = lambda variable: False
    method_class = FAULTS.get(fault, lambda m: m)(package.load())
    source = selfsup_tf.open_source(config.data)
    source, _ = hold_out(source, config)
    options = {"run_dir": folder, "monitor": leave, "progress": False}
    with contextlib.suppress(TwoEpochs, loop.TrainingDiverged):
        loop.train(method_class(config), source, **options)
    for module in (optimizers, reporting):
        module.is_excluded = IS_EXCLUDED


IS_EXCLUDED = optimizers.is_excluded
method, recipe, out, *faults = sys.argv[1:]
for fault in faults:
    keras.backend.clear_session()
    run(method, recipe, fault, os.path.join(out, fault))
