"""NT-Xent: the normalised, temperature-scaled cross entropy over the global batch."""

import tensorflow as tf

from selfsup_tf.distribution import replicas


def nt_xent_loss(
    projection_1: tf.Tensor,
    projection_2: tf.Tensor,
    temperature: float,
    *,
    directions: str = "mean",
) -> tf.Tensor:
    """The loss of each image, of its two views as anchors.

    An anchor's positive is the other view of its image; its negatives are both views of
    all other images, those on other replicas included.

    Args:
        projection_1: z of the first views, (N, P), float; normalised here.
        projection_2: z of the second views, (N, P).
        temperature: Divides the cosines, above 0.
        directions: "mean" averages the losses of the two anchors, "sum" adds them.

    Returns:
        (N,) float32 (float64 for float64 projections). Its mean over the global batch
        is the loss of Chen et al. 2020, algorithm 1, for "mean"; that of
        google-research/simclr, tf2/objective.py, for "sum".
    """
    dtype = tf.float64 if projection_1.dtype == tf.float64 else tf.float32
    z_1 = tf.math.l2_normalize(tf.cast(projection_1, dtype), axis=1)
    z_2 = tf.math.l2_normalize(tf.cast(projection_2, dtype), axis=1)
    all_1, all_2 = replicas.gather(z_1), replicas.gather(z_2)
    images, total = z_1.shape[0] or tf.shape(z_1)[0], tf.shape(all_1)[0]
    first = 0
    if replicas.num_replicas() > 1:
        first = replicas.replica_index() * images
    itself = tf.one_hot(first + tf.range(images), total, dtype=dtype)
    # Far below any cosine / temperature, and finite: its exponential is exactly 0.
    masked = itself * (dtype.max / 4)

    def anchor_loss(anchors, same_view, other_view):
        negatives = tf.matmul(anchors, same_view, transpose_b=True) / temperature
        others = tf.matmul(anchors, other_view, transpose_b=True) / temperature
        logits = tf.concat([negatives - masked, others], axis=1)
        return tf.reduce_logsumexp(logits, axis=1) - tf.reduce_sum(
            others * itself, axis=1
        )

    loss = anchor_loss(z_1, all_1, all_2) + anchor_loss(z_2, all_2, all_1)
    return loss / 2 if directions == "mean" else loss
