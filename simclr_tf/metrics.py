"""Contrast accuracy: how often a view finds the other view of its image."""

import math

import tensorflow as tf

from selfsup_tf.distribution import replicas
from selfsup_tf.errors import check_pair
from selfsup_tf.models.similarity import loss_dtype
from simclr_tf.log_sum_exp import PLAIN_LOGITS, TILE_LOGITS


def contrast_top_1(
    projection_1: tf.Tensor, projection_2: tf.Tensor, *, tile: int | None = None
) -> tf.Tensor:
    """Whether the second view of an image is the nearest of all to its first.

    All are the second views of the global batch, by their cosines to the first. Of
    projections that say nothing a share of 1 / G is right.

    Args:
        projection_1: z of the first views, (N, P), float.
        projection_2: z of the second views, (N, P).
        tile: First views that are compared with all second ones at once. None takes
            all of them up to `PLAIN_LOGITS` cosines, otherwise as many as
            `TILE_LOGITS` allow.

    Returns:
        (N,) float32, 1 where it is and 0 where not; nothing flows back through it.

    Raises:
        InputError: The shapes differ.

    Reference: google-research/simclr, tf2/metrics.py, contrast_acc.
    """
    check_pair(projection_1, projection_2)
    dtype = loss_dtype(projection_1)
    z_1 = tf.stop_gradient(tf.cast(projection_1, dtype))
    z_2 = tf.stop_gradient(tf.cast(projection_2, dtype))
    # The length of an anchor changes none of its order.
    candidates = replicas.gather(tf.math.l2_normalize(z_2, axis=1))
    images = z_1.shape[0] or tf.shape(z_1)[0]
    itself = tf.range(images)
    if replicas.num_replicas() > 1:
        itself += replicas.replica_index() * images

    def nearest(anchors):
        cosines = tf.matmul(anchors, candidates, transpose_b=True)
        return tf.argmax(cosines, axis=1, output_type=tf.int32)

    columns = candidates.shape[0]
    known = z_1.shape[0] is not None and columns is not None
    if tile is None and known and images * columns > PLAIN_LOGITS:
        tile = max(1, TILE_LOGITS // columns)
    if tile is None or not known:
        return tf.cast(nearest(z_1) == itself, tf.float32)
    count = math.ceil(images / tile)
    filled = tf.pad(z_1, [[0, count * tile - images], [0, 0]])
    found = tf.map_fn(
        nearest,
        tf.reshape(filled, [count, tile, z_1.shape[1]]),
        parallel_iterations=1,
        fn_output_signature=tf.int32,
    )
    found = tf.reshape(found, [count * tile])[:images]
    return tf.cast(found == itself, tf.float32)
