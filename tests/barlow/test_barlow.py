"""Barlow Twins against its equations in NumPy: loss, gradient, ten whole steps."""

import functools

import numpy as np
import numpy_reference as reference
import pytest
import tensorflow as tf
from ten_steps import (
    PEAK,
    check_ten_steps,
    projected_gradients,
    set_up,
    usual_rate,
)

import barlow_tf
from selfsup_tf.errors import InputError
from selfsup_tf.models.batch_statistics import standardised

LAMBDA = 0.3


def loss_of(z_1, z_2, *, off_diagonal=LAMBDA):
    """Equations 1 and 2, entry by entry, of projections as algorithm 1 has them."""
    u_1, u_2 = (reference.batch_norm(z, 1.0, 0.0)[0] for z in (z_1, z_2))
    loss = 0.0
    for i in range(z_1.shape[1]):
        for j in range(z_2.shape[1]):
            correlation = sum(a * b for a, b in zip(u_1[:, i], u_2[:, j], strict=True))
            correlation /= len(u_1)
            loss += (1 - correlation) ** 2 if i == j else off_diagonal * correlation**2
    return loss


def gradient_of(z_1, z_2, *, off_diagonal=LAMBDA):
    """Of `loss_of` by both: dL / dC_ii = -2 (1 - C_ii), else 2 lambda C_ij."""
    (u_1, *kept_1), (u_2, *kept_2) = (
        reference.batch_norm(z, 1.0, 0.0) for z in (z_1, z_2)
    )
    correlations = u_1.T @ u_2 / len(u_1)
    diagonal = np.eye(len(correlations))
    by_correlation = 2 * off_diagonal * correlations * (1 - diagonal)
    by_correlation -= 2 * (1 - correlations) * diagonal
    du_1 = u_2 @ by_correlation.T / len(u_1)
    du_2 = u_1 @ by_correlation / len(u_1)
    return (
        reference.batch_norm_gradient(du_1, z_1, 1.0, *kept_1)[0],
        reference.batch_norm_gradient(du_2, z_2, 1.0, *kept_2)[0],
    )


def test_loss_and_gradient_equal_the_paper():
    z_1, z_2 = np.random.default_rng(0).normal(size=(2, 9, 4))
    values = [tf.constant(z_1), tf.constant(z_2)]
    with tf.GradientTape() as tape:
        tape.watch(values)
        loss = barlow_tf.barlow_twins_loss(*values, LAMBDA)
        mean = tf.reduce_mean(loss)
    assert loss.shape == (9,)
    np.testing.assert_allclose(loss, loss_of(z_1, z_2), rtol=1e-12)
    found = tape.gradient(mean, values)
    for value, expected in zip(found, gradient_of(z_1, z_2), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-12)
    numeric = reference.numeric_gradient(lambda z: loss_of(z, z_2), z_1)
    np.testing.assert_allclose(found[0], numeric, atol=1e-8)
    halves = (tf.cast(value, tf.float16) for value in values)
    assert barlow_tf.barlow_twins_loss(*halves).dtype == tf.float32
    with pytest.raises(InputError, match="row by row"):
        barlow_tf.barlow_twins_loss(values[0], values[1][:-1])


def test_equal_and_independent_features_cost_nothing():
    """Columns of a Hadamard matrix are independent."""
    z = np.array([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    np.testing.assert_allclose(barlow_tf.barlow_twins_loss(z, z), 0, atol=1e-9)
    np.testing.assert_allclose(barlow_tf.barlow_twins_loss(z, -z), 3 * 4, rtol=1e-4)


def test_a_length_and_a_centre_change_nothing():
    z_1, z_2 = np.random.default_rng(1).normal(size=(2, 9, 4))
    moved = 7 * z_1 - 3
    np.testing.assert_allclose(
        barlow_tf.barlow_twins_loss(moved, z_2),
        barlow_tf.barlow_twins_loss(z_1, z_2),
        # 1e-5 is added to both variances, of 49 and of 1.
        rtol=1e-4,
    )
    u = standardised(tf.constant(moved), epsilon=1e-5)
    expected = reference.batch_norm(moved, 1.0, 0.0)[0]
    np.testing.assert_allclose(u, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bias_rate", [None, 0.05])
def test_ten_steps_equal_numpy(bias_rate, tiny_config):
    run = set_up(
        tiny_config,
        "barlow",
        form="popular",
        projector=(7, 6, 5),
        off_diagonal=LAMBDA,
        bias_rate=bias_rate,
    )

    def rate(step, name):
        spared = name.endswith(("bias", "gamma", "beta"))
        own = bias_rate / PEAK if bias_rate and spared else 1.0
        return own * usual_rate(step, name)

    gradients = functools.partial(
        projected_gradients, loss_of=loss_of, gradient_of=gradient_of
    )
    check_ten_steps(run, gradients, rate=rate)


def test_a_scale_multiplies_the_loss(tiny_config, tiny_method):
    losses = []
    for scale in (1.0, 0.1):
        method = tiny_method(tiny_config("barlow", projector=(8,), loss_scale=scale))
        method.build()
        views = tf.random.stateless_uniform([8, 16, 16, 3], [0, 1])
        outputs = method.model({"view_1": views, "view_2": views**2}, training=True)
        losses.append(method.compute_loss(outputs).numpy())
    np.testing.assert_allclose(losses[1], 0.1 * losses[0], rtol=1e-5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"off_diagonal": -1.0}, "off_diagonal of 0 or more"),
        ({"loss_scale": 0.0}, "loss_scale above 0"),
        ({"bias_rate": 0.0}, "bias_rate above 0"),
        ({"projector": ()}, "sizes of one or more layers"),
    ],
)
def test_what_means_nothing_is_refused(fields, message, tiny_config):
    with pytest.raises(InputError, match=message):
        tiny_config("barlow", **fields)
