"""What BYOL's regression must be whatever the numbers; see tests/fidelity for those."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import byol_tf
from byol_tf.loss import regression_loss
from selfsup_tf.errors import InputError


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


def test_the_loss_of_keras_is_the_mean_of_the_images():
    random = np.random.default_rng(5)
    target, guess = (random.normal(size=(6, 4)).astype(np.float32) for _ in range(2))
    loss = byol_tf.RegressionLoss()
    cosines = (target * guess).sum(axis=1)
    cosines /= np.linalg.norm(target, axis=1) * np.linalg.norm(guess, axis=1)
    np.testing.assert_allclose(loss(target, guess), 2 - 2 * cosines.mean(), rtol=1e-5)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    np.testing.assert_array_equal(again(target, guess), loss(target, guess))
    with pytest.raises(InputError, match="row by row of the same images"):
        loss(target, guess[:5])
