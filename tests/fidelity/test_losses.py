"""NT-Xent and BYOL's regression against their equations, values and gradients."""

import numpy as np
import numpy_reference as reference
import pytest
import tensorflow as tf

from byol_tf.loss import regression_loss
from selfsup_tf.methods import find_method
from simclr_tf.loss import nt_xent_loss
from simclr_tf.metrics import contrast_top_1

# The cosines are off by some 1e-16 and divided by the temperature, .05 or more; the
# loss is a difference of such numbers: 1e-14.
FLOAT64 = {"rtol": 1e-12, "atol": 1e-13}
# The same with float32's 6e-8: 5e-6.
FLOAT32 = {"rtol": 1e-6, "atol": 5e-6}


def pair(seed, *shape):
    """Two arrays of normal numbers, float64."""
    return np.random.default_rng(seed).normal(size=(2, *shape))


def gradients_of(loss, *values):
    """Of the mean of `loss`, by TensorFlow."""
    variables = [tf.Variable(value) for value in values]
    with tf.GradientTape() as tape:
        mean = tf.reduce_mean(loss(*variables))
    return [g.numpy() for g in tape.gradient(mean, variables)]


def numeric_gradient(loss, value):
    """Central differences of the mean of `loss`, entry by entry."""
    return reference.numeric_gradient(lambda z: np.mean(loss(tf.constant(z))), value)


@pytest.mark.parametrize("directions", ["mean", "sum"])
@pytest.mark.parametrize("temperature", [0.05, 0.1, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(2, 3), (7, 5), (16, 2)])
def test_nt_xent_equals_the_paper(shape, temperature, directions):
    z_1, z_2 = pair(0, *shape)
    expected = reference.nt_xent(z_1, z_2, temperature, directions)
    loss = nt_xent_loss(z_1, z_2, temperature, directions=directions)
    assert loss.dtype == tf.float64
    np.testing.assert_allclose(loss, expected, **FLOAT64)
    z_1, z_2 = z_1.astype(np.float32), z_2.astype(np.float32)
    expected = reference.nt_xent(
        z_1.astype(np.float64), z_2.astype(np.float64), temperature, directions
    )
    loss = nt_xent_loss(
        tf.constant(z_1), tf.constant(z_2), temperature, directions=directions
    )
    assert loss.dtype == tf.float32
    np.testing.assert_allclose(loss, expected, **FLOAT32)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("tile", [None, 1, 3, 16, 40])
def test_contrast_accuracy_is_that_of_the_nearest(tile, compiled):
    """Of views so far apart that some find one another and some do not."""
    z_1, z_2 = pair(2, 16, 5)
    z_2 = z_1 + z_2
    expected = reference.contrast_top_1(z_1, z_2)
    assert 0.2 < expected.mean() < 0.9
    measure = tf.function(contrast_top_1, jit_compile=True)
    measure = measure if compiled else contrast_top_1
    found = measure(tf.constant(z_1), tf.constant(z_2), tile=tile)
    np.testing.assert_array_equal(found, expected)
    halves = [tf.cast(z, tf.float16) for z in (z_1, z_2)]
    as_given = [tf.cast(z, tf.float64).numpy() for z in halves]
    np.testing.assert_array_equal(
        measure(*halves, tile=tile), reference.contrast_top_1(*as_given)
    )
    spec = tf.TensorSpec([None, 5], tf.float64)
    unknown = tf.function(contrast_top_1).get_concrete_function(spec, spec)
    np.testing.assert_array_equal(unknown(tf.constant(z_1), tf.constant(z_2)), expected)


def test_worked_example():
    """Known numbers, to four places: the mean over the anchors at temperature 1."""
    first = np.array([[1.0, 2], [3, -2], [1, 5]])
    second = np.array([[1, 0.75], [2.8, -1.75], [1, 4.7]])
    other = np.array([[1, 1.75], *second[1:]])
    for views, expected in (((first, second), 1.1327), ((first, other), 1.0996)):
        for loss in (nt_xent_loss, reference.nt_xent):
            value = np.mean(loss(*views, 1.0))
            assert value == pytest.approx(expected, abs=5e-5)
        added = np.mean(nt_xent_loss(*views, 1.0, directions="sum"))
        assert added == pytest.approx(2 * expected, abs=1e-4)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_half_precision_projections_do_not_overflow(dtype):
    """A temperature of .05 takes float16 to exp(20), which it cannot hold."""
    z_1, z_2 = (tf.cast(z * 100, dtype) for z in pair(1, 6, 4))
    loss = nt_xent_loss(z_1, z_2, 0.05)
    assert loss.dtype == tf.float32
    as_given = [tf.cast(z, tf.float64).numpy() for z in (z_1, z_2)]
    np.testing.assert_allclose(loss, reference.nt_xent(*as_given, 0.05), **FLOAT32)
    # An image whose views are equal, among orthogonal ones: the smallest loss there is.
    eye = tf.eye(6, dtype=dtype)
    assert np.isfinite(nt_xent_loss(eye, eye, 0.05)).all()


@pytest.mark.parametrize("directions", ["mean", "sum"])
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_gradient_of_nt_xent(temperature, directions):
    z_1, z_2 = pair(2, 5, 3)

    def loss(a, b):
        return nt_xent_loss(a, b, temperature, directions=directions)

    received = gradients_of(loss, z_1, z_2)
    expected = reference.nt_xent_gradient(z_1, z_2, temperature, directions)
    np.testing.assert_allclose(received, expected, **FLOAT64)
    # A central difference of step 1e-5 is off by 1e-10 times the third derivative,
    # which grows by 1 / temperature^3: 1e-7.
    for_1 = numeric_gradient(lambda z: loss(z, tf.constant(z_2)), z_1)
    for_2 = numeric_gradient(lambda z: loss(tf.constant(z_1), z), z_2)
    np.testing.assert_allclose(received, [for_1, for_2], rtol=0, atol=1e-7)


def test_regression_equals_the_paper():
    q, z = pair(3, 6, 4)
    expected = reference.regression(q, z)
    np.testing.assert_allclose(regression_loss(q, z), expected, **FLOAT64)
    loss = regression_loss(tf.cast(q, tf.float32), tf.cast(z, tf.float32))
    assert loss.dtype == tf.float32
    np.testing.assert_allclose(loss, expected, **FLOAT32)


def test_gradient_of_the_regression():
    q, z = pair(4, 5, 3)
    (received,) = gradients_of(lambda x: regression_loss(x, tf.constant(z)), q)
    np.testing.assert_allclose(received, reference.regression_gradient(q, z), **FLOAT64)
    numeric = numeric_gradient(lambda x: regression_loss(x, tf.constant(z)), q)
    np.testing.assert_allclose(received, numeric, rtol=0, atol=1e-9)


@pytest.mark.parametrize("directions", ["mean", "sum"])
def test_simclr_asks_for_its_own_temperature_and_directions(directions, tiny_config):
    config = tiny_config("simclr", temperature=0.3, directions=directions)
    z_1, z_2 = pair(5, 4, 3)
    method = find_method("simclr").load()(config)
    loss = method.compute_loss({"projection_1": z_1, "projection_2": z_2})
    expected = reference.nt_xent(z_1, z_2, 0.3, directions)
    np.testing.assert_allclose(loss, expected, **FLOAT64)


@pytest.mark.parametrize("directions", ["mean", "sum"])
def test_byol_predicts_the_other_view(directions, tiny_config):
    method = find_method("byol").load()(tiny_config("byol", directions=directions))
    (q_1, q_2), (z_1, z_2) = pair(6, 4, 3), pair(7, 4, 3)
    loss = method.compute_loss(
        {
            "prediction_1": tf.constant(q_1),
            "prediction_2": tf.constant(q_2),
            "target_projection_1": tf.constant(z_1),
            "target_projection_2": tf.constant(z_2),
        }
    )
    expected = reference.regression(q_1, z_2) + reference.regression(q_2, z_1)
    share = 0.5 if directions == "mean" else 1.0
    np.testing.assert_allclose(loss, share * expected, **FLOAT64)
