"""The training step: the only `@tf.function` that changes weights in pretraining."""

from collections.abc import Callable, Iterator

import keras
import tensorflow as tf

from selfsup_tf.config import Plan
from selfsup_tf.data.pipeline import training_dataset
from selfsup_tf.data.source import Source
from selfsup_tf.data.views import draw_views
from selfsup_tf.distribution.determinism import clock_is_allowed
from selfsup_tf.distribution.replicas import (
    gather,
    num_replicas,
    sum_over_replicas,
)
from selfsup_tf.distribution.strategy import always_compiles
from selfsup_tf.errors import check
from selfsup_tf.methods import Method
from selfsup_tf.models.rematerialisation import rematerialised
from selfsup_tf.models.started import rate_factors
from selfsup_tf.training.accumulation import accumulate
from selfsup_tf.training.optimizers import build_optimizer, decay_penalty
from selfsup_tf.training.spread import moments, spread

METRICS = ("train/loss", "train/representation_std", "finite")


def build(
    method: Method,
    plan: Plan,
    rate: keras.optimizers.schedules.LearningRateSchedule | None = None,
) -> keras.optimizers.Optimizer:
    """Builds a method in the strategy in force, and its optimizer, which it returns.

    `rate` stands in place of the plan's. A model that takes other views than the
    config draws raises InputError.
    """
    config = method.config
    method.build()
    drawn = config.drawn_views
    taken = sorted(name for name in method.model.input if name.startswith("view_"))
    check(
        taken == sorted(drawn),
        f"a model with the inputs {', '.join(drawn)}, the views of the config",
        f"one with {', '.join(taken) or 'no view'}",
        f"Build the model of {type(method).__name__} from config.drawn_views.",
    )
    return build_optimizer(
        config.optimizer,
        plan,
        method.trainable_variables,
        method.unadapted_variables,
        scaled=config.precision == "mixed_float16",
        rate=rate,
        factors=rate_factors(method.encoder, config) if method.start else None,
    )


def make_train_steps(
    method: Method, optimizer: keras.optimizers.Optimizer, plan: Plan
) -> Callable:
    """The function that takes several steps in one call of the host.

    Its arguments are what `distributed_batches` gives, the number of updates done so
    far, int64, and the number to do, int32. It returns a dictionary of vectors, a value
    for each step, float32 (float64 in a float64 run): the loss, the spread of the
    representations, 1 where the step was finite, what the method logs, and, where the
    clock may be read, the seconds spent waiting for the batch.
    """
    config, strategy = method.config, tf.distribute.get_strategy()
    replica = Replica(method, optimizer)
    dtype = tf.float64 if config.precision == "float64" else tf.float32

    def on_replicas(function):
        compiled = function
        if config.jit_compile and not always_compiles(strategy):
            compiled = tf.function(function, jit_compile=True, autograph=False)
        return lambda *values: strategy.run(compiled, args=values)

    if config.accumulate > 1:
        take_step = accumulate(replica, config.accumulate, on_replicas)
    else:
        take_step = on_replicas(replica.step)

    @tf.autograph.experimental.do_not_convert  # as Keras's own step; it takes seconds
    def one_step(iterator, step, previous):
        # The clock starts when the step before has ended, and stops with the batch.
        with tf.control_dependencies([previous]):
            before = now()
        with tf.control_dependencies([before]):
            batch = next(iterator)
        with tf.control_dependencies(tf.nest.flatten(batch, expand_composites=True)):
            wait = now() - before
        # Every replica holds the same sums and the same outputs of all already.
        metrics, watched = (
            {
                name: strategy.experimental_local_results(value)[0]
                for name, value in per_replica.items()
            }
            for per_replica in take_step(batch, wait)
        )
        metrics |= method.after_update(step, plan.total_steps, watched)
        metrics["wait"] = wait
        return {name: tf.cast(metrics[name], dtype) for name in names}

    @tf.function
    def train_steps(iterator, first_step, num_steps):
        values = {
            name: tf.TensorArray(dtype, num_steps, element_shape=()) for name in names
        }
        previous = tf.zeros((), dtype)
        for i in tf.range(num_steps):
            step = first_step + tf.cast(i, tf.int64)
            metrics = one_step(iterator, step, previous)
            # Unlike the loss, it is known only after the backward pass.
            previous = metrics["finite"]
            values = {
                name: array.write(i, metrics[name]) for name, array in values.items()
            }
        return {name: array.stack() for name, array in values.items()}

    names = [*METRICS, *method.log_names, *(["wait"] if clock_is_allowed() else [])]
    now = tf.timestamp if "wait" in names else lambda: tf.zeros((), tf.float64)
    return train_steps


def distributed_batches(
    strategy: tf.distribute.Strategy,
    source: Source,
    method: Method,
    plan: Plan,
    start_step: int = 0,
) -> Iterator:
    """What the replicas of this process take, step by step, on their devices already.

    Args:
        strategy: In force.
        source: Images.
        method: Built; its model's inputs say what a batch holds.
        plan: Of the run.
        start_step: The step to begin with.
    """

    def read(context):
        return training_dataset(
            source,
            method.config,
            start_step=start_step,
            total_steps=plan.total_steps,
            inputs=method.model.input,
            context=context,
        )

    return iter(strategy.distribute_datasets_from_function(read))


class Replica:
    """What one replica does in a step. All of it compiles for XLA."""

    def __init__(self, method: Method, optimizer: keras.optimizers.Optimizer):
        self.method, self.optimizer = method, optimizer
        self.config = config = method.config
        self.model = rematerialised(method.model) if config.remat else method.model
        self.variables = method.trainable_variables

    @property
    def weights(self) -> list[tf.Variable]:
        """Its own variables that follow the gradient."""
        return [v.value for v in self.variables]

    def received(
        self, batch: dict[str, tf.Tensor], wait: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """The batch, of static size, after the clock that timed its arrival was read.

        Its last reading would else queue behind the work that the batch sets off. With
        several workers TensorFlow forgets how many images each of them gets.
        """
        size = self.config.batch_size // num_replicas()
        with tf.control_dependencies([wait]):
            return {
                name: tf.ensure_shape(value, [size, *value.shape[1:]])
                for name, value in batch.items()
            }

    def inputs(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """What the model takes; views that the host has not drawn are drawn here."""
        names = self.method.model.input
        drawn = {
            name: view
            for name, view in self.config.drawn_views.items()
            if name in names and name not in batch
        }
        batch = batch | draw_views(batch, drawn, seed=self.config.seed)
        return {name: batch[name] for name in names}

    def step(
        self, batch: dict[str, tf.Tensor], wait: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        """Forward, backward and update on this replica's part of the batch.

        Returns:
            What `update` and `watched` return.
        """
        batch = self.received(batch, wait)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            weights = self.weights
            tape.watch(weights)
            outputs = self.model(self.inputs(batch), training=True)
            loss = self.share_of_loss(outputs)
            objective = self.objective(loss)
        gradients = self.gradients(tape, objective, weights)
        metrics = self.update(gradients, loss, self.moments(outputs))
        return metrics, self.watched(outputs)

    def share_of_loss(self, outputs: dict[str, tf.Tensor]) -> tf.Tensor:
        """What these images add to the mean of the loss over the global batch."""
        return tf.reduce_sum(self.method.compute_loss(outputs)) / self.config.batch_size

    def objective(self, loss: tf.Tensor) -> tf.Tensor:
        """What is differentiated: loss and coupled decay, scaled for float16.

        The gradients are summed over replicas and micro-batches, so that each brings
        its share of the decay.
        """
        penalty = decay_penalty(self.config.optimizer, self.variables)
        penalty /= num_replicas() * self.config.accumulate
        return self.optimizer.scale_loss(loss + tf.cast(penalty, loss.dtype))

    def gradients(
        self, tape: tf.GradientTape, objective: tf.Tensor, weights: list[tf.Variable]
    ) -> list[tf.Tensor]:
        """Dense gradients: that of an embedding, such as a ViT's, comes in slices."""
        gradients = tape.gradient(
            objective, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        return [tf.convert_to_tensor(gradient) for gradient in gradients]

    def moments(self, outputs: dict[str, tf.Tensor]) -> list[tf.Tensor]:
        """Of each view's representations, what `spread` needs of these images."""
        return [
            moments(outputs[name])
            for name in sorted(outputs)
            if name.startswith("representation_")
        ]

    def watched(self, outputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The outputs that the method watches, (G, ...), the same on every replica.

        Args:
            outputs: Of this replica's images, (N, ...), micro-batch after micro-batch.

        Returns:
            Those of all images, in the order in which a single replica has them.
        """
        return {
            name: _of_all(outputs[name], self.config.accumulate)
            for name in self.method.watched_outputs
        }

    def update(
        self, gradients: list[tf.Tensor], loss: tf.Tensor, moments: list[tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Changes the weights; returns the metrics, the same on every replica."""
        config = self.config
        norm = tf.linalg.global_norm(gradients)
        self.optimizer.apply(_reduce(gradients, self.optimizer, config), self.variables)
        loss, norm, *moments = sum_over_replicas([loss, norm, *moments])
        spreads = [spread(sums, config.batch_size) for sums in moments]
        # With mixed_float16 an overflowing gradient is the loss scale's business.
        watched = loss if config.precision == "mixed_float16" else loss + norm
        finite = tf.math.is_finite(watched)
        metrics = (loss, tf.add_n(spreads) / len(spreads), finite)
        return {
            name: tf.cast(value, loss.dtype)
            for name, value in zip(METRICS, metrics, strict=True)
        }


def _reduce(gradients, optimizer, config):
    """Leaves the sum over replicas to Keras, unless it is needed before the update."""
    clip_norm = config.optimizer.clip_norm
    if clip_norm is None and config.precision != "mixed_float16":
        return gradients
    gradients = sum_over_replicas(gradients)
    if clip_norm is not None:
        limit = optimizer.scale_loss(tf.constant(clip_norm, gradients[0].dtype))
        gradients, _ = tf.clip_by_global_norm(gradients, limit)
    return [g / num_replicas() for g in gradients]


def _of_all(values, micro_batches):
    """The values of all replicas: by micro-batch, by replica, by image."""
    parts = tf.reshape(gather(values), [num_replicas(), micro_batches, -1])
    parts = tf.transpose(parts, [1, 0, 2])
    return tf.reshape(parts, [num_replicas() * values.shape[0], *values.shape[1:]])
