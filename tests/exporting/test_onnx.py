"""ONNX files, run in onnxruntime; and refusals."""

import json
import re
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from artefacts import Joined, Spectrum, flat_encoder, represent, write

from selfsup_tf.commands import installing
from selfsup_tf.errors import InputError
from selfsup_tf.exporting import onnx_file
from selfsup_tf.exporting.program import ConversionError
from selfsup_tf.models.preprocessing import normalize


def export_onnx(encoder, path, **options):
    return write("onnx", encoder, path, **options)


needs_onnx = pytest.mark.usefixtures("onnx_packages")


@pytest.fixture(scope="session")
def onnx_packages():
    for name in onnx_file.NEEDED:
        pytest.importorskip(name, reason=f"the extra onnx is not installed: {name}")


def build_encoder(size=16):
    keras.utils.set_random_seed(1)
    images = keras.Input((size, size, 3), name="image")
    h = normalize(images, (0.49, 0.48, 0.45), (0.25, 0.24, 0.26))
    h = keras.layers.Conv2D(8, 3, 2, "same")(h)
    norm = keras.layers.BatchNormalization()
    h = keras.layers.DepthwiseConv2D(3, 2, "same")(norm(h))
    norm.set_weights(
        [np.linspace(*ends, 8) for ends in ((1, 2), (-1, 1), (0, 1), (2, 1))]
    )
    # What transformers and newer convolutional networks are made of.
    h = keras.layers.LayerNormalization()(h)
    h = keras.layers.Activation("gelu")(h)
    return keras.Model(images, keras.layers.GlobalAveragePooling2D()(h))


@pytest.fixture(scope="module")
def encoder():
    return build_encoder()


@pytest.fixture(scope="module")
def classifier(encoder):
    return keras.Model(encoder.input, keras.layers.Dense(3)(encoder.output))


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (7, 16, 16, 3), np.uint8)


def open_session(path):
    import onnxruntime

    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@needs_onnx
def test_any_number_of_images(encoder, pixels, tmp_path):
    path = export_onnx(encoder, tmp_path / "encoder.onnx")
    session = open_session(path)
    (images,), (output,) = session.get_inputs(), session.get_outputs()
    assert (images.name, images.type) == ("images", "tensor(float)")
    assert images.shape == ["N", 16, 16, 3]
    assert (output.name, output.shape) == ("representation", ["N", 8])
    views = pixels / np.float32(255)
    for count in (1, 7):
        (h,) = session.run(None, {"images": views[:count]})
        expected = represent(encoder, pixels[:count])
        assert expected.std() > 0.1
        np.testing.assert_allclose(h, expected, atol=1e-5)
    import onnx

    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert onnx_file.OPSET in [entry.version for entry in model.opset_import]


@needs_onnx
def test_options_and_a_classifier(encoder, classifier, pixels, tmp_path):
    path = export_onnx(
        encoder,
        tmp_path / "encoder.onnx",
        uint8_input=True,
        l2_normalize=True,
        classifier=classifier,
        class_names=("a", "b,c", "é"),
    )
    session = open_session(path)
    assert session.get_inputs()[0].type == "tensor(uint8)"
    names = [output.name for output in session.get_outputs()]
    assert names == ["representation", "probabilities"]
    h, probabilities = session.run(None, {"images": pixels})
    expected = represent(encoder, pixels)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(h, expected, atol=1e-5)
    expected = tf.nn.softmax(represent(classifier, pixels))
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    said = session.get_modelmeta().custom_metadata_map
    assert json.loads(said["class_names"]) == ["a", "b,c", "é"]
    assert said["input_range"] == "0 to 255"
    assert said["l2_normalized"] == "true"


@needs_onnx
def test_the_metadata_say_how_images_are_prepared(encoder, tmp_path):
    small = export_onnx(encoder, tmp_path / "a.onnx")
    large = export_onnx(build_encoder(40), tmp_path / "b.onnx")
    said = [open_session(p).get_modelmeta().custom_metadata_map for p in (small, large)]
    assert said[0] == {
        "input_size": "16",
        "input_range": "0 to 1",
        "preprocessing": "RGB; bicubic with antialiasing to 16 x 16; the normalisation "
        "is inside",
        "l2_normalized": "false",
    }
    # Up to 32 pixels an evaluation view is not a crop.
    assert "central square of 87.5 % of the shorter side" in said[1]["preprocessing"]
    assert said[1]["input_size"] == "40"


@needs_onnx
def test_constants_and_compiled_functions_of_layers_are_in_the_file(pixels, tmp_path):
    """Those of keras.applications.EfficientNetB0 and ConvNeXt."""
    images = keras.Input((16, 16, 3))
    norm = keras.layers.Normalization(mean=(0.1, 0.5, 0.9), variance=(0.1, 0.2, 0.3))
    h = keras.layers.Conv2D(9, 3, groups=3)(norm(images))
    encoder = keras.Model(images, keras.layers.GlobalAveragePooling2D()(h))
    session = open_session(export_onnx(encoder, tmp_path / "a.onnx"))
    (h,) = session.run(None, {"images": pixels / np.float32(255)})
    np.testing.assert_allclose(h, represent(encoder, pixels), atol=1e-5)
    assert not tf.config.functions_run_eagerly()


class Quantile(keras.layers.Layer):
    """Uses another, which is copied into the file without a word."""

    def call(self, inputs):
        return tf.math.erfinv(inputs)


@needs_onnx
@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Spectrum(name="odd"), r"FFT3D.* \(of layer odd\).*ONNX lacks"),
        (Quantile(name="odd"), r"Erfinv \(of layer odd\).*ONNX lacks"),
        (Joined(), "2 images gave representations of shape"),
    ],
)
def test_what_onnx_can_not_express_is_refused(layer, message, tmp_path):
    with pytest.raises(ConversionError, match=message):
        export_onnx(flat_encoder(layer), tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_the_command_is_named(encoder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(InputError, match=re.escape(installing("onnx"))):
        export_onnx(encoder, tmp_path / "a.onnx")
