"""The product from one end to the other, through the commands a user types."""

import json
import shlex

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from selfsup_tf import cli
from selfsup_tf.data.sources.shapes import make_shapes
from selfsup_tf.data.views import evaluation_view
from selfsup_tf.methods import find_method, list_methods
from selfsup_tf.models.resnet import BLOCKS

SMALL = [
    "--image_size=16",
    "--batch_size=16",
    "--epochs=None",
    "--steps=4",
    "--steps_per_call=2",
    "--encoder.name=resnet18",
    "--encoder.width=0.0625",
    "--encoder.stem=small_stride2",
    "--optimizer.warmup_epochs=0",
    "--held_out=0",
]


@pytest.fixture(autouse=True)
def half_a_resnet(monkeypatch):
    """The least network that a flag can name, of half its blocks: time is tracing."""
    monkeypatch.setitem(BLOCKS, "resnet18", (1, 1, 1, 1))


@pytest.fixture
def archive(tmp_path):
    """An .npz with 120 train and 60 test images."""
    train, test = make_shapes("train", size=120), make_shapes("test", size=60)
    path = tmp_path / "images.npz"
    np.savez(path, x_train=train[0], y_train=train[1], x_test=test[0], y_test=test[1])
    return path


@pytest.fixture
def views(archive):
    """Four of its test images, as an encoder takes them."""
    return evaluation_view(tf.constant(np.load(archive)["x_test"][:4]), 16).numpy()


def assert_export_is_the_encoder(run_dir, views, precision, least):
    """Gives what a TFLite file makes of views, which is what the encoder does."""
    expected = keras.saving.load_model(run_dir / "encoder.keras")(views).numpy()
    path = run_dir / "export" / f"encoder_{precision}.tflite"
    answers = Interpreter(str(path)).get_signature_runner()(images=views)
    found = answers["representation"]
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    assert np.mean((found * expected).sum(1) / lengths) > least
    return answers


def test_an_archive_with_labels(archive, views, tmp_path, capsys):
    run_dir = tmp_path / "run"
    where = f"--run_dir={run_dir}"
    cli.train(["simclr", "shapes", where, f"--data={archive}", *SMALL])
    assert f"eval.py knn --run_dir={run_dir}" in capsys.readouterr().out
    for protocol, options, name in (
        ("knn", ["--k=10"], "knn_k=10.json"),
        ("linear", [], "linear.json"),
    ):
        cli.evaluate([protocol, where, *options])
        shown = capsys.readouterr().out
        numbers = json.loads((run_dir / "eval" / name).read_text())
        assert [one["size"] for one in numbers["measured_on"].values()] == [120, 60]
        row = numbers["rows"][0]
        for one in (row, row["beside"]["untrained"]):
            assert f"{100 * one['value']:.2f} %" in shown

    cli.export([where])
    shown = capsys.readouterr().out
    for precision, least in (("float32", 0.9999), ("float16", 0.999), ("int8", 0.98)):
        assert f"encoder_{precision}.tflite" in shown
        answers = assert_export_is_the_encoder(run_dir, views, precision, least)
        assert set(answers) == {"representation"}
    model = tf.saved_model.load(str(run_dir / "export" / "saved_model"))
    encoded = tf.stack([tf.io.encode_png(i) for i in np.load(archive)["x_test"][:4]])
    served = model.signatures["serve_bytes"](encoded)["representation"]
    raw = model.signatures["raw"](images=tf.constant(views))["representation"]
    np.testing.assert_allclose(served, raw, atol=1e-4)


def learns_labels(method):
    """Whether a method looks at one view of an image, and so at what is beside it."""
    return find_method(method).config_class.num_views == 1


def recipes(method):
    return find_method(method).recipes


METHODS = [method for method in list_methods() if method != "dummy"]


# SimCLR's is above, BYOL's below.
@pytest.mark.parametrize(
    "method",
    [m for m in METHODS if not learns_labels(m) and m not in ("simclr", "byol")],
)
def test_a_method_of_views(method, archive, views, tmp_path, capsys):
    run_dir = tmp_path / "run"
    where = f"--run_dir={run_dir}"
    recipe = next(name for name in ("shapes", "cifar10_cpu") if name in recipes(method))
    cli.train([method, recipe, where, f"--data={archive}", *SMALL])
    cli.evaluate(["knn", where, "--k=10"])
    assert "untrained" in capsys.readouterr().out
    cli.export([where, "--formats", "saved_model", "tflite_float32"])
    answers = assert_export_is_the_encoder(run_dir, views, "float32", 0.9999)
    assert set(answers) == {"representation"}


@pytest.mark.parametrize("method", filter(learns_labels, METHODS))
def test_a_method_that_learns_labels(method, archive, views, teacher, tmp_path, capsys):
    run_dir = tmp_path / "my [run]"
    where = f"--run_dir={run_dir}"
    # A network of its own, not another run's.
    own = {
        "finetune": ["--pretrained=None", "--head_layer=0", "--fraction=1"],
        "distill": ["--pretrained=None", f"--teacher={teacher}"],
    }.get(method, [])
    cli.train([method, "shapes", where, f"--data={archive}", *SMALL, *own])
    flag = shlex.quote(str(run_dir))
    assert f"eval.py accuracy --run_dir={flag}" in capsys.readouterr().out
    cli.evaluate(["accuracy", where])
    numbers = json.loads((run_dir / "eval" / "accuracy.json").read_text())
    shown = capsys.readouterr().out
    assert f"accuracy on 60 of {archive.stem}" in shown
    assert f"{100 * numbers['rows'][0]['value']:.2f} %" in shown
    cli.export([where, "--formats", "tflite_float32"])
    # What has labels brings its classifier along.
    answers = assert_export_is_the_encoder(run_dir, views, "float32", 0.9999)
    assert set(answers) == {"representation", "probabilities"}


def test_a_flat_folder_without_labels(tmp_path, capsys):
    photos = tmp_path / "photos"
    photos.mkdir()
    for index, image in enumerate(make_shapes("train", size=40)[0]):
        side = 24 + index % 9
        resized = tf.cast(tf.image.resize(image, (side, 40)), tf.uint8)
        contents = tf.io.encode_jpeg(resized).numpy()
        (photos / f"{index}.jpg").write_bytes(contents)
    (photos / "broken.jpg").write_bytes(contents[: len(contents) // 2])
    run_dir = tmp_path / "run"
    where = f"--run_dir={run_dir}"
    cli.train(["byol", "folder_cpu", where, f"--data={photos}", *SMALL])
    cli.evaluate(["neighbours", where])
    assert (run_dir / "eval" / "neighbours.png").exists()
    cli.export([where, "--formats", "tflite_int8"])
    assert (run_dir / "export" / "encoder_int8.tflite").exists()
    with pytest.raises(SystemExit) as end:
        cli.evaluate(["knn", where])
    assert end.value.code == 2
    said = capsys.readouterr()
    assert "label" in said.err
    first = json.loads((run_dir / "log.jsonl").read_text().splitlines()[0])
    assert first["images"] == 40
    assert len(first["skipped"]) == 1 and "broken.jpg" in first["skipped"][0]
