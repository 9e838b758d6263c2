"""The gradient of a batch in K micro-batches: mean of small losses, and two passes.

python benchmarks/accumulation.py
python benchmarks/accumulation.py --batch_size=64 --temperature=0.5

SimCLR on the drawn shapes, 32 px, a small network without BatchNorm, float64, one step
from the same weights on the same views. NT-Xent compares an image with all others of
its batch, so that the mean of the losses of micro-batches is another loss: each has
fewer negatives. The columns:

  K         micro-batches, of batch_size / K images
  mean      the gradients of the micro-batches' own losses, averaged: its error beside
            the gradient of the whole batch, |g - g'| / |g'|, its angle to that one
            in degrees, and the loss that it reports
  passes    the same for --accumulate=K, as the training step does it, in two passes

Errors of 1e-10 or less are the rounding of float64.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import selfsup_tf as selfsup
from selfsup_tf.config import OptimizerConfig, make_plan
from selfsup_tf.data.pipeline import training_dataset
from selfsup_tf.distribution.strategy import connect
from selfsup_tf.methods import find_method
from selfsup_tf.training.optimizers import build_optimizer
from selfsup_tf.training.step import make_train_steps

# A step of it moves the weights by the gradient and nothing else.
PLAIN = OptimizerConfig(
    name="sgd",
    learning_rate=1.0,
    scaling="none",
    schedule="constant",
    warmup_epochs=0.0,
    momentum=0.0,
    weight_decay=0.0,
)


def main() -> None:
    """Prints a row for each K."""
    flags = _parse_flags()
    # Every K is a step of its own: that each is traced anew needs no warning.
    tf.get_logger().setLevel("ERROR")
    source = selfsup.open_source("shapes")
    whole_gradient, _, method, batch = _step(flags, source, 1)
    print(
        f"SimCLR, batch {flags.batch_size}, temperature {flags.temperature}, float64; "
        f"|g| = {np.linalg.norm(whole_gradient):.4f}\n"
    )
    print(
        f"{'K':>4}{'mean: error':>14}{'angle':>8}{'loss':>9}"
        f"{'passes: error':>16}{'angle':>8}{'loss':>9}"
    )
    for count in flags.counts:
        row = f"{count:4}"
        mean = _mean_of_small_losses(method, batch, count)
        passes = _step(flags, source, count)[:2]
        for width, (gradient, loss) in zip((14, 16), (mean, passes), strict=True):
            error, angle = _compare(gradient, whole_gradient)
            row += f"{error:{width}.1e}{angle:8.1f}{loss:9.4f}"
        print(row, flush=True)


def _parse_flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batch_size", default=256, type=int)
    parser.add_argument("--temperature", default=0.1, type=float)
    parser.add_argument("--counts", nargs="+", default=[1, 2, 4, 8, 16], type=int)
    return parser.parse_args()


def _make_encoder():
    keras.utils.set_random_seed(1)
    layers = [keras.Input((32, 32, 3))]
    for channels in (16, 32, 64):
        layers.append(keras.layers.Conv2D(channels, 3, strides=2, activation="relu"))
    return keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D()])


def _step(flags, source, count):
    """Gradient and loss of one step in `count` micro-batches; the method, as it was
    before the step, and its batch.
    """
    package = find_method("simclr")
    config = package.recipe("shapes")(
        precision="float64",
        optimizer=PLAIN,
        batch_size=flags.batch_size,
        accumulate=count,
        temperature=flags.temperature,
        projector=(64, 32),
        projector_norm="none",
    )
    plan = make_plan(config, source.size)
    strategy = connect(config)
    encoder = _make_encoder()
    with strategy.scope():
        method = package.load()(config, encoder=encoder)
        method.build()
        optimizer = build_optimizer(config.optimizer, plan, method.trainable_variables)
        train_steps = make_train_steps(method, optimizer, plan)
    dataset = training_dataset(source, config, total_steps=1)
    batches = iter(strategy.experimental_distribute_dataset(dataset))
    before = [v.numpy() for v in method.trainable_variables]
    with strategy.scope():
        metrics = train_steps(batches, tf.constant(0, tf.int64), tf.constant(1))
    gradient = _flat(
        old - v.numpy()
        for old, v in zip(before, method.trainable_variables, strict=True)
    )
    for old, variable in zip(before, method.trainable_variables, strict=True):
        variable.assign(old)
    return gradient, metrics["train/loss"].numpy()[0], method, next(iter(dataset))


def _mean_of_small_losses(method, batch, count):
    """What averaging the micro-batches' own losses would give."""
    weights = [v.value for v in method.trainable_variables]
    views = {name: tf.split(batch[name], count) for name in method.model.input}
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(weights)
        losses = []
        for k in range(count):
            part = {name: values[k] for name, values in views.items()}
            outputs = method.model(part, training=True)
            losses.append(tf.reduce_mean(method.compute_loss(outputs)))
        loss = tf.add_n(losses) / count
    return _flat(g.numpy() for g in tape.gradient(loss, weights)), loss.numpy()


def _flat(arrays):
    return np.concatenate([array.ravel() for array in arrays])


def _compare(gradient, whole):
    """The relative error, and the angle in degrees."""
    norms = np.linalg.norm(gradient) * np.linalg.norm(whole)
    cosine = np.clip(gradient @ whole / norms, -1, 1)
    error = np.linalg.norm(gradient - whole) / np.linalg.norm(whole)
    return error, np.degrees(np.arccos(cosine))


if __name__ == "__main__":
    main()
