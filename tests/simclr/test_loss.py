"""What NT-Xent must be whatever the numbers; its values are held in tests/fidelity."""

import numpy as np
import tensorflow as tf

from simclr_tf.loss import nt_xent_loss


def test_equal_projections_give_the_logarithm_of_the_negatives():
    z = tf.ones([8, 4])
    np.testing.assert_allclose(nt_xent_loss(z, z, 0.1), np.log(15), rtol=1e-6)


def test_swapping_the_views_changes_nothing():
    z_1, z_2 = np.random.default_rng(2).normal(size=(2, 5, 3))
    # The same sums in another order, float64.
    np.testing.assert_allclose(
        nt_xent_loss(z_1, z_2, 0.3), nt_xent_loss(z_2, z_1, 0.3), rtol=1e-12
    )


def test_the_order_of_the_images_changes_nothing_but_the_order():
    z_1, z_2 = np.random.default_rng(3).normal(size=(2, 6, 3))
    order = [3, 0, 5, 1, 4, 2]
    np.testing.assert_allclose(
        nt_xent_loss(z_1[order], z_2[order], 0.3),
        nt_xent_loss(z_1, z_2, 0.3).numpy()[order],
        rtol=1e-12,
    )


def test_length_changes_nothing():
    z_1, z_2 = np.random.default_rng(4).normal(size=(2, 5, 3))
    lengths = np.array([[0.01], [1], [3], [70], [1e4]])
    np.testing.assert_allclose(
        nt_xent_loss(z_1 * lengths, z_2 / lengths, 0.3),
        nt_xent_loss(z_1, z_2, 0.3),
        rtol=1e-12,
    )


def test_an_unknown_batch_size_is_traced():
    """As in a graph that takes batches of any size."""
    z_1, z_2 = np.random.default_rng(5).normal(size=(2, 5, 3))

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float64)] * 2)
    def traced(a, b):
        return nt_xent_loss(a, b, 0.3)

    np.testing.assert_allclose(
        traced(z_1, z_2), nt_xent_loss(z_1, z_2, 0.3), rtol=1e-12
    )
