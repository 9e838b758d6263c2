"""Each format where its runtime alone is installed, on the same JPEG files."""

import numpy as np
import pytest
import tensorflow as tf
from artefacts import (
    FORMATS,
    export_saved_model,
    export_tflite,
    make_network,
    photograph,
    represent,
    views_of,
    write,
)
from environments import OURS
from mutations import encode

from selfsup_tf.exporting.card import format_programs
from selfsup_tf.exporting.parity import compare
from selfsup_tf.exporting.runtime import write_inputs

SIZE = 40  # above 32 pixels an evaluation view is a crop
PREPROCESSING = {
    "size": [SIZE, SIZE],
    "central_crop": 0.875,
    "exif_orientation": "applied",
}


@pytest.fixture(scope="module")
def encoder():
    return make_network(SIZE)


@pytest.fixture(scope="module")
def photographs():
    """JPEG files, each of a size of its own."""
    sizes = np.random.default_rng(0).integers(41, 120, (24, 2))
    images = [photograph(n, *size, grain=8) for n, size in enumerate(sizes)]
    return [encode(image, "JPEG", quality=92) for image in images]


@pytest.fixture(scope="module")
def views(photographs):
    """Their evaluation views, (24, S, S, 3) float32."""
    return views_of(photographs, SIZE)


@pytest.fixture(scope="module")
def expected(encoder, views):
    """What the encoder makes of the files."""
    return represent(encoder, views)


def assert_close(expected, received, name):
    least = FORMATS[name].threshold.cosine
    assert compare(expected, received)["cosine_mean"] >= least
    # The measure can tell: of other files it says no.
    assert compare(expected[::-1], received)["cosine_mean"] < least


def card_answers(environment, path, format, report, photographs, work):
    """H of each file by the model card's own program, run there."""
    artefact = {
        "path": path.name,
        "format": format,
        "class_names": None,
        "signatures": report["signatures"],
    }
    described = {"artefacts": [artefact], "preprocessing": PREPROCESSING}
    (program,) = format_programs(described).values()
    found = []
    for contents in photographs:
        (work / "image.jpg").write_bytes(contents)
        end = "np.save('h.npy', representation)"
        environment.run("-c", f"{program}\n{end}", cwd=work)
        found.append(np.load(work / "h.npy")[0])
    return np.stack(found)


def test_tensorflow_alone(build, encoder, photographs, expected, tmp_path):
    model = export_saved_model(encoder, tmp_path / "saved_model")
    files = [np.frombuffer(contents, np.uint8) for contents in photographs]
    inputs = write_inputs(tmp_path / "files.npz", files)
    environment = build("tensorflow")
    assert environment.lacks(*OURS, "tensorflow_datasets", "ai_edge_litert")
    received, report = environment.probe(
        "saved_model_probe.py", model, "serve_bytes", inputs, tmp_path
    )
    assert_close(expected, received, "saved_model")
    assert report["runtime"] == f"tensorflow {tf.__version__}"


def test_litert_alone(build, encoder, photographs, views, expected, tmp_path):
    environment = build("ai-edge-litert", "pillow")
    assert environment.lacks(*OURS, "tensorflow", "keras")
    inputs = write_inputs(tmp_path / "views.npy", views)
    for precision in ("float32", "float16", "int8"):
        path = tmp_path / f"encoder_{precision}.tflite"
        export_tflite(encoder, path, precision=precision, calibration_images=views)
        received, report = environment.probe(
            "litert_probe.py", path, "serving_default", inputs, tmp_path
        )
        assert_close(expected, received, f"tflite_{precision}")
    received = card_answers(
        environment, path, "tflite_int8", report, photographs[:6], tmp_path
    )
    assert_close(expected[:6], received, "tflite_int8")


def test_onnxruntime_alone(build, encoder, photographs, views, expected, tmp_path):
    pytest.importorskip("onnxruntime", reason="pip install '.[onnx]'")
    pytest.importorskip("tf2onnx", reason="pip install '.[onnx]'")
    path = write("onnx", encoder, tmp_path / "encoder.onnx")
    environment = build("onnxruntime", "pillow")
    assert environment.lacks(*OURS, "tensorflow", "keras", "onnx", "tf2onnx")
    inputs = write_inputs(tmp_path / "views.npy", views)
    received, report = environment.probe(
        "onnx_probe.py", path, "serving_default", inputs, tmp_path
    )
    assert_close(expected, received, "onnx")
    received = card_answers(
        environment, path, "onnx", report, photographs[:6], tmp_path
    )
    assert_close(expected[:6], received, "onnx")
