"""NT-Xent against a literal, slow NumPy transcription of the paper."""

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.loss import nt_xent_loss


def reference(z_1, z_2, temperature):
    """Chen et al. 2020, equation 1, anchor by anchor; returns each image's loss."""
    z = np.concatenate([z_1, z_2])
    images, losses = len(z_1), []
    for i in range(2 * images):
        j = (i + images) % (2 * images)

        def cosine(a, b):
            return z[a] @ z[b] / (np.linalg.norm(z[a]) * np.linalg.norm(z[b]))

        denominator = sum(
            np.exp(cosine(i, k) / temperature) for k in range(2 * images) if k != i
        )
        losses.append(-np.log(np.exp(cosine(i, j) / temperature) / denominator))
    return (np.array(losses[:images]) + np.array(losses[images:])) / 2


@pytest.mark.parametrize("temperature", [0.05, 0.2, 1.0])
def test_equals_the_paper_in_float64(temperature):
    z_1, z_2 = np.random.default_rng(0).normal(size=(2, 7, 5))
    loss = nt_xent_loss(tf.constant(z_1), tf.constant(z_2), temperature)
    np.testing.assert_allclose(loss, reference(z_1, z_2, temperature), rtol=1e-12)


def test_worked_example():
    first = [[1.0, 2], [3, -2], [1, 5]]
    second = [[1, 0.75], [2.8, -1.75], [1, 4.7]]
    loss = nt_xent_loss(tf.constant(first), tf.constant(second), 1.0)
    assert tf.reduce_mean(loss).numpy() == pytest.approx(1.1327, abs=5e-5)
    second[0] = [1, 1.75]
    loss = nt_xent_loss(tf.constant(first), tf.constant(second), 1.0)
    assert tf.reduce_mean(loss).numpy() == pytest.approx(1.0996, abs=5e-5)


def test_equal_projections_give_the_logarithm_of_the_negatives():
    z = tf.ones([8, 4])
    np.testing.assert_allclose(nt_xent_loss(z, z, 0.1), np.log(15), rtol=1e-6)


def test_gradient_by_finite_differences():
    z_1, z_2 = np.random.default_rng(1).normal(size=(2, 4, 3))
    variable = tf.Variable(z_1)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(nt_xent_loss(variable, tf.constant(z_2), 0.5))
    gradient = tape.gradient(loss, variable).numpy()
    for index in np.ndindex(z_1.shape):
        step = np.zeros_like(z_1)
        step[index] = 1e-6
        high = reference(z_1 + step, z_2, 0.5).mean()
        low = reference(z_1 - step, z_2, 0.5).mean()
        # The central difference is off by the rounding of the loss over the step.
        assert gradient[index] == pytest.approx((high - low) / 2e-6, abs=1e-8)


def test_half_precision_projections_give_a_finite_float32_loss():
    z = tf.cast(tf.random.stateless_normal([6, 4], [0, 1]) * 100, tf.float16)
    loss = nt_xent_loss(z, z, 0.05)
    assert loss.dtype == tf.float32
    assert np.isfinite(loss).all()


def test_swapping_the_views_changes_nothing():
    z_1, z_2 = np.random.default_rng(2).normal(size=(2, 5, 3))
    z_1, z_2 = tf.constant(z_1), tf.constant(z_2)
    np.testing.assert_allclose(
        nt_xent_loss(z_1, z_2, 0.3), nt_xent_loss(z_2, z_1, 0.3), rtol=1e-12
    )
