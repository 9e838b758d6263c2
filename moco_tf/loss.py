"""InfoNCE: the cross entropy of finding a query's key among others."""

import tensorflow as tf

from selfsup_tf.distribution import replicas
from selfsup_tf.errors import check_pair
from selfsup_tf.models.similarity import check_temperature, loss_dtype


def info_nce_loss(
    query: tf.Tensor,
    key: tf.Tensor,
    temperature: float,
    queue: tf.Tensor | None = None,
) -> tf.Tensor:
    """The loss of each query, whose key is in the same row.

    Args:
        query: q of one view, (N, P), float; normalised here.
        key: k of the other view, (N, P), of the target; no gradient flows into it.
        temperature: Divides the cosines.
        queue: Past keys, (K, P), normalised, the negatives of He et al. 2020, algorithm
            1. None takes the keys of the other images of the global batch (v3).

    Returns:
        (N,) float32 (float64 for float64 queries).

    Raises:
        InputError: The shapes of query and key differ, or the temperature is not above
            0 and finite.
    """
    check_pair(query, key)
    check_temperature(temperature)
    dtype = loss_dtype(query)
    q = tf.math.l2_normalize(tf.cast(query, dtype), axis=1)
    k = tf.stop_gradient(tf.math.l2_normalize(tf.cast(key, dtype), axis=1))
    positive = tf.reduce_sum(q * k, axis=1) / temperature
    if queue is None:
        logits = tf.matmul(q, replicas.gather(k), transpose_b=True) / temperature
    else:
        others = tf.matmul(q, tf.cast(queue, dtype), transpose_b=True) / temperature
        logits = tf.concat([positive[:, None], others], axis=1)
    return tf.reduce_logsumexp(logits, axis=1) - positive
