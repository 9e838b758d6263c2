"""What BYOL's regression must be whatever the numbers; see tests/fidelity for those."""

import tensorflow as tf

from byol_tf.loss import regression_loss


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
