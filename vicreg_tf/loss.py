"""The loss of VICReg: variance, invariance and covariance of the projections."""

import tensorflow as tf

from selfsup_tf.errors import check_pair
from selfsup_tf.models.batch_statistics import centred, global_batch, products
from selfsup_tf.models.similarity import loss_dtype

EPSILON = 1e-4
"""Added to a variance before its root is taken: Bardes et al. 2022, algorithm 1."""


def vicreg_loss(
    projection_1: tf.Tensor,
    projection_2: tf.Tensor,
    *,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
) -> tf.Tensor:
    """Weighted: the views' distance, features of a deviation below 1, covariances.

    Variances and covariances are over the global batch, divided by G - 1. What they
    give is of the batch: each image has the whole of it, so that the mean over the
    batch is the loss.

    Args:
        projection_1: z of the first views, (N, P), float.
        projection_2: z of the second views, (N, P).
        invariance: Weight of the squared distances, means over the features.
        variance: Weight of max(0, 1 - deviation), means over the features.
        covariance: Weight of the squares off the diagonal, sums over P.

    Returns:
        (N,) float32 (float64 for float64 projections).

    Raises:
        InputError: The shapes differ.

    Reference: Bardes et al. 2022, equations 1 to 6 and algorithm 1, whose distance is a
        mean over the features.
    """
    check_pair(projection_1, projection_2)
    dtype = loss_dtype(projection_1)
    z_1, z_2 = tf.cast(projection_1, dtype), tf.cast(projection_2, dtype)
    loss = invariance * tf.reduce_mean((z_1 - z_2) ** 2, axis=1)
    for z in (centred(z_1), centred(z_2)):
        matrix = products(z, z) / (global_batch(z) - 1)
        variances = tf.linalg.diag_part(matrix)
        deviations = tf.sqrt(variances + EPSILON)
        loss += variance * tf.reduce_mean(tf.nn.relu(1.0 - deviations))
        others = tf.reduce_sum(matrix**2) - tf.reduce_sum(variances**2)
        loss += covariance * others / z.shape[1]
    return loss
