"""The devices of a run: strategy, gathering across replicas, batch arithmetic.

N is the number of images on one replica, G the number over all of them.
"""

import tensorflow as tf

from selfsup_tf.errors import InputError, check


def make_strategy(name: str = "auto") -> tf.distribute.Strategy:
    """The strategy of that name over the devices that TensorFlow sees.

    Args:
        name: "one_device", "mirrored" (all GPUs, or all logical CPUs where there is no
            GPU), or "auto" (mirrored where there are several GPUs).

    Raises:
        InputError: The name is unknown.
    """
    gpus = tf.config.list_logical_devices("GPU")
    devices = [d.name for d in gpus or tf.config.list_logical_devices("CPU")]
    if name == "auto":
        name = "mirrored" if len(gpus) > 1 else "one_device"
    if name == "one_device":
        return tf.distribute.OneDeviceStrategy(devices[0])
    if name == "mirrored":
        return tf.distribute.MirroredStrategy(devices)
    raise InputError(
        "a strategy of auto, one_device, mirrored",
        repr(name),
        "Leave --strategy out to have one chosen.",
    )


def check_divisible(batch_size: int, num_replicas: int) -> None:
    """Raises InputError unless the global batch is the same on every replica."""
    below = batch_size // num_replicas * num_replicas
    check(
        batch_size % num_replicas == 0,
        f"a batch_size divisible by the {num_replicas} replicas",
        batch_size,
        f"The nearest that are: {below or num_replicas} and {below + num_replicas}.",
    )


def num_replicas() -> int:
    """Replicas of the strategy in force."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def replica_index() -> tf.Tensor:
    """Which replica this is: int32 scalar. Only inside `strategy.run`."""
    context = tf.distribute.get_replica_context()
    return tf.cast(context.replica_id_in_sync_group, tf.int32)


def gather(values: tf.Tensor) -> tf.Tensor:
    """The values of all replicas, one after the other, differentiable.

    Every replica writes its part into zeros and the parts are summed: shapes stay
    static, as a TPU demands, and the gradient of every replica's loss reaches the
    replica that the value came from.

    Args:
        values: (N, ...), the same N on every replica.

    Returns:
        (G, ...), of the same dtype. `values` itself where there is one replica.

    Reference: google-research/simclr, tf2/objective.py, tpu_cross_replica_concat.
    """
    replicas = num_replicas()
    if replicas == 1:
        return values
    mine = tf.one_hot(replica_index(), replicas, dtype=values.dtype)
    parts = tf.reshape(mine, [replicas] + [1] * len(values.shape)) * values[None]
    summed = tf.distribute.get_replica_context().all_reduce("SUM", parts)
    return tf.concat(tf.unstack(summed, replicas), axis=0)


def sum_over_replicas(values: tf.Tensor) -> tf.Tensor:
    """The sum of a tensor over all replicas, on each of them."""
    if num_replicas() == 1:
        return values
    return tf.distribute.get_replica_context().all_reduce("SUM", values)
