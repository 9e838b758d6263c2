"""How far the representations of a batch are spread, which tells of a collapse."""

import tensorflow as tf

from selfsup_tf.models.similarity import loss_dtype

COLLAPSED = 0.01
"""A spread of the representations below which they are all but equal."""


def moments(representations: tf.Tensor) -> tf.Tensor:
    """Sums over a batch of the L2-normalised vectors and of their squares.

    Args:
        representations: h, (N, D), float.

    Returns:
        (2, D), float32 (float64 for float64). Those of parts of a batch add up.
    """
    dtype = loss_dtype(representations)
    h = tf.math.l2_normalize(tf.cast(representations, dtype), axis=1)
    return tf.stack([tf.reduce_sum(h, axis=0), tf.reduce_sum(h * h, axis=0)])


def spread(moments: tf.Tensor, size: int) -> tf.Tensor:
    """How far the representations of a batch are spread, in [0, 1].

    The standard deviation of the L2-normalised vectors, averaged over the dimensions
    and multiplied by sqrt(D): near 1 when they point everywhere, 0 (below 1e-3, by
    rounding) when all are equal.

    Args:
        moments: Those of all images of the batch, (2, D).
        size: G, the images of the batch.

    Returns:
        A scalar of their dtype.

    Reference: Chen and He 2021, "Exploring simple Siamese representation learning",
        section 4.1.
    """
    mean, square = tf.unstack(moments / size)
    deviations = tf.sqrt(tf.maximum(square - mean**2, 0.0))
    return tf.reduce_mean(deviations) * moments.shape[1] ** 0.5
