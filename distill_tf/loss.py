"""The cross entropy between what the teacher and the student answer."""

import tensorflow as tf


def distillation_loss(
    logits: tf.Tensor, teacher_logits: tf.Tensor, temperature: float
) -> tf.Tensor:
    """-sum_y P_teacher(y) log P_student(y) of each image, P = softmax(logits / T).

    Args:
        logits: The student's, (N, C), float.
        teacher_logits: (N, C), float; no gradient flows into them.
        temperature: T, above 0.

    Returns:
        (N,) float32 (float64 for float64 logits), never below the entropy of the
        teacher's answers.

    Reference: Chen et al. 2020, "Big self-supervised models are strong semi-supervised
        learners", equation 2.
    """
    dtype = tf.float64 if logits.dtype == tf.float64 else tf.float32
    student = tf.nn.log_softmax(tf.cast(logits, dtype) / temperature)
    teacher = tf.nn.softmax(tf.cast(teacher_logits, dtype) / temperature)
    return -tf.reduce_sum(tf.stop_gradient(teacher) * student, axis=1)
