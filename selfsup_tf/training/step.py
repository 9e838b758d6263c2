"""The training step: the only `@tf.function` that changes weights in pretraining."""

from collections.abc import Callable

import keras
import tensorflow as tf

from selfsup_tf.config import Config, Plan
from selfsup_tf.distribution.replicas import num_replicas, sum_over_replicas
from selfsup_tf.methods import Method
from selfsup_tf.training.optimizers import decay_penalty

METRICS = ("train/loss", "train/representation_std", "finite")


def make_train_steps(
    method: Method,
    optimizer: keras.optimizers.Optimizer,
    config: Config,
    plan: Plan,
) -> Callable:
    """The function that takes several steps in one call of the host.

    Its arguments are a distributed iterator over what the model's inputs name, the
    number of updates done so far, int64, and the number to do, int32. It returns a
    dictionary of float32 vectors, a value for each step: the loss, the spread of the
    representations, 1 where the step was finite, what the method logs, and the seconds
    spent waiting for the batch.
    """
    strategy = tf.distribute.get_strategy()

    def replica_step(batch, wait):
        # Or the clock's last reading queues behind the work that the batch sets off.
        with tf.control_dependencies([wait]):
            inputs = {name: tf.identity(batch[name]) for name in method.model.input}
        return _replica_step(method, optimizer, config, inputs)

    if config.jit_compile:
        replica_step = tf.function(replica_step, jit_compile=True)

    def one_step(iterator, step, previous):
        # The clock starts when the step before has ended, and stops with the batch.
        with tf.control_dependencies([previous]):
            before = tf.timestamp()
        with tf.control_dependencies([before]):
            batch = next(iterator)
        with tf.control_dependencies(tf.nest.flatten(batch, expand_composites=True)):
            wait = tf.timestamp() - before
        per_replica = strategy.run(replica_step, args=(batch, wait))
        # Every replica holds the same sums already.
        metrics = {
            name: strategy.experimental_local_results(value)[0]
            for name, value in per_replica.items()
        }
        metrics |= method.after_update(step, plan.total_steps)
        metrics["wait"] = tf.cast(wait, tf.float32)
        return metrics

    @tf.function
    def train_steps(iterator, first_step, num_steps):
        values = {
            name: tf.TensorArray(tf.float32, num_steps, element_shape=())
            for name in names
        }
        previous = tf.zeros(())
        for i in tf.range(num_steps):
            step = first_step + tf.cast(i, tf.int64)
            metrics = one_step(iterator, step, previous)
            # Unlike the loss, it is known only after the backward pass.
            previous = metrics["finite"]
            values = {
                name: array.write(i, metrics[name]) for name, array in values.items()
            }
        return {name: array.stack() for name, array in values.items()}

    names = [*METRICS, *method.log_names, "wait"]
    return train_steps


def _replica_step(method, optimizer, config, inputs):
    """Forward, backward and update on one replica's part of the batch."""
    variables = method.trainable_variables
    weights = [v.value for v in variables]
    replicas = num_replicas()
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(weights)
        outputs = method.model(inputs, training=True)
        # The gradients are summed over replicas, so each contributes its share of the
        # mean over the global batch.
        loss = tf.reduce_sum(method.compute_loss(outputs)) / config.batch_size
        penalty = decay_penalty(config.optimizer, variables) / replicas
        objective = optimizer.scale_loss(loss + tf.cast(penalty, loss.dtype))
    # That of an embedding, such as a ViT's of positions, comes in slices.
    gradients = tape.gradient(
        objective, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
    norm = tf.linalg.global_norm(gradients)
    optimizer.apply(_reduce(gradients, optimizer, config), variables)
    spreads = [
        representation_std(outputs[name])
        for name in sorted(outputs)
        if name.startswith("representation_")
    ]
    spread = tf.add_n(spreads) / len(spreads)
    sums = sum_over_replicas(
        tf.stack([tf.cast(loss, tf.float32), spread, tf.cast(norm, tf.float32)])
    )
    loss, spread, norm = tf.unstack(sums)
    # With mixed_float16 an overflowing gradient is the loss scale's business.
    watched = loss if config.precision == "mixed_float16" else loss + norm
    finite = tf.cast(tf.math.is_finite(watched), tf.float32)
    return dict(zip(METRICS, (loss, spread / replicas, finite), strict=True))


def _reduce(gradients, optimizer, config):
    """Leaves the sum over replicas to Keras, unless it is needed before the update."""
    clip_norm = config.optimizer.clip_norm
    if clip_norm is None and config.precision != "mixed_float16":
        return gradients
    gradients = [sum_over_replicas(g) for g in gradients]
    if clip_norm is not None:
        limit = optimizer.scale_loss(tf.constant(clip_norm, gradients[0].dtype))
        gradients, _ = tf.clip_by_global_norm(gradients, limit)
    return [g / num_replicas() for g in gradients]


def representation_std(representations: tf.Tensor) -> tf.Tensor:
    """How far the representations of a batch are spread, in [0, 1].

    The standard deviation of the L2-normalised vectors, averaged over the dimensions
    and multiplied by sqrt(D): near 1 when they point everywhere, 0 when all are equal.

    Args:
        representations: h, (N, D), float.

    Returns:
        float32 scalar.

    Reference: Chen and He 2021, "Exploring simple Siamese representation learning",
        section 4.1.
    """
    h = tf.math.l2_normalize(tf.cast(representations, tf.float32), axis=1)
    deviations = tf.math.reduce_std(h, axis=0)
    return tf.reduce_mean(deviations) * tf.sqrt(tf.cast(tf.shape(h)[1], tf.float32))
