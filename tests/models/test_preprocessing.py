"""An encoder's preprocessing: that of the papers, in layers that plain Keras has."""

import keras
import numpy as np
import pytest

from selfsup_tf.models.encoders import application_modules
from selfsup_tf.models.preprocessing import normalize, preprocess

MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((3, 8, 8, 3), np.float32)


@pytest.mark.parametrize("module", sorted(set(application_modules().values())))
def test_a_ready_made_network_sees_what_keras_prepares_for_it(module, images):
    inputs = keras.Input((8, 8, 3))
    found = keras.Model(inputs, preprocess(inputs, module))(images)
    prepare = getattr(keras.applications, module).preprocess_input
    expected = np.asarray(prepare(images * np.float32(255)))
    largest = np.abs(expected).max()
    # One rounding of a product more or less, of numbers up to the largest.
    np.testing.assert_allclose(found, expected, rtol=0, atol=4e-7 * largest)


def test_normalisation_takes_off_the_mean_and_divides_by_the_deviation(images):
    inputs = keras.Input((8, 8, 3))
    found = keras.Model(inputs, normalize(inputs, MEAN, STD))(images)
    expected = (images.astype(np.float64) - MEAN) / STD
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
