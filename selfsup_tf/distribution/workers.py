"""What the processes of a run do together outside the step; one alone does nothing."""

import contextlib
import re
from collections.abc import Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from selfsup_tf.distribution.replicas import replica_index, sum_over_replicas
from selfsup_tf.distribution.strategy import WorkerLost, has_workers
from selfsup_tf.errors import check


@contextlib.contextmanager
def watched_workers(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Turns what TensorFlow raises when a worker is lost into WorkerLost."""
    try:
        yield
    except tf.errors.OpError as error:
        if not has_workers(strategy) or not _tells_of_a_loss(error):
            raise
        resolver = strategy.cluster_resolver
        workers = resolver.cluster_spec().as_dict()["worker"]
        found = {int(n) for n in re.findall(r"/task:(\d+)", str(error))}
        lost = sorted(found - {resolver.task_id}) or ["another"]
        names = [f"worker {n} ({workers[n]})" if n != "another" else n for n in lost]
        raise WorkerLost(
            f"{', '.join(names)} of the {len(workers)} workers has stopped or can't be "
            "reached, so this one stops too. The other's own messages, if it left any, "
            "say why. The same command, wherever it was given, resumes from the last "
            "checkpoint."
        ) from error


def _tells_of_a_loss(error: tf.errors.OpError) -> bool:
    if isinstance(error, tf.errors.UnavailableError | tf.errors.AbortedError):
        return True
    signs = ("unhealthy", "heartbeat", "Connection reset", "Socket closed")
    return any(sign in str(error) for sign in signs)


def check_same_images(strategy: tf.distribute.Strategy, images: int) -> None:
    """Raises InputError where this process has another number of images."""
    if not has_workers(strategy):
        return
    (theirs,) = from_chief(strategy, [np.int64(images)])
    check(
        theirs == images,
        f"the {theirs} images that worker 0 learns from",
        f"{images} on worker {strategy.cluster_resolver.task_id}",
        "Give every machine the same images, or a path that all of them share.",
    )


def go_on_together(
    strategy: tf.distribute.Strategy, step: int, variables: Sequence[keras.Variable]
) -> int:
    """Gives every process the chief's step, which is returned, and its variables."""
    if not has_workers(strategy):
        return step
    first, *values = from_chief(
        strategy, [np.int64(step), *(v.numpy() for v in variables)]
    )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return int(first)


def wait_for_all(strategy: tf.distribute.Strategy) -> None:
    """Returns once every process has come here."""
    if has_workers(strategy):
        from_chief(strategy, [np.int64(0)])


def from_chief(
    strategy: tf.distribute.Strategy, values: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """The values that the chief has, in every process.

    All processes have to call it, with arrays of the same shapes and dtypes.
    """

    def chiefs(values):
        is_first = replica_index() == 0
        zeros = [tf.zeros_like(value) for value in values]
        return sum_over_replicas(
            [tf.where(is_first, v, z) for v, z in zip(values, zeros, strict=True)]
        )

    # Sums of whole numbers are taken in one type: not every collective knows uint32.
    sent = [
        tf.constant(value)
        if tf.as_dtype(value.dtype).is_floating
        else tf.constant(value, tf.int64)
        for value in values
    ]
    run = tf.function(lambda values: strategy.run(chiefs, args=(values,)))
    # Traced for these shapes alone: each call of a program sends others.
    received = [
        strategy.experimental_local_results(value)[0].numpy()
        for value in run.get_concrete_function(sent)(sent)
    ]
    return [
        np.asarray(new).astype(value.dtype)
        for new, value in zip(received, values, strict=True)
    ]
