"""The losses of distillation: a teacher's answers, its vectors, its neighbours."""

import tensorflow as tf

from selfsup_tf.models.similarity import cosine_to_fixed, loss_dtype


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
    dtype = loss_dtype(logits)
    student = tf.nn.log_softmax(tf.cast(logits, dtype) / temperature)
    teacher = tf.nn.softmax(tf.cast(teacher_logits, dtype) / temperature)
    return -tf.reduce_sum(tf.stop_gradient(teacher) * student, axis=1)


def regression_loss(prediction: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """The squared distance of each image's vectors of length 1, 2 - 2 cos.

    Args:
        prediction: The student's, (N, D), float.
        target: The teacher's, (N, D), float; no gradient flows into it.

    Returns:
        (N,) in [0, 4], float32 (float64 for a float64 prediction).

    Raises:
        InputError: The shapes differ.

    Reference: Navaneet et al. 2021, "SimReg: regression as a simple yet effective tool
        for self-supervised knowledge distillation", section 3.
    """
    return 2.0 - 2.0 * cosine_to_fixed(prediction, target)


def relational_loss(
    prediction: tf.Tensor,
    target: tf.Tensor,
    queue: tf.Tensor,
    *,
    student_temperature: float,
    teacher_temperature: float,
) -> tf.Tensor:
    """The cross entropy between which images are like which, to teacher and student.

    An image is compared with the teacher's vectors of earlier ones and with its own:
    P = softmax(cosines / T), each with its own vector and temperature.

    Args:
        prediction: The student's, (N, D), float.
        target: The teacher's, (N, D), float; no gradient flows into it.
        queue: The teacher's vectors of earlier images, of length 1, (K, D).
        student_temperature: Above 0.
        teacher_temperature: Above 0.

    Returns:
        (N,) float32 (float64 for a float64 prediction), never below the entropy of the
        teacher's likenesses.

    Reference: Fang et al. 2021, "SEED: self-supervised distillation for visual
        representation", equations 2 to 4.
    """
    dtype = loss_dtype(prediction)
    ours = _unit(tf.cast(prediction, dtype))
    theirs = _unit(tf.stop_gradient(tf.cast(target, dtype)))
    queue = tf.cast(queue, dtype)

    def cosines(vectors: tf.Tensor) -> tf.Tensor:
        own = tf.reduce_sum(vectors * theirs, axis=1, keepdims=True)
        return tf.concat([tf.matmul(vectors, queue, transpose_b=True), own], axis=1)

    student = tf.nn.log_softmax(cosines(ours) / student_temperature)
    teacher = tf.nn.softmax(cosines(theirs) / teacher_temperature)
    return -tf.reduce_sum(tf.stop_gradient(teacher) * student, axis=1)


def _unit(vectors: tf.Tensor) -> tf.Tensor:
    return tf.math.l2_normalize(vectors, axis=1)
