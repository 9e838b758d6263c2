"""VICReg against its equations in NumPy: loss, gradient, ten whole steps."""

import functools

import numpy as np
import numpy_reference as reference
import pytest
import tensorflow as tf
from ten_steps import check_ten_steps, projected_gradients, set_up

import vicreg_tf
from selfsup_tf.errors import InputError

WEIGHTS = {"invariance": 5.0, "variance": 4.0, "covariance": 2.0}
EPSILON = 1e-4


def loss_of(z_1, z_2, *, invariance, variance, covariance):
    """Equations 1 to 6, feature by feature; the distance is algorithm 1's."""
    images, features = z_1.shape
    loss = invariance * sum(
        (z_1[n, i] - z_2[n, i]) ** 2 for n in range(images) for i in range(features)
    )
    loss /= images * features
    for z in (z_1, z_2):
        z = z - z.mean(axis=0)
        for i in range(features):
            deviation = np.sqrt((z[:, i] ** 2).sum() / (images - 1) + EPSILON)
            loss += variance * max(0, 1 - deviation) / features
            for j in range(features):
                if i != j:
                    together = (z[:, i] * z[:, j]).sum() / (images - 1)
                    loss += covariance * together**2 / features
    return loss


def gradient_of(z_1, z_2, *, invariance, variance, covariance):
    """Of `loss_of` by both, term by term."""
    images, features = z_1.shape
    found = []
    for z, other in ((z_1, z_2), (z_2, z_1)):
        dz = invariance * 2 * (z - other) / (images * features)
        centred = z - z.mean(axis=0)
        matrix = centred.T @ centred / (images - 1)
        deviations = np.sqrt(np.diag(matrix) + EPSILON)
        slope = np.where(deviations < 1, -1 / deviations, 0.0) / (images - 1)
        dz = dz + variance * slope * centred / features
        others = matrix - np.diag(np.diag(matrix))
        # Each covariance stands twice in a symmetric matrix.
        dz = dz + covariance * 4 * centred @ others / (features * (images - 1))
        found.append(dz)
    return found


def pair():
    """Features of deviations below and above 1."""
    z_1, z_2 = np.random.default_rng(0).normal(size=(2, 9, 4))
    return z_1 * [0.2, 0.8, 1.5, 3.0], z_2 * [3.0, 0.2, 0.7, 1.5]


def test_loss_and_gradient_equal_the_paper():
    z_1, z_2 = pair()
    values = [tf.constant(z_1), tf.constant(z_2)]
    with tf.GradientTape() as tape:
        tape.watch(values)
        loss = vicreg_tf.vicreg_loss(*values, **WEIGHTS)
        mean = tf.reduce_mean(loss)
    assert loss.shape == (9,)
    np.testing.assert_allclose(mean, loss_of(z_1, z_2, **WEIGHTS), rtol=1e-12)
    found = tape.gradient(mean, values)
    expected = gradient_of(z_1, z_2, **WEIGHTS)
    for value, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(value, want, rtol=1e-10, atol=1e-12)
    numeric = reference.numeric_gradient(lambda z: loss_of(z, z_2, **WEIGHTS), z_1)
    np.testing.assert_allclose(found[0], numeric, atol=1e-7)
    halves = (tf.cast(value, tf.float16) for value in values)
    assert vicreg_tf.vicreg_loss(*halves).dtype == tf.float32
    with pytest.raises(InputError, match="row by row"):
        vicreg_tf.vicreg_loss(values[0], values[1][:-1])


@pytest.mark.parametrize("term", WEIGHTS)
def test_each_term_is_its_own(term):
    """A collapse costs the variance's weight twice and nothing else."""
    alone = dict.fromkeys(WEIGHTS, 0.0) | {term: 1.0}
    z_1, z_2 = pair()
    expected = loss_of(z_1, z_2, **alone)
    found = tf.reduce_mean(vicreg_tf.vicreg_loss(z_1, z_2, **alone))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    same = np.ones((6, 4))
    collapsed = vicreg_tf.vicreg_loss(same, same, **alone)
    ends = 2 * (1 - np.sqrt(EPSILON)) if term == "variance" else 0.0
    np.testing.assert_allclose(collapsed, ends, atol=1e-12)


def test_ten_steps_equal_numpy(tiny_config):
    run = set_up(tiny_config, "vicreg", form="popular", projector=(7, 6, 5), **WEIGHTS)
    gradients = functools.partial(
        projected_gradients,
        loss_of=functools.partial(loss_of, **WEIGHTS),
        gradient_of=functools.partial(gradient_of, **WEIGHTS),
    )
    check_ten_steps(run, gradients)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"invariance": -1.0}, "invariance of 0 or more"),
        ({"projector": ()}, "sizes of one or more layers"),
    ],
)
def test_what_means_nothing_is_refused(fields, message, tiny_config):
    with pytest.raises(InputError, match=message):
        tiny_config("vicreg", **fields)
