"""The cross entropy of labels."""

import tensorflow as tf

from selfsup_tf.models.similarity import loss_dtype


def label_loss(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """-log softmax(logits)[label] of each image.

    Args:
        logits: (N, C), float.
        labels: (N,), integers in [0, C).

    Returns:
        (N,) float32 (float64 for float64 logits).
    """
    dtype = loss_dtype(logits)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels, tf.cast(logits, dtype)
    )
