"""The cross entropy between a target's answer to one view and that to another."""

from collections.abc import Sequence

import tensorflow as tf

from selfsup_tf.models.similarity import loss_dtype


def dino_loss(
    scores: Sequence[tf.Tensor],
    target_scores: Sequence[tf.Tensor],
    centre: tf.Tensor,
    target_temperature: float | tf.Tensor,
    temperature: float,
) -> tf.Tensor:
    """The loss of each image, the mean over all pairs of unlike views.

    Args:
        scores: Of each view, (N, K), float.
        target_scores: The target's, of the first views; no gradient flows into them.
        centre: (K,), taken off the target's scores.
        target_temperature: Divides the rest of the target's scores.
        temperature: Divides the scores.

    Returns:
        (N,) float32 (float64 for float64 scores): Caron et al. 2021, algorithm 1.
    """
    dtype = loss_dtype(scores[0])
    centred = [tf.cast(t, dtype) - tf.cast(centre, dtype) for t in target_scores]
    answers = [tf.stop_gradient(tf.nn.softmax(t / target_temperature)) for t in centred]
    losses = []
    for i, view in enumerate(scores):
        others = [answer for j, answer in enumerate(answers) if j != i]
        logs = tf.nn.log_softmax(tf.cast(view, dtype) / temperature)
        losses += [-tf.reduce_sum(answer * logs, axis=1) for answer in others]
    return tf.add_n(losses) / len(losses)
