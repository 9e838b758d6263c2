"""Distillation: its loss, a teacher that stays, a student that follows, refusals."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import selfsup_tf as selfsup
from distill_tf import teaching
from distill_tf.loss import distillation_loss, regression_loss, relational_loss
from distill_tf.model import build_predictor
from selfsup_tf import cli
from selfsup_tf.config import OptimizerConfig
from selfsup_tf.data.columns import WithColumn
from selfsup_tf.errors import InputError
from selfsup_tf.methods import find_method

PACKAGE = find_method("distill")


@pytest.mark.parametrize("temperature", [0.1, 1.0, 4.0])
def test_loss_is_the_papers(temperature):
    generator = np.random.default_rng(0)
    student, teacher = generator.normal(size=(2, 6, 5))
    expected = []
    for s, t in zip(student, teacher, strict=True):
        p_teacher = np.exp(t / temperature) / np.exp(t / temperature).sum()
        p_student = np.exp(s / temperature) / np.exp(s / temperature).sum()
        expected.append(-(p_teacher * np.log(p_student)).sum())
    found = distillation_loss(tf.constant(student), tf.constant(teacher), temperature)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_no_gradient_reaches_the_teacher_and_none_is_left_where_they_agree():
    logits = tf.random.stateless_normal([4, 3], [0, 1], dtype=tf.float64)
    teacher = tf.identity(logits)
    with tf.GradientTape() as tape:
        tape.watch([logits, teacher])
        loss = distillation_loss(logits, teacher, 0.5)
    ours, theirs = tape.gradient(loss, [logits, teacher])
    np.testing.assert_allclose(ours, 0, atol=1e-15)
    assert theirs is None


def test_the_student_follows_and_the_teacher_stays(
    tiny_config, tiny_method, few_images, tmp_path
):
    optimizer = OptimizerConfig(name="adam", learning_rate=0.1, warmup_epochs=0.0)
    config = tiny_config(
        "distill",
        temperature=1.0,
        steps=150,
        steps_per_call=50,
        optimizer=optimizer,
    )
    teacher = selfsup.load_network(config.teacher, "classifier")
    method = tiny_method(config)
    # Labels are not read: those given here would be refused by who reads them.
    run = selfsup.train(method, few_images[0], run_dir=tmp_path, progress=False)
    kept = method.model.get_layer("frozen").network.get_weights()
    for a, b in zip(kept, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    images = few_images[0][:, 8:24, 8:24].astype(np.float32) / 255
    student = selfsup.load_network(run.run_dir, "classifier")

    def gap(logits):
        answers = tf.nn.softmax(logits).numpy()
        return np.abs(answers - tf.nn.softmax(teacher(images)).numpy()).mean()

    assert gap(student(images)) < 0.5 * gap(np.zeros((64, 10), np.float32))


def unit(v):
    return v / np.sqrt((v**2).sum())


def test_regression_is_simregs():
    prediction, target = np.random.default_rng(0).normal(size=(2, 5, 7))
    pairs = list(zip(prediction, target, strict=True))
    expected = [((unit(p) - unit(t)) ** 2).sum() for p, t in pairs]
    found = regression_loss(tf.constant(prediction), tf.constant(target))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    cosines = [unit(p) @ unit(t) for p, t in pairs]
    np.testing.assert_allclose(found, 2 - 2 * np.array(cosines), rtol=1e-12)


def relation(prediction, target, queue):
    """SEED, equations 2 to 4, image by image."""
    losses = []
    for p, t in zip(prediction, target, strict=True):
        others = [*queue, unit(t)]
        student = np.array([np.exp(unit(p) @ d / 0.2) for d in others])
        teacher = np.array([np.exp(unit(t) @ d / 0.05) for d in others])
        student, teacher = student / student.sum(), teacher / teacher.sum()
        losses.append(-(teacher * np.log(student)).sum())
    return np.array(losses)


def test_relations_are_seeds():
    generator = np.random.default_rng(0)
    prediction, target = generator.normal(size=(2, 5, 7))
    queue = np.array([unit(v) for v in generator.normal(size=(9, 7))])
    temperatures = {"student_temperature": 0.2, "teacher_temperature": 0.05}
    with tf.GradientTape() as tape:
        values = [tf.constant(v) for v in (prediction, target, queue)]
        tape.watch(values)
        found = relational_loss(*values, **temperatures)
        total = tf.reduce_sum(found)
    np.testing.assert_allclose(found, relation(prediction, target, queue), rtol=1e-12)
    ours, *theirs = tape.gradient(total, values)
    assert theirs[0] is None  # the teacher's
    # By central differences, whose error is of the order of the step's square.
    step, moved = 1e-5, np.zeros_like(prediction)
    for place in np.ndindex(prediction.shape):
        ends = []
        for sign in (1, -1):
            there = prediction.copy()
            there[place] += sign * step
            ends.append(relation(there, target, queue).sum())
        moved[place] = (ends[0] - ends[1]) / (2 * step)
    np.testing.assert_allclose(ours, moved, rtol=1e-6, atol=1e-8)


def test_the_head_is_simregs():
    images = keras.Input((4, 4, 3))
    encoder = keras.Model(images, keras.layers.GlobalAveragePooling2D()(images))
    predictor = build_predictor(encoder, 5, "float32")
    layers = [
        layer for part in (predictor, predictor.layers[-1]) for layer in part.layers
    ]
    kinds = [type(layer).__name__ for layer in layers]
    kept = [k for k in kinds if k in ("Dense", "BatchNormalization", "ReLU")]
    assert kept == ["Dense", "BatchNormalization", "ReLU", "Dense"] * 2
    dense = [layer.units for layer in layers if isinstance(layer, keras.layers.Dense)]
    assert dense == [6, 3, 6, 5]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory, few_images):
    """An encoder of colours and edges for 16 px, in a file; of vectors of mean 0."""
    keras.utils.set_random_seed(5)
    images = keras.Input((16, 16, 3))
    h = keras.layers.Conv2D(24, 3, strides=2, activation="relu")(images)
    last = keras.layers.Conv2D(12, 3, strides=2)
    h = keras.layers.GlobalAveragePooling2D()(last(h))
    network = keras.Model(images, h)
    crops = few_images[0][:, 8:24, 8:24].astype(np.float32) / 255
    last.bias.assign(-network(crops).numpy().mean(axis=0))
    path = tmp_path_factory.mktemp("teacher") / "teacher.keras"
    network.save(path)
    return path


@pytest.mark.parametrize("loss", ["regression", "relational"])
@pytest.mark.parametrize("sees", ["view", "image"])
def test_the_student_learns_the_teachers_vectors(
    loss, sees, teacher, tiny_config, tiny_method, few_images, tmp_path
):
    config = tiny_config(
        "distill",
        teacher=str(teacher),
        loss=loss,
        teacher_sees=sees,
        queue=32,
        steps=80,
        steps_per_call=20,
        optimizer=OptimizerConfig(name="adam", learning_rate=0.05, warmup_epochs=0.0),
    )
    method = tiny_method(config)
    run = selfsup.train(method, few_images[0], run_dir=tmp_path, progress=False)
    losses = [r["train/loss"] for r in run.log if "train/loss" in r]
    if loss == "regression":
        assert losses[-1] < 0.5 * losses[0]
    else:
        assert losses[-1] < 0.85 * losses[0]  # its floor, the entropy, is above 0
        queue = method.state["queue"].numpy()
        np.testing.assert_allclose(np.linalg.norm(queue, axis=1), 1, rtol=1e-5)
        if sees == "image":  # the newest first: two batches of 16 are the whole queue
            network = keras.saving.load_model(teacher)
            views = selfsup.open_source(few_images[0]).ordered()
            whole = np.stack([e["image"] for e in views.as_numpy_iterator()])
            assert _are_among(queue, network, whole)
    # What a run hands over is the student alone.
    assert sorted(p.name for p in tmp_path.glob("*.keras")) == ["encoder.keras"]


def _are_among(vectors, network, images):
    """Whether each is the network's, of one of these images, of length 1."""
    from selfsup_tf.data.views import evaluation_view

    views = np.stack([evaluation_view(tf.constant(image), 16) for image in images])
    known = network(views, training=False).numpy()
    known /= np.linalg.norm(known, axis=1, keepdims=True)
    return ((vectors @ known.T).max(axis=1) > 1 - 1e-5).all()


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
@pytest.mark.parametrize("by", ["path", "index"])
def test_stored_vectors_teach_wherever_the_images_lie(
    by, suffix, teacher, few_images, tmp_path
):
    """Of a part of the images, too, as a run has it that holds some out."""
    images = few_images[0][:20]
    folder, moved = tmp_path / "was" / "photos", tmp_path / "now" / "photos"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
    for n, image in enumerate(images):
        keras.utils.save_img(folder / "ab"[n % 2] / f"{n:02}.png", image, scale=False)
    network, file = keras.saving.load_model(teacher), tmp_path / f"vectors{suffix}"
    given = images if by == "index" else folder
    written = selfsup.embed(network, given, file)
    assert written.count == 20
    if by == "path":
        folder.rename(tmp_path / "photos")
        moved.parent.mkdir()
        (tmp_path / "photos").rename(moved)
        given = moved
    source = selfsup.open_source(given)
    part = source.select(source.indices[3::2], "part")
    found, _ = teaching.vectors_of(str(file), part, 16, None)
    expected, _ = teaching.vectors_of(str(teacher), part, 16, None)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert found.shape == (len(part.indices), 12)


def test_a_vector_stays_with_its_image_in_any_order_and_part(few_images):
    """The vector of an image is its number here."""
    source = selfsup.open_source(few_images[0][:30])
    part = source.select(source.indices[5:25:2], "part")
    column = WithColumn(part, "target", part.indices[:, None].astype(np.float32))
    smaller = column.select(part.indices[2:7], "smaller")
    assert smaller.size == 5 and smaller.name == "smaller"
    for one in (column, smaller):
        for images in (one.ordered(), one.shuffled(seed=3, epoch=1)):
            pairs = [(int(e["index"]), float(e["target"][0])) for e in images]
            assert sorted(n for n, _ in pairs) == one.indices.tolist()
            assert all(n == vector for n, vector in pairs)


def test_vectors_that_do_not_fit_are_refused(teacher, few_images, tmp_path):
    images, file = few_images[0][:12], tmp_path / "vectors.npz"
    network = keras.saving.load_model(teacher)
    selfsup.embed(network, images[:8], file)
    source = selfsup.open_source(images)
    with pytest.raises(InputError, match="none of 4, such as 8"):
        teaching.vectors_of(str(file), source, 16, None)
    stored = dict(np.load(file))
    stored["index"][1] = 0
    np.savez(file, **stored)
    with pytest.raises(InputError, match="1 that stand for an image again"):
        teaching.vectors_of(str(file), source.select(np.arange(1), "one"), 16, None)
    for contents, said in (
        (b"", "vectors and index in"),
        (None, "no file"),
    ):
        file.unlink(missing_ok=True)
        if contents is not None:
            file.write_bytes(contents)
        with pytest.raises(InputError, match=said):
            teaching.vectors_of(str(file), source, 16, None)
    with pytest.raises(InputError, match="views of at most the 16 pixels"):
        teaching.vectors_of(str(teacher), source, 32, None)


def test_a_centred_teacher_says_how_an_image_differs_from_the_others():
    vectors = np.random.default_rng(0).normal(3, 1, (9, 4)).astype(np.float32)
    vectors[4] = 0  # of an image that is lost
    found = teaching.centred(vectors)
    there = np.arange(9) != 4
    mean = np.array(vectors[there], np.float64).sum(axis=0) / 8
    np.testing.assert_allclose(found[there], vectors[there] - mean, rtol=1e-5)
    assert (found[4] == 0).all() and found.dtype == np.float32


def test_one_layer_leads_to_a_centred_teacher(
    teacher, tiny_config, tiny_method, few_images, tmp_path
):
    config = tiny_config(
        "distill",
        teacher=str(teacher),
        loss="regression",
        teacher_sees="image",
        centre=True,
        predictor="linear",
    )
    source = selfsup.open_source(few_images[0])
    method = tiny_method(config)
    shown = {int(e["index"]): e["target"] for e in method.prepare(source).ordered()}
    vectors = teaching.vectors_of(str(teacher), source, 16, None)[0].astype(float)
    for row, index in enumerate(source.indices):
        expected = vectors[row] - vectors.mean(axis=0)
        np.testing.assert_allclose(shown[index], expected, rtol=1e-4, atol=1e-6)
    run = selfsup.train(method, source, run_dir=tmp_path, progress=False)
    losses = [r["train/loss"] for r in run.log if "train/loss" in r]
    assert losses[-1] < losses[0]
    head = method.student.trainable_variables[-2:]
    assert [tuple(weight.shape) for weight in head] == [(16, 12), (12,)]


@pytest.mark.parametrize("sees", ["view", "image"])
def test_manifest_and_card_name_the_teacher(
    sees, teacher, tiny_config, tiny_method, few_images, tmp_path
):
    config = tiny_config("distill", teacher=str(teacher), teacher_sees=sees, steps=1)
    method = tiny_method(config)
    selfsup.train(method, few_images[0], run_dir=tmp_path, progress=False)
    said = [f"--run_dir={tmp_path}", "--data=shapes", "--formats", "tflite_float32"]
    cli.export([*said, "--num_images=8"])
    manifest = json.loads((tmp_path / "export" / "manifest.json").read_text())
    digest = selfsup.open_teacher(str(teacher)).digest
    origin = manifest["training"]["teacher"]
    assert origin == {"name": "teacher.keras", "sha256": digest}
    assert digest in (tmp_path / "export" / "MODEL_CARD.md").read_text()


def test_what_can_not_be_distilled_is_refused(tiny_config, few_images, tmp_path):
    config = tiny_config("distill")
    for changes, message in (
        ({"teacher": ""}, "--teacher"),
        ({"teacher": str(tmp_path)}, "an encoder that exists"),
        ({"teacher": str(tmp_path), "loss": "classes"}, "Fine-tune one first"),
        ({"image_size": 32}, r"\(N, 32, 32, 3\)"),
        ({"centre": True}, "loss of vectors beside --centre"),
        ({"teacher_sees": "image"}, "loss of vectors beside --teacher_sees=image"),
        ({"loss": "regression", "centre": True}, "--teacher_sees=image beside"),
    ):
        method = PACKAGE.load()(dataclasses.replace(config, **changes))
        with pytest.raises(InputError, match=message):
            selfsup.train(method, few_images[0], run_dir=tmp_path / "run")
        assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match="a queue of at least a batch of 16"):
        dataclasses.replace(config, loss="relational", queue=8)
    with pytest.raises(InputError, match="temperature above 0"):
        dataclasses.replace(config, temperature=0.0)


def test_an_encoder_that_lies_beside_a_classifier_teaches_vectors(
    tiny_config, tmp_path
):
    for name in ("classifier", "encoder"):
        (tmp_path / f"{name}.keras").touch()
    for name, loss in (
        ("", "classes"),
        ("classifier.keras", "classes"),
        ("encoder.keras", "regression"),
    ):
        config = tiny_config("distill", teacher=str(tmp_path / name))
        assert config.resolved_loss == loss, name
