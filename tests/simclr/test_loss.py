"""What NT-Xent must be whatever the numbers; its values are held in tests/fidelity.

Those of its tiles are held here.
"""

import math
import os
import pathlib
import re
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import simclr_tf
from selfsup_tf.errors import InputError
from simclr_tf.log_sum_exp import PLAIN_LOGITS, TILE_LOGITS
from simclr_tf.loss import nt_xent_loss

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "fidelity"))
import numpy_reference as reference


def test_equal_projections_give_the_logarithm_of_the_negatives():
    z = tf.ones([8, 4])
    np.testing.assert_allclose(nt_xent_loss(z, z, 0.1), np.log(15), rtol=1e-6)


def test_other_orders_of_views_and_images_change_nothing_but_the_order():
    z_1, z_2 = np.random.default_rng(3).normal(size=(2, 6, 3))
    loss = nt_xent_loss(z_1, z_2, 0.3).numpy()
    order = [3, 0, 5, 1, 4, 2]
    # The same sums in another order, float64.
    np.testing.assert_allclose(nt_xent_loss(z_2, z_1, 0.3), loss, rtol=1e-12)
    reordered = nt_xent_loss(z_1[order], z_2[order], 0.3)
    np.testing.assert_allclose(reordered, loss[order], rtol=1e-12)


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


# Of the 22 candidates of 11 images: each alone, a divisor, the last tile half full,
# one in the last tile, one less than all, all, more than there are.
TILES = [1, 2, 4, 7, 21, 22, 50]
CLEAR_REFS = pathlib.Path("/proc/self/clear_refs")


def loss_and_gradients(z_1, z_2, temperature=0.1, tile=None, directions="mean"):
    """Of all images, and of their mean by both projections."""
    z_1, z_2 = tf.convert_to_tensor(z_1), tf.convert_to_tensor(z_2)
    with tf.GradientTape() as tape:
        tape.watch([z_1, z_2])
        loss = nt_xent_loss(z_1, z_2, temperature, directions=directions, tile=tile)
        mean = tf.reduce_mean(loss)
    return loss, *tape.gradient(mean, [z_1, z_2])


def assert_equal_to(expected, received, tolerance):
    """Each array but for `tolerance` times its largest entry."""
    for want, got in zip(expected, received, strict=True):
        np.testing.assert_allclose(
            got, want, rtol=0, atol=tolerance * np.abs(want).max()
        )


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("temperature", [0.01, 0.5])
def test_tiles_equal_the_paper(tile, temperature):
    z_1, z_2 = np.random.default_rng(6).normal(size=(2, 11, 4))
    for directions in ("mean", "sum"):
        options = (temperature, directions)
        expected = (
            reference.nt_xent(z_1, z_2, *options),
            *reference.nt_xent_gradient(z_1, z_2, *options),
        )
        received = loss_and_gradients(z_1, z_2, temperature, tile, directions)
        assert received[0].dtype == tf.float64
        assert_equal_to(expected, received, 1e-12)


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("temperature", [0.01, 0.1])
def test_tiles_equal_the_whole_in_float32(tile, temperature):
    z_1, z_2 = np.random.default_rng(7).normal(size=(2, 11, 4)).astype(np.float32)
    whole = loss_and_gradients(z_1, z_2, temperature)
    received = loss_and_gradients(z_1, z_2, temperature, tile)
    assert received[0].dtype == tf.float32
    assert_equal_to(whole, received, 1e-6)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_tiles_compute_half_precision_in_float32(dtype):
    """A temperature of .01 takes float16 to exp(100), which it cannot hold."""
    z_1, z_2 = tf.cast(np.random.default_rng(8).normal(size=(2, 11, 4)), dtype)
    loss, *gradients = loss_and_gradients(z_1, z_2, 0.01, tile=4)
    assert loss.dtype == tf.float32
    whole = nt_xent_loss(tf.cast(z_1, tf.float32), tf.cast(z_2, tf.float32), 0.01)
    np.testing.assert_allclose(loss, whole, rtol=1e-6, atol=1e-5)
    for gradient in gradients:
        assert gradient.dtype == dtype
        assert np.isfinite(tf.cast(gradient, tf.float32)).all()


@pytest.mark.parametrize("compile_it", [False, True])
@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-6), ("float64", 1e-12)])
def test_compiled_tiles_equal_the_whole(compile_it, dtype, tolerance):
    z_1, z_2 = np.random.default_rng(9).normal(size=(2, 11, 4)).astype(dtype)
    compiled = tf.function(loss_and_gradients, jit_compile=compile_it)
    received = compiled(z_1, z_2, temperature=0.1, tile=5)
    assert_equal_to(loss_and_gradients(z_1, z_2), received, tolerance)


def test_one_image_has_no_negatives_in_tiles():
    """All there is beside the anchor is its positive: log(e^s) - s = 0."""
    z = tf.ones([1, 4])
    for value in loss_and_gradients(z, z, tile=1):
        np.testing.assert_allclose(value, tf.zeros_like(value), atol=1e-6)


def test_a_tile_of_nothing_is_refused():
    z = tf.ones([2, 4])
    with pytest.raises(InputError, match="tile >= 1; received 0"):
        nt_xent_loss(z, z, 0.1, tile=0)


def traced_sizes(images):
    """How many elements the tensors of the loss and its gradients have.

    Of all the graph, the bodies of its loops included. What a loop keeps of each of
    its turns lies in lists.

    Returns:
        The sizes of all tensors, and those of the members of the lists.
    """
    spec = tf.TensorSpec([images, 2])
    graph = tf.function(loss_and_gradients).get_concrete_function(spec, spec).graph
    definition = graph.as_graph_def(add_shapes=True)
    tensors, members = [], []
    for nodes in (definition.node, *(f.node_def for f in definition.library.function)):
        sizes = {
            node.name: [
                tf.TensorShape(shape).num_elements() or 0
                for shape in node.attr["_output_shapes"].list.shape
            ]
            for node in nodes
        }
        tensors += [size for outputs in sizes.values() for size in outputs]
        for node in nodes:
            # The accumulators of a loop that is differentiated.
            assert node.op != "TensorListPushBack"
            if node.op == "TensorListSetItem":
                members += sizes[node.input[2].partition(":")[0]]
    return tensors, members


def test_no_tensor_grows_with_the_square_of_the_batch():
    """Of a batch that chooses tiles by itself. Nothing is computed, only traced."""
    largest = math.isqrt(PLAIN_LOGITS) // 2
    tensors, members = traced_sizes(largest)
    assert max(tensors) == (2 * largest) ** 2 == PLAIN_LOGITS
    assert not members
    for images in (largest + 1, 16 * largest):
        tensors, members = traced_sizes(images)
        tile = max(tensors) / (2 * images)
        assert TILE_LOGITS / 2 < 2 * images * tile < TILE_LOGITS + 2 * images
        # The logits of a tile and their exponentials, forward and backward.
        assert tensors.count(max(tensors)) >= 4
        # The gradients of the candidates in a tile, in one list.
        assert members == [tile * 2]


@pytest.mark.skipif(not os.access(CLEAR_REFS, os.W_OK), reason="Linux tells the peak")
def test_a_tape_keeps_no_tiles():
    """Run eagerly, too, where a tape keeps what it sees."""
    z_1, z_2 = np.random.default_rng(11).normal(size=(2, 2048, 2)).astype(np.float32)
    loss_and_gradients(z_1[:64], z_2[:64], tile=16)
    # Makes the peak what is resident now.
    CLEAR_REFS.write_text("5")
    before = resident("VmRSS")
    loss_and_gradients(z_1, z_2, tile=256)
    assert resident("VmHWM") - before < 4096 * 4096 * 4 / 2


def resident(key):
    """Bytes of memory of this process: "VmRSS" now, "VmHWM" at the peak."""
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"{key}:\s*(\d+) kB", status)[1])


def test_tiles_reach_the_candidates_of_other_replicas(run_program, tmp_path):
    """Two logical CPUs in a process of their own, of six images each, float64."""
    program = pathlib.Path(__file__).parent / "nt_xent_on_replicas.py"
    z_1, z_2 = np.random.default_rng(10).normal(size=(2, 12, 4))
    np.save(tmp_path / "z.npy", [z_1, z_2])
    run_program(program, tmp_path / "z.npy", tmp_path / "received.npz")
    expected = loss_and_gradients(z_1, z_2)
    with np.load(tmp_path / "received.npz") as received:
        for form in ("whole", "tiles"):
            names = [f"{form}_{name}" for name in ("loss", "dz_1", "dz_2")]
            assert_equal_to(expected, [received[name] for name in names], 1e-12)


def test_the_loss_of_keras_is_the_mean_of_the_images():
    random = np.random.default_rng(5)
    one, other = (random.normal(size=(6, 4)).astype(np.float32) for _ in range(2))
    loss = simclr_tf.NTXent(temperature=0.2)
    expected = nt_xent_loss(tf.constant(one), tf.constant(other), 0.2)
    np.testing.assert_allclose(loss(one, other), tf.reduce_mean(expected), rtol=1e-6)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    np.testing.assert_array_equal(again(one, other), loss(one, other))


def test_unknown_directions_are_refused():
    with pytest.raises(InputError, match="Choose one of: mean, sum"):
        simclr_tf.NTXent(directions="average")
    with pytest.raises(InputError, match="Choose one of: mean, sum"):
        nt_xent_loss(tf.ones((2, 3)), tf.ones((2, 3)), 0.1, directions="average")


@pytest.mark.parametrize("temperature", [0, -1.0, math.inf, math.nan])
def test_a_temperature_that_tells_nothing_is_refused(temperature):
    with pytest.raises(InputError, match="a temperature above 0"):
        simclr_tf.NTXent(temperature)
    with pytest.raises(InputError, match="a temperature above 0"):
        nt_xent_loss(tf.ones((2, 3)), tf.ones((2, 3)), temperature)


@pytest.mark.parametrize("shape", [(3, 4), (2, 5), (2, 4, 1)])
def test_views_of_other_images_are_refused(shape):
    with pytest.raises(InputError, match="row by row of the same images"):
        simclr_tf.NTXent()(np.ones((2, 4)), np.ones(shape))
