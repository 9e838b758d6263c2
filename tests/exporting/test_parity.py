"""The measure itself, and the converter's refusals."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from selfsup_tf.errors import InputError
from selfsup_tf.exporting import parity, tflite


def test_compare():
    a = np.array([[3.0, 4.0], [1.0, 0.0]], np.float32)
    b = np.array([[6.0, 8.0], [0.0, 2.0]], np.float32)
    assert parity.compare(a, b) == {
        "cosine_mean": pytest.approx(0.5),
        "cosine_min": pytest.approx(0.0),
        "max_difference": pytest.approx(4.0),
    }


def test_compare_zeros_nan_and_shapes():
    zero, one = np.zeros((1, 2), np.float32), np.ones((1, 2), np.float32)
    assert parity.compare(zero, zero)["cosine_mean"] == 1
    assert parity.compare(zero, one)["cosine_mean"] == 0
    assert parity.compare(one, one * np.nan)["cosine_mean"] == -1
    assert parity.compare(one, np.ones((2, 2)))["cosine_mean"] == -1


def test_batches_keep_the_order_and_never_mix_shapes():
    shapes = [(2, 2), (2, 2), (2, 2), (3, 2), (2, 2)]
    images = [np.full((*s, 3), n, np.uint8) for n, s in enumerate(shapes)]
    found = list(parity.batches(images, 2))
    assert [b.shape[:2] for b in found] == [(2, 2), (1, 2), (1, 3), (1, 2)]
    assert [int(i[0, 0, 0]) for b in found for i in b] == [0, 1, 2, 3, 4]


def test_below_the_threshold_is_an_error_with_numbers():
    measured = parity.Parity(
        artefact="encoder_int8.tflite",
        signature="serving_default",
        precision="int8",
        cosine_mean=0.97,
        cosine_min=0.5,
        max_difference=2.5,
        threshold=0.98,
        num_images=256,
        batch="any",
        size_bytes=1000,
    )
    with pytest.raises(parity.ParityError, match=r"0\.970000.*0\.5.*2\.5.*Calibrate"):
        parity.require_parity(measured)


def flat_encoder(*layers):
    images = keras.Input((8, 8, 3))
    h = images
    for layer in layers:
        h = layer(h)
    return keras.Model(images, keras.layers.Flatten()(h))


def test_a_batch_that_can_not_change_is_fixed_to_one(tmp_path, monkeypatch):
    def refuse(contents, size):
        raise RuntimeError("resize")

    monkeypatch.setattr(tflite, "_invoke_on_two", refuse)
    encoder = flat_encoder(keras.layers.Conv2D(2, 3))
    path = tflite.export_tflite(encoder, tmp_path / "a.tflite")
    views = np.random.default_rng(0).random((5, 8, 8, 3), np.float32)
    expected = parity.encode(encoder, views)
    measured = parity.measure_tflite(path, "float32", views, expected)
    assert measured.batch == "1"
    assert measured.cosine_min > 0.9999


class Inverse(keras.layers.Layer):
    """Uses an operation that TFLite lacks."""

    def call(self, inputs):
        return tf.linalg.inv(inputs[..., 0])


def test_an_operation_that_tflite_lacks_is_named(tmp_path):
    with pytest.raises(tflite.ConversionError, match="MatrixInverse"):
        tflite.export_tflite(flat_encoder(Inverse()), tmp_path / "a.tflite")
    assert list(tmp_path.iterdir()) == []


def test_int8_without_calibration_is_refused(tmp_path):
    encoder = flat_encoder(keras.layers.Conv2D(2, 3))
    with pytest.raises(InputError, match="calibration_images for int8"):
        tflite.export_tflite(encoder, tmp_path / "a.tflite", precision="int8")
    with pytest.raises(InputError, match=r"shape \(9, 8, 3\)"):
        tflite.export_tflite(
            encoder,
            tmp_path / "a.tflite",
            precision="int8",
            calibration_images=np.zeros((1, 9, 8, 3)),
        )
    with pytest.raises(InputError, match="Perhaps you meant: int8"):
        tflite.export_tflite(encoder, tmp_path / "a.tflite", precision="int4")
