"""NT-Xent: the normalised, temperature-scaled cross entropy over the global batch."""

import tensorflow as tf

from selfsup_tf.distribution import replicas
from selfsup_tf.errors import check
from simclr_tf.log_sum_exp import log_sum_exp


def nt_xent_loss(
    projection_1: tf.Tensor,
    projection_2: tf.Tensor,
    temperature: float,
    *,
    directions: str = "mean",
    tile: int | None = None,
) -> tf.Tensor:
    """The loss of each image, of its two views as anchors.

    An anchor's positive is the other view of its image; its negatives are both views of
    all other images, those on other replicas included.

    Args:
        projection_1: z of the first views, (N, P), float; normalised here.
        projection_2: z of the second views, (N, P).
        temperature: Divides the cosines, above 0.
        directions: "mean" averages the losses of the two anchors, "sum" adds them.
        tile: Candidates that the anchors are compared with at once, of the 2 G in the
            global batch, 1 or more: memory goes with 2 N times this. None takes all of
            them while they are few, and tiles above that; see `log_sum_exp`.

    Returns:
        (N,) float32 (float64 for float64 projections). Its mean over the global batch
        is the loss of Chen et al. 2020, algorithm 1, for "mean"; that of
        google-research/simclr, tf2/objective.py, for "sum".
    """
    check(
        tile is None or tile >= 1,
        "tile >= 1",
        tile,
        "Leave it out, and it is chosen by the size of the batch.",
    )
    dtype = tf.float64 if projection_1.dtype == tf.float64 else tf.float32
    z_1 = tf.math.l2_normalize(tf.cast(projection_1, dtype), axis=1)
    z_2 = tf.math.l2_normalize(tf.cast(projection_2, dtype), axis=1)
    all_1, all_2 = replicas.gather(z_1), replicas.gather(z_2)
    images = z_1.shape[0] or tf.shape(z_1)[0]
    first = 0
    if replicas.num_replicas() > 1:
        first = replicas.replica_index() * images
    itself = first + tf.range(images)
    denominators = log_sum_exp(
        tf.concat([z_1, z_2], axis=0) / temperature,
        tf.concat([all_1, all_2], axis=0),
        tf.concat([itself, itself + tf.shape(all_1)[0]], axis=0),
        tile=tile,
    )
    positive = tf.reduce_sum(z_1 * z_2, axis=1) / temperature
    loss = tf.add_n(tf.split(denominators, 2)) - 2 * positive
    return loss / 2 if directions == "mean" else loss
