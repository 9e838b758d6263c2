"""What a person in a notebook sees: results in a line, pictures, no stray lines."""

import logging

import numpy as np
import pytest

import selfsup_tf as selfsup
import simclr_tf
from selfsup_tf.data.sources.shapes import make_shapes
from selfsup_tf.errors import InputError

GREETINGS = ("oneDNN", "absl::InitializeLog", "cuda", "cpu_feature_guard", "XLA")
IMAGES, LABELS = make_shapes("train", size=80)
TRAIN, TEST = (IMAGES[:60], LABELS[:60]), (IMAGES[60:], LABELS[60:])


def small_encoder(seed=0):
    import keras

    keras.utils.set_random_seed(seed)
    images = keras.Input((16, 16, 3))
    h = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(images)
    return keras.Model(images, keras.layers.GlobalAveragePooling2D()(h))


@pytest.fixture(scope="module")
def encoder():
    return small_encoder()


def results(encoder):
    """One of what each verb gives that is over in a moment."""
    judged = encoder, TRAIN, TEST
    config = simclr_tf.recipes.shapes(image_size=16)
    yield selfsup.open_source("shapes"), ("shapes:train", "8,000 images")
    yield selfsup.knn(*judged), ("top_1=", "num_test=20", "k=6")
    yield selfsup.linear_probe(*judged), ("top_1=", "optimizer='lbfgs'")
    yield selfsup.retrieval(*judged), ("mean_average_precision=", "'10': ")
    yield selfsup.robustness(*judged, corruptions=("jpeg",)), ("mean_top_1=",)
    yield selfsup.health(encoder, TRAIN, config=config), ("verdict=", " of 8, spread")
    yield selfsup.embedding_map(encoder, TRAIN), ("method='tsne'", "<60 x 2 float64>")
    yield selfsup.evaluate("knn", *judged), ("k-NN", "untrained", " %")
    yield selfsup.evaluate("health", encoder, TRAIN), ("RankMe", "untrained")


def test_results_are_a_few_lines_that_say_the_numbers(encoder):
    for result, said in results(encoder):
        text = repr(result)
        assert all(word in text for word in said), text
        assert len(text) < 700 and text.count("\n") < 8, text


def test_a_run_and_an_export_are_a_few_lines(tiny_config, tiny_method, tmp_path):
    config = tiny_config("simclr")
    run = selfsup.train(tiny_method(config), IMAGES, run_dir=tmp_path / "run")
    assert f"to step {config.steps}, loss " in repr(run)
    assert len(repr(run)) < 400
    exported = selfsup.export(
        run.encoder, tmp_path / "export", formats=("tflite_float32",), images=IMAGES
    )
    assert "encoder_float32.tflite" in repr(exported)
    assert len(repr(exported)) < 1500 and len(repr(exported.parities[0])) < 200
    assert len(repr(selfsup.open_teacher(str(tmp_path / "run/encoder.keras")))) < 400


def test_pictures_show_themselves(encoder, tmp_path):
    config = simclr_tf.recipes.shapes(image_size=16)
    for shown in (
        selfsup.preview_views(IMAGES, config, count=2),
        selfsup.neighbour_gallery(encoder, TRAIN, TEST, queries=2, hits=2),
        selfsup.embedding_map(encoder, TRAIN),
    ):
        assert shown._repr_png_().startswith(b"\x89PNG")


def test_a_result_is_a_table_in_a_notebook(encoder):
    found = selfsup.evaluate("knn", encoder, TRAIN, TEST)
    table = found._repr_html_()
    assert table.count("<tr>") == 1 + len(found.rows)
    assert f"{100 * found.rows[0].value:.2f} %" in table
    assert "<th>untrained</th><th>gain</th>" in table


@pytest.fixture
def said_by_tensorflow(caplog):
    """What TensorFlow logs where it takes Python for interactive."""
    logger = logging.getLogger("tensorflow")
    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(caplog.handler)
    yield lambda: [record.getMessage() for record in caplog.records]
    logger.removeHandler(caplog.handler)
    logger.setLevel(before)


JUDGING = """
import keras, numpy as np, selfsup_tf as selfsup
images, labels = np.random.default_rng(0).random((40, 16, 16, 3)), np.arange(40) % 2
for _ in range(4):
    x = keras.Input((16, 16, 3))
    h = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3)(x))
    print(selfsup.knn(keras.Model(x, h), (images, labels), (images, labels)).top_1)
"""


def test_many_encoders_in_one_process_give_no_warning(start_python):
    # In a process of its own, since TensorFlow warns of a function twice and no more.
    process = start_python("-c", JUDGING)
    out, err = process.communicate(timeout=120)
    assert len(out.splitlines()) == 4 and "retracing" not in err, err


def test_exports_do_not_tell_of_their_scratch_files(
    encoder, said_by_tensorflow, tmp_path
):
    formats = ("saved_model", "tflite_float32", "tflite_int8")
    selfsup.export(encoder, tmp_path / "export", formats=formats, images=IMAGES)
    assert not [line for line in said_by_tensorflow() if "Assets" in line]


@pytest.mark.parametrize(
    "program",
    [
        "import selfsup_tf; selfsup_tf.knn",
        "import selfsup_tf; selfsup_tf.layers",
        "import simclr_tf; simclr_tf.NTXent",
        "import byol_tf; byol_tf.BYOL",
        "import finetune_tf; finetune_tf.Finetune",
        "import distill_tf; distill_tf.Distill",
    ],
)
def test_verbs_come_without_the_greetings_of_tensorflow(
    program, start_python, monkeypatch
):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    use = "import tensorflow as tf; print(float(tf.reduce_sum(tf.ones(3))))"
    process = start_python("-c", f"{program}; {use}")
    out, err = process.communicate(timeout=120)
    assert out == "3.0\n" and not any(word in err for word in GREETINGS), err


def test_whoever_asks_gets_every_line(start_python):
    env = {"TF_CPP_MIN_LOG_LEVEL": "0"}
    process = start_python("-c", "import selfsup_tf; selfsup_tf.knn", env=env)
    _, err = process.communicate(timeout=120)
    assert "oneDNN" in err


def test_the_demo_says_what_it_does_and_nothing_else(
    start_python, tmp_path, monkeypatch
):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    folder = tmp_path / "demo"
    process = start_python("examples/demo.py", f"--run_dir={folder}", "--epochs=1")
    out, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    assert not any(word in out + err for word in (*GREETINGS, "retracing")), err
    assert "encoder_int8.tflite" in out and (folder / "report.html").exists()


def test_a_preview_refuses_the_floats_that_training_refuses():
    images = np.full((2, 32, 32, 3), 200.0)
    with pytest.raises(
        InputError, match=r"floats in \[0, 1\]; received values from 200"
    ):
        selfsup.preview_views(images, simclr_tf.recipes.shapes(), count=2)
