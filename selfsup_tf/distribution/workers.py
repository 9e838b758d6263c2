"""What the processes of a run do together outside the step; one alone does nothing."""

import contextlib
import re
from collections.abc import Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from selfsup_tf.distribution.strategy import WorkerLost, has_workers
from selfsup_tf.errors import check

_SIGNS = ("unhealthy", "heartbeat", "Connection reset", "Socket closed")
"""What TensorFlow's messages say of a lost worker where the error's class does not;
tests/training/test_workers.py kills one."""


@contextlib.contextmanager
def watched_workers(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Turns what TensorFlow raises when a worker is lost into WorkerLost."""
    try:
        yield
    except tf.errors.OpError as error:
        kinds = tf.errors.UnavailableError | tf.errors.AbortedError
        told = isinstance(error, kinds) or any(sign in str(error) for sign in _SIGNS)
        if not has_workers(strategy) or not told:
            raise
        resolver = strategy.cluster_resolver
        workers = resolver.cluster_spec().as_dict()["worker"]
        found = {int(n) for n in re.findall(r"/task:(\d+)", str(error))}
        lost = [
            f"worker {n} ({workers[n]})" for n in sorted(found - {resolver.task_id})
        ]
        raise WorkerLost(
            f"{', '.join(lost) or 'another'} of the {len(workers)} workers has stopped "
            "or can't be reached, so this one stops too. The other's own messages, if "
            "it left any, say why. The same command, wherever it was given, resumes "
            "from the last checkpoint."
        ) from error


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
    received = []
    for value in values:
        # Whole numbers are summed in one type: not every collective knows uint32.
        floating = tf.as_dtype(value.dtype).is_floating
        sent = tf.constant(value, value.dtype if floating else tf.int64)
        terms = strategy.experimental_distribute_values_from_function(
            lambda context, sent=sent: (
                sent if context.replica_id_in_sync_group == 0 else tf.zeros_like(sent)
            )
        )
        total = strategy.reduce("SUM", terms, axis=None)
        received.append(np.asarray(total).astype(value.dtype))
    return received
