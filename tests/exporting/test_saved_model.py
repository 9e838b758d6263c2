"""The signatures of a SavedModel, and what they refuse."""

import json
import pathlib
import textwrap

import keras
import mutations
import numpy as np
import pytest
import tensorflow as tf
from artefacts import FORMATS, export_saved_model, python

from selfsup_tf.data.views import evaluation_view

HERE = pathlib.Path(__file__).parent

SIZE = 16
NAMES = ("cat", "a dog", "Bär")


def make_models():
    """An encoder with BatchNorm and Dropout, and a classifier on it."""
    keras.utils.set_random_seed(1)
    images = keras.Input((SIZE, SIZE, 3))
    h = keras.layers.Conv2D(8, 3, 2)(keras.layers.Rescaling(2.0, -1.0)(images))
    h = keras.layers.ReLU()(keras.layers.BatchNormalization()(h))
    h = keras.layers.Dropout(0.5)(keras.layers.GlobalAveragePooling2D()(h))
    encoder = keras.Model(images, h)
    head = keras.layers.Dense(3, kernel_initializer=keras.initializers.Orthogonal(9.0))
    classifier = keras.Model(images, head(h))
    # Answers that differ between images.
    logits = classifier(evaluation_view(tf.constant(pixels()), SIZE), training=False)
    head.bias.assign(-tf.reduce_mean(logits, axis=0))
    return encoder, classifier


@pytest.fixture(scope="module")
def models():
    return make_models()


@pytest.fixture(scope="module")
def directory(models, tmp_path_factory):
    encoder, classifier = models
    place = tmp_path_factory.mktemp("saved") / "saved_model"
    return export_saved_model(
        encoder, place, classifier=classifier, class_names=NAMES, max_pixels=10_000
    )


@pytest.fixture(scope="module")
def loaded(directory):
    return tf.saved_model.load(str(directory))


def pixels(count=3, height=40, width=24):
    """Noise, brighter from image to image."""
    random = np.random.default_rng(5)
    noise = random.uniform(0, 255, (count, height, width, 3))
    return (noise * np.linspace(0, 1, count)[:, None, None, None]).astype(np.uint8)


def refused(function, match, **inputs):
    with pytest.raises(tf.errors.InvalidArgumentError, match=match):
        function(**{name: tf.constant(value) for name, value in inputs.items()})


def test_an_encoder_alone_has_its_four_signatures(models, tmp_path):
    export_saved_model(models[0], tmp_path / "a")
    loaded = tf.saved_model.load(str(tmp_path / "a"))
    assert sorted(loaded.signatures) == sorted(
        c.signature for c in FORMATS["saved_model"].calls(False)
    )
    assert not hasattr(loaded, "classifier")
    assert not list(tmp_path.glob("a/assets/*"))


def test_all_signatures_agree(loaded, models):
    encoder, classifier = models
    images = tf.constant(pixels())
    views = evaluation_view(images, SIZE)
    expected = encoder(views, training=False)
    files = tf.constant([tf.io.encode_png(image).numpy() for image in images])
    call = loaded.signatures
    for outputs in (
        call["serving_default"](images=images),
        call["serve_float"](images=tf.cast(images, tf.float32) / 255),
        call["serve_float"](images=views),
        call["serve_bytes"](image_bytes=files),
        call["raw"](images=views),
    ):
        assert list(outputs) == ["representation"]
        np.testing.assert_allclose(outputs["representation"], expected, atol=1e-5)
    logits = classifier(views, training=False)
    probabilities = tf.nn.softmax(logits).numpy()
    assert len(set(probabilities.argmax(1))) > 1
    for outputs in (
        call["classify"](images=images),
        call["classify_bytes"](image_bytes=files),
    ):
        np.testing.assert_allclose(outputs["probabilities"], probabilities, atol=1e-5)
        labels = [label.decode() for label in outputs["label"].numpy()]
        assert labels == [NAMES[n] for n in probabilities.argmax(1)]


def test_every_weight_is_stored_once(tmp_path):
    images = keras.Input((SIZE, SIZE, 3))
    h = keras.layers.Dense(300)(keras.layers.Flatten()(images))
    encoder = keras.Model(images, keras.layers.BatchNormalization()(h))
    head = keras.layers.Dense(100)
    classifier = keras.Model(images, head(encoder.output))
    for place, model, more in (
        ("alone", encoder, {}),
        ("both", classifier, {"class_names": tuple(f"c{n}" for n in range(100))}),
    ):
        options = {"classifier": classifier, **more} if more else {}
        export_saved_model(encoder, tmp_path / place, **options)
        stored = (tmp_path / place / "variables").glob("variables.data*")
        weights = 4 * model.count_params()
        # What it stores of the object graph takes the rest.
        assert weights <= sum(file.stat().st_size for file in stored) < 1.05 * weights


def test_the_names_lie_in_the_assets(directory):
    text = (directory / "assets" / "labels.txt").read_text(encoding="utf-8")
    assert text.splitlines() == list(NAMES)


def test_both_parts_can_be_fine_tuned_where_this_package_is_not(directory, tmp_path):
    np.save(tmp_path / "images.npy", np.float32(pixels(8, SIZE, SIZE) / 255))
    program = """
        import shutil, sys
        import numpy as np
        import tensorflow as tf
        # Moved: nothing refers to where it was written.
        shutil.copytree(sys.argv[1], "moved")
        loaded = tf.saved_model.load("moved")
        images = tf.constant(np.load("images.npy"))
        for part, count in ((loaded, 4), (loaded.classifier, 6)):
            weights = list(part.trainable_weights)
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(part(images, training=True) ** 2)
            gradients = tape.gradient(loss, weights)
            assert len(weights) == count, len(weights)
            assert all(float(tf.norm(g)) > 0 for g in gradients)
        # Dropout differs from call to call, as it must in training.
        first, second = (loaded(images, training=True) for _ in range(2))
        assert float(tf.reduce_max(abs(first - second))) > 0
        # One step moves what the signatures give, of the classifier too.
        before = loaded.signatures["classify"](images=tf.zeros((1, 9, 9, 3), tf.uint8))
        for weight, gradient in zip(weights, gradients):
            weight.assign_sub(0.01 * gradient)
        after = loaded.signatures["classify"](images=tf.zeros((1, 9, 9, 3), tf.uint8))
        change = abs(before["probabilities"] - after["probabilities"])
        assert float(tf.reduce_max(change)) > 0
        assert not [m for m in sys.modules if m.startswith("selfsup")]
    """
    done = python("-I", "-c", textwrap.dedent(program), directory, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["serve_float", "raw"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.1, 1.1, 255.0])
def test_floats_beyond_0_and_1_are_refused(loaded, name, value):
    images = np.full((2, SIZE, SIZE, 3), 0.5, np.float32)
    images[0] = 1.0005  # rounding is no reason
    images[1, 3, 4, 2] = value
    refused(loaded.signatures[name], r"in \[0, 1\] without NaN.*\[1\]", images=images)


def test_empty_and_wrong_shapes_are_refused_and_the_model_goes_on(loaded, models):
    call = loaded.signatures
    images = pixels()
    expected = models[0](evaluation_view(tf.constant(images), SIZE), training=False)
    for name, empty in {
        "serving_default": np.zeros((0, 9, 9, 3), np.uint8),
        "serve_float": np.zeros((2, 0, 9, 3), np.float32),
        "raw": np.zeros((0, SIZE, SIZE, 3), np.float32),
        "classify": np.zeros((2, 9, 0, 3), np.uint8),
    }.items():
        refused(call[name], "expected one image or more", images=empty)
    for name in ("serve_bytes", "classify_bytes"):
        refused(call[name], "expected one image or more", image_bytes=np.array([], "S"))
    refused(
        call["serving_default"], "not compatible with expected shape", images=images[0]
    )
    floats = np.float32(images / 255)
    refused(call["raw"], "not compatible with expected shape", images=floats)
    found = call["serving_default"](images=tf.constant(images))["representation"]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_file_beyond_the_limit_is_refused_by_its_header(loaded):
    # 101 x 100, where this model was exported with at most 10,000 pixels.
    for name in ("serve_bytes", "classify_bytes"):
        contents = [mutations.png(100, 101, 1, 0, bytes(101 * 14))]
        message = r"at most 10000 pixels; its header claims 101 x 100 \(height x width"
        refused(loaded.signatures[name], message, image_bytes=contents)
        contents = [mutations.png(100, 100, 1, 0, bytes(100 * 14))]
        assert loaded.signatures[name](image_bytes=tf.constant(contents))


def test_an_image_beyond_the_limit_is_refused(loaded):
    images = np.zeros((1, 101, 100, 3), np.uint8)
    message = r"at most 10000 pixels, N x H x W.*received the shape.*\[1 101 100 3\]"
    refused(loaded.signatures["serving_default"], message, images=images)
    refused(loaded.signatures["classify"], message, images=images)
    refused(loaded.signatures["serve_float"], message, images=np.float32(images))
    for name in ("serving_default", "classify"):
        assert loaded.signatures[name](images=tf.constant(images[:, 1:]))


@pytest.mark.parametrize(
    "shape, said",
    [
        ((1, 5, 5, 300), "expected shape"),
        ((40, 1, 1, 3), "at most 39 images"),  # 39 views of 16 x 16 have 9,984 pixels
        ((2, 80, 80, 3), "at most 10000 pixels"),
        ((1, 1, 700, 3), "at most 10000 pixels"),  # is resized to 16 x 700 on the way
    ],
)
def test_a_request_is_bounded_as_a_whole(loaded, shape, said):
    images = np.zeros(shape, np.uint8)
    for name in ("serving_default", "classify"):
        refused(loaded.signatures[name], said, images=images)
    refused(loaded.signatures["serve_float"], said, images=np.float32(images))


def test_views_and_files_are_counted(loaded):
    views = np.zeros((40, SIZE, SIZE, 3), np.float32)
    refused(loaded.signatures["raw"], "at most 39 images", images=views)
    assert loaded.signatures["raw"](images=tf.constant(views[:39]))
    for name in ("serve_bytes", "classify_bytes"):
        refused(loaded.signatures[name], "at most 39 images", image_bytes=[b""] * 40)


def test_a_batch_is_bounded_by_the_widest_layer(tmp_path):
    images = keras.Input((8, 8, 3))
    wide = keras.layers.UpSampling2D(64)(images)  # 512 x 512 x 3: 3 MiB of an image
    encoder = keras.Model(images, keras.layers.GlobalAveragePooling2D()(wide))
    path = export_saved_model(encoder, tmp_path / "a")
    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    refused(serve, "at most 341 images", images=np.zeros((342, 1, 1, 3), np.uint8))
    assert serve(images=tf.zeros((32, 1, 1, 3), tf.uint8))


def test_200_mutated_files_are_embedded_or_refused(models, tmp_path):
    """In a process of its own: a crash, a hang or a waste of memory is a red test."""
    encoder = models[0]
    export_saved_model(encoder, tmp_path / "saved_model")
    program = f"""
        import json, resource, sys
        sys.path.insert(0, {str(HERE)!r})
        import mutations
        import numpy as np
        import tensorflow as tf
        serve = tf.saved_model.load("saved_model").signatures["serve_bytes"]
        def peak_mb():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        files = mutations.mutated_files()
        good = [c for n, c in files if "_fine_" in n]
        expected = serve(image_bytes=tf.constant(good))["representation"].numpy()
        before = peak_mb()
        answers = {{}}
        for name, contents in files:
            try:
                h = serve(image_bytes=tf.constant([contents]))["representation"]
                assert h.shape == (1, 8) and np.isfinite(h).all(), name
                answers[name] = ""
            except tf.errors.InvalidArgumentError as error:
                answers[name] = error.message
        # After all that, alone and in one batch, the good ones are as they were.
        found = serve(image_bytes=tf.constant(good))["representation"].numpy()
        np.testing.assert_array_equal(found, expected)
        json.dump([answers, peak_mb() - before], open("answers.json", "w"))
    """
    done = python("-I", "-c", textwrap.dedent(program), cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    answers, added_mb = json.loads((tmp_path / "answers.json").read_text())
    assert len(answers) == 200
    for name, message in answers.items():
        kind = name.split("_")[1]
        assert not (kind == "fine" and message), (name, message)
        assert not (kind == "huge" and "its header claims" not in message), name
    refusals = [message for message in answers.values() if message]
    assert len(refusals) > 80
    # What an operator reads last, before the place in the graph, is the reason.
    reasons = [
        "nvalid",
        "claims",
        "decode",
        "format",
        "ncomplete",
        "nsupported",
        "must",
    ]
    unclear = [m for m in refusals if not any(reason in m for reason in reasons)]
    assert unclear == []
    assert added_mb < 300
