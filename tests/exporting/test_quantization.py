"""Which layers lose what int8 loses, found where one is planted, and kept float."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from artefacts import export_tflite, planted_network, represent, runner

from selfsup_tf.errors import InputError
from selfsup_tf.exporting.parity import compare
from selfsup_tf.exporting.program import ConversionError
from selfsup_tf.exporting.quantisation.flatbuffer import read_model
from selfsup_tf.exporting.quantisation.search import (
    Int8Search,
    LayerLoss,
    format_layers,
)

SIZE = 16


@pytest.fixture(scope="module")
def encoder():
    return planted_network()


@pytest.fixture(scope="module")
def views():
    return np.random.default_rng(0).random((48, SIZE, SIZE, 3), np.float32)


@pytest.fixture(scope="module")
def losses(encoder, views):
    return Int8Search(encoder, views[:24], views[24:]).lossy_layers()


def cosine(encoder, path, views):
    called = runner(path)
    taken = views
    if called.get_input_details()["images"]["dtype"] == np.uint8:
        taken = np.round(views * 255).astype(np.uint8)
    received = called(images=taken)["representation"]
    return compare(represent(encoder, views), received)["cosine_mean"]


def float_kernels(path):
    model = read_model(path.read_bytes())
    tensors = model.subgraphs[0].tensors
    return sorted(
        tuple(t.shape)
        for t in tensors
        if len(t.shape) == 4
        and model.buffers[t.buffer].data is not None
        and t.type == schema.TensorType.FLOAT32
    )


def test_the_planted_layer_is_named_first(losses):
    assert losses[0].layer == "conv2d_1"
    assert losses[0].operation == "CONV_2D"
    # Half its channels drown in the other half's step.
    assert losses[0].noise == pytest.approx(0.5, abs=0.01)
    assert losses[0].cosine_int8 < 0.9
    assert losses[0].cosine_kept > 0.999
    assert {loss.layer for loss in losses} >= {"conv2d", "conv2d_2", "conv2d_3", "pool"}
    for loss in losses[1:]:
        assert loss.cosine_kept < 0.95
    good = next(loss for loss in losses if loss.layer == "conv2d")
    assert good.noise < 1e-3


def test_scales_too_far_apart_for_a_fast_kernel_are_found(views, tmp_path):
    encoder = planted_network(planted=1000)
    first = Int8Search(encoder, views[:24], views[24:]).lossy_layers(1)[0]
    assert first.layer == "conv2d_1"
    assert first.cosine_int8 < 0.9
    assert first.cosine_kept > 0.999
    options = dict(precision="int8", calibration_images=views[:24])
    with pytest.raises(ConversionError, match=r"XNNPACK.*keep_float leaves layers"):
        export_tflite(encoder, tmp_path / "a", **options)
    path = export_tflite(encoder, tmp_path / "a", keep_float=(first.layer,), **options)
    assert cosine(encoder, path, views[24:]) > 0.999


@pytest.mark.parametrize("precision", ["int8", "uint8"])
def test_keeping_it_in_float_restores_the_cosine(encoder, views, tmp_path, precision):
    options = dict(precision="int8", calibration_images=views[:24])
    plain = export_tflite(encoder, tmp_path / "a", **options)
    assert cosine(encoder, plain, views[24:]) < 0.9
    options |= dict(precision=precision, keep_float=("conv2d_1",))
    path = export_tflite(encoder, tmp_path / "b", **options)
    assert cosine(encoder, path, views[24:]) > 0.999
    # That layer's and the next one's, behind the padding; not conv2d's and conv2d_3's.
    assert float_kernels(path) == [(16, 3, 3, 16), (32, 3, 3, 16)]
    taken = runner(path)
    expected = np.uint8 if precision == "uint8" else np.float32
    assert taken.get_input_details()["images"]["dtype"] == expected
    assert taken.get_output_details()["representation"]["dtype"] == np.float32


@pytest.mark.parametrize("l2_normalize", [False, True])
def test_uint8_images_are_the_same_to_mixed_files(views, tmp_path, l2_normalize):
    """Also where the encoder scales them back to 255 first, as ready-made ones do."""
    inner = planted_network(planted=None)
    images = keras.Input((SIZE, SIZE, 3))
    scaled = keras.layers.Rescaling(1 / 127.5, -1)(keras.layers.Rescaling(255)(images))
    encoder = keras.Model(images, inner(scaled))
    options = dict(
        precision="int8",
        calibration_images=views[:24],
        keep_float=("conv2d_3",),
        l2_normalize=l2_normalize,
    )
    pixels = np.round(views[24:] * 255).astype(np.uint8)
    found = []
    for uint8, taken in ((False, pixels / np.float32(255)), (True, pixels)):
        path = export_tflite(encoder, tmp_path / "a", uint8_input=uint8, **options)
        called = runner(path)
        assert called.get_input_details()["images"]["dtype"] == taken.dtype
        found.append(called(images=taken)["representation"])
    np.testing.assert_array_equal(found[0], found[1])


def test_a_float_first_layer_takes_no_uint8(encoder, views, tmp_path):
    options = dict(precision="uint8", calibration_images=views[:24])
    with pytest.raises(InputError, match="without the first layer"):
        export_tflite(encoder, tmp_path / "a", keep_float=("conv2d",), **options)


def test_the_suggestion_is_what_it_takes(encoder, views):
    search = Int8Search(encoder, views[:24], views[24:])
    assert search.suggest(0.99) == ("conv2d_1",)
    assert search.cosine(("conv2d_1",)) > 0.999
    # Out of reach: what gains nothing is left in int8 all the same.
    assert search.suggest(1.1, count=2) == ("conv2d_1",)
    assert Int8Search(planted_network(None), views[:24], views[24:]).suggest(0.98) == ()


def test_layers_that_end_the_encoder_are_known(views):
    """Their tensor is named after the output, and their operations are one."""
    images = keras.Input((SIZE, SIZE, 3))
    h = keras.layers.Conv2D(8, 3, 2, activation="relu", name="conv")(images)
    h = keras.layers.Dense(8, name="last")(keras.layers.Flatten()(h))
    h = keras.layers.BatchNormalization(name="norm")(h)
    encoder = keras.Model(images, keras.layers.ReLU(name="relu")(h))
    losses = Int8Search(encoder, views[:24], views[24:]).lossy_layers()
    assert {loss.layer for loss in losses} == {"conv", "last"}


def test_layers_made_of_layers_are_known_by_the_outer_name(views):
    images = keras.Input((SIZE, SIZE, 3))
    h = keras.layers.Conv2D(8, 4, 4, name="patches")(images)
    h = keras.layers.Reshape((16, 8))(h)
    h = keras.layers.LayerNormalization(name="norm")(h)
    h = keras.layers.MultiHeadAttention(2, 4, name="attention")(h, h)
    h = keras.layers.GlobalAveragePooling1D(name="pool")(h)
    encoder = keras.Model(images, h)
    losses = Int8Search(encoder, views[:24], views[24:]).lossy_layers()
    assert {loss.layer for loss in losses} == {"patches", "norm", "attention", "pool"}
    assert losses[0].cosine_int8 > 0.99


def test_the_table():
    losses = [
        LayerLoss("a_layer_of_a_long_name", "CONV_2D", 0.5, 0.83, 0.9991),
        LayerLoss("b", "DEPTHWISE_CONV_2D", 0.0004, 0.83, 0.8301),
    ]
    first, head, *rows = format_layers(losses).splitlines()
    assert first == "mean cosine in int8: 0.83000"
    assert len({len(line) for line in (head, *rows)}) == 1
    assert rows[0].split() == ["a_layer_of_a_long_name", "CONV_2D", "50.00%", "0.99910"]
    assert rows[1].split() == ["b", "DEPTHWISE_CONV_2D", "0.04%", "0.83010"]
    assert "No layer" in format_layers([])


def test_layers_that_can_not_be_kept_are_refused(encoder, views, tmp_path):
    options = dict(precision="int8", calibration_images=views[:24])
    with pytest.raises(InputError, match=r"that compute something; received 'dropout'"):
        export_tflite(encoder, tmp_path / "a", keep_float=("dropout",), **options)
    every = ("conv2d", "conv2d_1", "conv2d_2", "conv2d_3", "pool", "pad")
    with pytest.raises(InputError, match=r"some layer in int8.*float16"):
        export_tflite(encoder, tmp_path / "a", keep_float=every, **options)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match=r"shape \(M, 16, 16, 3\)"):
        Int8Search(encoder, views[:24], tf.zeros((2, 8, 8, 3)))
