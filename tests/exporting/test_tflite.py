"""TFLite files: every precision with every option, run in LiteRT; and refusals."""

import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from artefacts import (
    PRECISIONS,
    Joined,
    Spectrum,
    export_tflite,
    flat_encoder,
    normed_network,
    represent,
    runner,
)

from selfsup_tf.errors import InputError
from selfsup_tf.exporting.parity import compare
from selfsup_tf.exporting.program import ConversionError
from selfsup_tf.exporting.quantisation.flatbuffer import compact, read_model

SIZE = 16
CLASSES = ("ship", "chat noir", "Größe")
# Least mean cosine of representations of 8 images, each format as exact as its numbers.
COSINES = {
    "float32": 0.9999999,
    "float16": 0.999999,
    "dynamic": 0.9995,
    "int8": 0.999,
    "uint8": 0.999,
    "int16x8": 0.9999,
}


@pytest.fixture(scope="module")
def encoder():
    return normed_network()


@pytest.fixture(scope="module")
def classifier(encoder):
    """Shares the encoder's layers, as one does that was fine-tuned from it."""
    dense = keras.layers.Dense(3, kernel_initializer=keras.initializers.Orthogonal(2))
    return keras.Model(encoder.input, dense(encoder.output))


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(3).integers(0, 256, (8, SIZE, SIZE, 3), np.uint8)


@pytest.fixture(scope="module")
def calibration():
    """Images without black and without white, which others may have."""
    random = np.random.default_rng(4)
    return random.uniform(0.2, 0.7, (24, SIZE, SIZE, 3)).astype(np.float32)


def run(path, pixels, batch=4):
    """Float outputs of a file, called as its details say: the type and the scales."""
    called = runner(path)
    uint8 = called.get_input_details()["images"]["dtype"] == np.uint8
    images = pixels if uint8 else pixels / np.float32(255)
    parts = [called(images=images[n : n + batch]) for n in range(0, len(pixels), batch)]
    outputs = {}
    for name, details in called.get_output_details().items():
        values = np.concatenate([part[name] for part in parts])
        if details["dtype"] == np.uint8:
            scale, zero_point = details["quantization"]
            values = scale * (values.astype(np.float32) - zero_point)
        outputs[name] = values
    return outputs


def cosine(a, b):
    return compare(a, b)["cosine_mean"]


def tensor_types(path):
    details = Interpreter(model_path=str(path)).get_tensor_details()
    return [tensor["dtype"] for tensor in details]


def operations(path):
    model = read_model(path.read_bytes())
    names = {v: k for k, v in vars(schema.BuiltinOperator).items()}
    codes = [code.builtinCode for code in model.operatorCodes]
    return [names[codes[o.opcodeIndex]] for o in model.subgraphs[0].operators]


@pytest.fixture(scope="module")
def plain(encoder, calibration, tmp_path_factory):
    """A file of each precision, without options."""
    place = tmp_path_factory.mktemp("plain")
    options = {"calibration_images": calibration}
    return {
        name: export_tflite(encoder, place / name, precision=name, **options)
        for name in PRECISIONS
    }


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_precision_as_it_is(encoder, pixels, calibration, plain, precision):
    path = plain[precision]
    # Bright and dark images lie outside the calibrated ranges of activations.
    calibrated = (calibration * 255).astype(np.uint8)
    received = run(path, calibrated)["representation"]
    assert cosine(received, represent(encoder, calibrated)) > COSINES[precision]
    (h,) = run(path, pixels).values()
    assert h.shape == (8, 64)
    details = runner(path).get_input_details()["images"]
    assert list(details["shape_signature"]) == [-1, SIZE, SIZE, 3]
    output = runner(path).get_output_details()["representation"]
    expected = np.uint8 if precision == "uint8" else np.float32
    assert details["dtype"] == output["dtype"] == expected
    assert not zipfile.is_zipfile(path)
    interpreter = Interpreter(model_path=str(path))
    assert list(interpreter.get_signature_list()) == ["serving_default"]


def test_sizes_and_types_are_those_of_the_precision(plain):
    # 10,600 weights, beside what a file of any precision holds.
    size = {name: path.stat().st_size for name, path in plain.items()}
    assert size["float16"] < size["float32"] - 15_000
    for name in ("dynamic", "int8", "uint8", "int16x8"):
        assert size[name] < size["float32"] - 25_000
    types = {name: tensor_types(path) for name, path in plain.items()}
    assert np.float16 in types["float16"]
    assert types["dynamic"].count(np.float32) > 5
    assert types["int8"].count(np.float32) == 2
    assert types["uint8"].count(np.float32) == 0
    assert types["int16x8"].count(np.float32) == 2
    assert types["int16x8"].count(np.int16) > 5


def test_integers_take_pixels_as_they_are(
    encoder, pixels, calibration, plain, tmp_path
):
    images = runner(plain["uint8"]).get_input_details()["images"]
    assert images["quantization"] == (pytest.approx(1 / 255), 0)
    options = dict(precision="int8", uint8_input=True, calibration_images=calibration)
    both = export_tflite(encoder, tmp_path / "b", **options)
    assert runner(both).get_input_details()["images"]["dtype"] == np.uint8
    a, b = (run(path, pixels)["representation"] for path in (plain["uint8"], both))
    np.testing.assert_allclose(a, b, atol=1e-6)
    assert runner(both).get_output_details()["representation"]["dtype"] == np.float32


@pytest.mark.parametrize("precision", PRECISIONS)
def test_all_options_at_once(
    encoder, classifier, pixels, calibration, tmp_path, precision
):
    path = export_tflite(
        encoder,
        tmp_path / "a.tflite",
        precision=precision,
        calibration_images=pixels / np.float32(255),
        batch=4,
        uint8_input=True,
        l2_normalize=True,
        classifier=classifier,
        class_names=CLASSES,
    )
    details = runner(path).get_input_details()["images"]
    assert details["dtype"] == np.uint8
    assert list(details["shape_signature"]) == [4, SIZE, SIZE, 3]
    outputs = run(path, pixels)
    assert sorted(outputs) == ["probabilities", "representation"]
    h = outputs["representation"]
    assert cosine(h, represent(encoder, pixels)) > COSINES[precision]
    # Integers put out have a step of 1/128.
    slack = 0.05 if precision == "uint8" else 1e-5
    np.testing.assert_allclose(np.linalg.norm(h, axis=1), 1, atol=slack)
    expected = tf.nn.softmax(represent(classifier, pixels)).numpy()
    assert expected.std() > 0.05
    np.testing.assert_allclose(outputs["probabilities"], expected, atol=0.03)
    assert zipfile.is_zipfile(path)


def test_a_vector_of_zeros_stays_zero(tmp_path):
    images = keras.Input((8, 8, 3))
    black = keras.layers.GlobalAveragePooling2D()(images)
    path = export_tflite(keras.Model(images, black), tmp_path / "a", l2_normalize=True)
    h = run(path, np.zeros((2, 8, 8, 3), np.uint8))["representation"]
    np.testing.assert_array_equal(h, 0)


def test_weights_in_common_are_stored_once(encoder, classifier, tmp_path):
    alone = export_tflite(encoder, tmp_path / "a").stat().st_size
    both = export_tflite(encoder, tmp_path / "b", classifier=classifier).stat().st_size
    # The head has 195 weights, the encoder 10,600.
    assert both < alone + 195 * 4 + 3000
    copy = keras.models.clone_model(classifier)
    copy.set_weights(classifier.get_weights())
    path = export_tflite(encoder, tmp_path / "c", classifier=copy)
    assert path.stat().st_size < alone + 195 * 4 + 3000


def test_labels_lie_in_a_zip_archive_behind_the_model(encoder, classifier, tmp_path):
    options = dict(classifier=classifier, class_names=CLASSES)
    a, b = (export_tflite(encoder, tmp_path / name, **options) for name in "ab")
    with zipfile.ZipFile(a) as archive:
        assert archive.namelist() == ["labels.txt"]
        assert archive.read("labels.txt").decode() == "ship\nchat noir\nGröße"
    assert a.read_bytes() == b.read_bytes()


def test_the_length_is_made_1_in_float_where_floats_come_out(
    encoder, calibration, tmp_path
):
    for precision, kinds in (("int8", [np.float32] * 3), ("uint8", [])):
        path = export_tflite(
            encoder,
            tmp_path / precision,
            precision=precision,
            calibration_images=calibration,
            l2_normalize=True,
        )
        assert "L2_NORMALIZATION" in operations(path)
        assert [t for t in tensor_types(path) if t == np.float32] == kinds


def test_compact_files_compute_the_same_and_keep_weights_aligned():
    images = keras.Input((SIZE, SIZE, 3))
    h = images
    for _ in range(4):
        h = keras.layers.Conv2D(64, 3, bias_initializer="normal")(h)
    encoder = keras.Model(images, keras.layers.GlobalAveragePooling2D()(h))
    converter = tf.lite.TFLiteConverter.from_keras_model(encoder)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    views = np.random.default_rng(0).random((9, 1, SIZE, SIZE, 3), np.float32)
    converter.representative_dataset = lambda: ([view] for view in views)
    contents = converter.convert()
    smaller = compact(contents)
    # Kernels and biases have 64 zero points of 8 bytes each, in each of four layers.
    assert len(smaller) < len(contents) - 7 * 64 * 8 + 500
    a, b = (
        Interpreter(model_content=c).get_signature_runner() for c in (contents, smaller)
    )
    (name,) = a.get_input_details()
    for view in views:
        (x,), (y,) = (called(**{name: view}).values() for called in (a, b))
        np.testing.assert_array_equal(x, y)
    model = schema.Model.GetRootAsModel(smaller, 0)
    buffers = [model.Buffers(n).DataAsNumpy() for n in range(model.BuffersLength())]
    starts = [
        b.__array_interface__["data"][0] for b in buffers if isinstance(b, np.ndarray)
    ]
    assert len(starts) > 8
    base = np.frombuffer(smaller, np.uint8).__array_interface__["data"][0]
    assert all((start - base) % 16 == 0 for start in starts)


class Inverse(keras.layers.Layer):
    """Uses an operation that TFLite lacks."""

    def call(self, inputs):
        return tf.linalg.inv(inputs[..., 0])


def test_a_batch_that_can_not_change_is_fixed_to_1(tmp_path):
    path = export_tflite(flat_encoder(Joined()), tmp_path / "a.tflite")
    assert runner(path).get_input_details()["images"]["shape_signature"][0] == 1


@pytest.mark.parametrize(
    ("layer", "operation"),
    [(Inverse(name="whiten"), "MatrixInverse"), (Spectrum(name="whiten"), "FFT3D")],
)
def test_an_operation_that_tflite_lacks_is_named(tmp_path, layer, operation):
    encoder = flat_encoder(keras.layers.Conv2D(3, 1), layer)
    message = rf"{operation} \(of layer whiten\), which TFLite lacks\. Replace"
    with pytest.raises(ConversionError, match=message):
        export_tflite(encoder, tmp_path / "a.tflite")
    assert list(tmp_path.iterdir()) == []


class Square(keras.layers.Layer):
    """Converts to 16 bits, but no kernel runs it."""

    def call(self, inputs):
        return tf.math.squared_difference(inputs, 0.3)


def test_what_converts_and_does_not_run_is_refused(tmp_path):
    encoder = flat_encoder(keras.layers.Conv2D(3, 1), Square())
    images = np.random.default_rng(0).random((4, 8, 8, 3), np.float32)
    options = dict(calibration_images=images)
    with pytest.raises(ConversionError, match=r"int16x8.*SquaredDifference.*another"):
        export_tflite(encoder, tmp_path / "a", precision="int16x8", **options)
    assert list(tmp_path.iterdir()) == []
    export_tflite(encoder, tmp_path / "a", precision="int8", **options)


@pytest.mark.parametrize("precision", ["int8", "uint8", "int16x8"])
def test_integers_without_calibration_are_refused(encoder, tmp_path, precision):
    options = dict(precision=precision)
    with pytest.raises(InputError, match=f"calibration_images for {precision}"):
        export_tflite(encoder, tmp_path / "a.tflite", **options)
    with pytest.raises(InputError, match=r"shape \(9, 16, 3\)"):
        images = np.zeros((1, 9, 16, 3))
        export_tflite(encoder, tmp_path / "a", calibration_images=images, **options)


def test_a_layer_that_is_not_there_is_refused(encoder, calibration, tmp_path):
    options = dict(precision="int8", calibration_images=calibration)
    message = "layers of the encoder; received conv3d. Perhaps you meant: conv2d"
    with pytest.raises(InputError, match=message):
        export_tflite(encoder, tmp_path / "a", keep_float=("conv3d",), **options)
    assert list(tmp_path.iterdir()) == []
