"""What the replicas of a run do together: gathering, sums.

N is the number of images on one replica, G the number over all of them.
"""

import tensorflow as tf


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


def sum_over_replicas(values):
    """The sum over all replicas, on each of them, of a tensor or a list of tensors."""
    if num_replicas() == 1:
        return values
    context = tf.distribute.get_replica_context()
    flat = tf.nest.flatten(values)
    sums = dict.fromkeys(range(len(flat)))
    # Tensors of one type travel together.
    for dtype in dict.fromkeys(value.dtype for value in flat):
        places = [i for i, value in enumerate(flat) if value.dtype == dtype]
        # What a loop hands out has no device, and an exchange asks for one.
        reduced = context.all_reduce("SUM", [tf.identity(flat[i]) for i in places])
        sums |= dict(zip(places, reduced, strict=True))
    return tf.nest.pack_sequence_as(values, list(sums.values()))
