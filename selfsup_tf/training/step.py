"""The training step: the only `@tf.function` that changes weights in pretraining."""

import functools
from collections.abc import Callable, Iterator

import keras
import tensorflow as tf

from selfsup_tf.config import Plan
from selfsup_tf.data.pipeline import training_dataset
from selfsup_tf.data.source import Source
from selfsup_tf.distribution.determinism import clock_is_allowed
from selfsup_tf.distribution.strategy import always_compiles
from selfsup_tf.errors import check
from selfsup_tf.methods import Method
from selfsup_tf.models.copies import leaf_layers
from selfsup_tf.training.accumulation import accumulate
from selfsup_tf.training.optimizers import Rate, build_optimizer, build_schedule
from selfsup_tf.training.replica import METRICS, Replica


def build(
    method: Method,
    plan: Plan,
    rate: Rate | None = None,
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
    check(
        config.batch_size > config.accumulate or not _norms_vectors(method.model),
        "two images or more at a time, as BatchNorms of one vector say nothing",
        f"batch_size={config.batch_size} in {config.accumulate} parts",
        "Lower --accumulate.",
    )
    variables = method.trainable_variables
    peak = rate or (lambda step: plan.learning_rate)
    rate = rate or build_schedule(config.optimizer, plan, dtype=variables[0].dtype)
    own_rates = {
        id(variable): own
        for group, own in method.own_rates(plan, rate, peak)
        for variable in group
    }
    if method.start and config.start_rate != 1:
        for variable in method.encoder.trainable_variables:
            own = own_rates.get(id(variable), rate)
            own_rates[id(variable)] = functools.partial(_slowed, own, config.start_rate)
    return build_optimizer(
        config.optimizer,
        plan,
        variables,
        method.unadapted_variables,
        scaled=config.precision == "mixed_float16",
        rate=rate,
        own_rates=own_rates,
    )


def _norms_vectors(model: keras.Model) -> bool:
    """Whether it has BatchNorms of vectors (N, P), which see the batch alone."""
    norms = keras.layers.BatchNormalization
    return any(
        isinstance(layer, norms) and layer.input_spec.ndim == 2
        for layer in leaf_layers(model)
    )


def _slowed(rate, factor, step):
    return factor * rate(step)


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
            wait = tf.cast(now() - before, tf.float32)
        # Every replica holds the same sums and the same outputs of all already.
        metrics, watched = (
            {
                name: strategy.experimental_local_results(value)[0]
                for name, value in per_replica.items()
            }
            for per_replica in take_step(batch, wait)
        )
        metrics |= method.after_update(step, plan, watched)
        missing = [name for name in method.log_names if name not in metrics]
        check(
            not missing,
            f"numbers of the log_names {', '.join(method.log_names)}",
            f"none of {', '.join(missing)}",
            f"Let after_update of {type(method).__name__} return these.",
        )
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

    names = [*METRICS, *method.metric_names, *method.log_names]
    names += ["wait"] if clock_is_allowed() else []
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
