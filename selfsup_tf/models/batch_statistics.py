"""Statistics over the global batch, whose gradients reach every replica.

N images on a replica, G over all, P features.
"""

import tensorflow as tf

from selfsup_tf.distribution.replicas import num_replicas, sum_over_replicas


def centred(values: tf.Tensor) -> tf.Tensor:
    """The values (N, P) less their means over the global batch."""
    total = sum_over_replicas(tf.reduce_sum(values, axis=0))
    return values - total / global_batch(values)


def standardised(values: tf.Tensor, *, epsilon: float) -> tf.Tensor:
    """The values (N, P) of mean 0 and variance 1 over the global batch.

    As a BatchNorm without centre and scale: epsilon is added to the variance, which is
    divided by G.
    """
    values = centred(values)
    squares = sum_over_replicas(tf.reduce_sum(values**2, axis=0))
    return values * tf.math.rsqrt(squares / global_batch(values) + epsilon)


def products(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """The sum of the products of every two features over the global batch, (P, P).

    Args:
        one: (N, P).
        other: (N, P), of the same images.
    """
    return sum_over_replicas(tf.matmul(one, other, transpose_a=True))


def global_batch(values: tf.Tensor) -> tf.Tensor:
    """G, a scalar of the dtype of the values (N, P)."""
    size = values.shape[0] or tf.shape(values)[0]
    return tf.cast(size * num_replicas(), values.dtype)
