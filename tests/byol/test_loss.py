"""BYOL's regression against a literal NumPy transcription."""

import numpy as np
import tensorflow as tf

from byol_tf.loss import regression_loss


def test_equals_the_paper_in_float64():
    q, z = np.random.default_rng(0).normal(size=(2, 6, 4))
    expected = [
        np.sum((a / np.linalg.norm(a) - b / np.linalg.norm(b)) ** 2)
        for a, b in zip(q, z, strict=True)
    ]
    loss = regression_loss(tf.constant(q), tf.constant(z))
    np.testing.assert_allclose(loss, expected, rtol=1e-12)


def test_no_gradient_reaches_the_target():
    q, z = tf.Variable(tf.random.normal([3, 4])), tf.Variable(tf.random.normal([3, 4]))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(regression_loss(q, z))
    to_prediction, to_target = tape.gradient(loss, [q, z])
    assert to_target is None
    assert tf.norm(to_prediction) > 0


def test_known_values():
    one = tf.constant([[2.0, 0.0]])
    assert regression_loss(one, one).numpy() == 0
    assert regression_loss(one, -one).numpy() == 4
    assert regression_loss(one, tf.constant([[0.0, 5.0]])).numpy() == 2
