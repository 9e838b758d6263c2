"""The loss of Barlow Twins: how far the correlations of features are from identity."""

import tensorflow as tf

from selfsup_tf.errors import check_pair
from selfsup_tf.models.batch_statistics import (
    global_batch,
    products,
    standardised,
)
from selfsup_tf.models.similarity import loss_dtype

EPSILON = 1e-5
"""Of the BatchNorm that standardises the projections: PyTorch's default."""


def barlow_twins_loss(
    projection_1: tf.Tensor, projection_2: tf.Tensor, off_diagonal: float = 0.0051
) -> tf.Tensor:
    """sum_i (1 - C_ii)^2 + off_diagonal sum_(i != j) C_ij^2, C over the global batch.

    C_ij is the correlation of feature i of the first views with feature j of the second
    ones. The loss is of the batch, not of an image: each image has the whole of it, so
    that the mean over the batch is the loss.

    Args:
        projection_1: z of the first views, (N, P), float.
        projection_2: z of the second views, (N, P).
        off_diagonal: lambda.

    Returns:
        (N,) float32 (float64 for float64 projections), all equal.

    Raises:
        InputError: The shapes differ.

    Reference: Zbontar et al. 2021, equations 1 and 2, algorithm 1.
    """
    check_pair(projection_1, projection_2)
    dtype = loss_dtype(projection_1)
    z_1, z_2 = (
        standardised(tf.cast(z, dtype), epsilon=EPSILON)
        for z in (projection_1, projection_2)
    )
    correlations = products(z_1, z_2) / global_batch(z_1)
    diagonal = tf.linalg.diag_part(correlations)
    others = tf.reduce_sum(correlations**2) - tf.reduce_sum(diagonal**2)
    loss = tf.reduce_sum((1.0 - diagonal) ** 2) + off_diagonal * others
    return loss * tf.ones_like(projection_1[:, 0], dtype)
