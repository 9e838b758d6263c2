"""BYOL's regression of the target's projection."""

import tensorflow as tf


def regression_loss(prediction: tf.Tensor, target_projection: tf.Tensor) -> tf.Tensor:
    """2 - 2 cos(prediction, stop_gradient(target_projection)) of each image.

    Args:
        prediction: q of one view, (N, P), float; normalised here.
        target_projection: z' of the other view, (N, P); no gradient flows into it.

    Returns:
        (N,) float32 in [0, 4] (float64 for float64 predictions).

    Reference: Grill et al. 2020, equation 2.
    """
    dtype = tf.float64 if prediction.dtype == tf.float64 else tf.float32
    q = tf.math.l2_normalize(tf.cast(prediction, dtype), axis=1)
    z = tf.math.l2_normalize(tf.cast(target_projection, dtype), axis=1)
    return 2.0 - 2.0 * tf.reduce_sum(q * tf.stop_gradient(z), axis=1)
