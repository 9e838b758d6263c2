"""Exports of a small encoder: every format, its proof, and what is refused."""

import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from artefacts import (
    FORMATS,
    make_network,
    normed_network,
    planted_network,
    represent,
    runner,
    write,
)

from selfsup_tf.data.sources import open_source
from selfsup_tf.errors import InputError
from selfsup_tf.evaluation.measures.linear import linear_classifier
from selfsup_tf.exporting.exporter import export, format_table
from selfsup_tf.exporting.format import Networks, Options
from selfsup_tf.exporting.formats import choose_formats, override_thresholds
from selfsup_tf.exporting.manifest import check_manifest
from selfsup_tf.exporting.parity import ParityError
from selfsup_tf.exporting.portable import portable_encoder
from selfsup_tf.exporting.program import ConversionError

SIZE = 16
TFLITE = type(FORMATS["tflite_float32"])
FLOAT32 = {"formats": ("tflite_float32",)}


@pytest.fixture(scope="module")
def encoder():
    return normed_network()


@pytest.fixture(scope="module")
def images():
    return open_source("shapes", split="test").select(np.arange(300), "shapes:few")


@pytest.fixture(scope="module")
def few(images):
    """As few as a proof takes, for what asks for no accuracy."""
    return np.stack([one["image"] for one in images.select(range(4), "few").ordered()])


@pytest.fixture(scope="module")
def classifier(encoder, images):
    """A linear one above the very encoder."""
    classifier, found = linear_classifier(encoder, images)
    assert found == tuple(images.class_names)
    return classifier


@pytest.fixture(scope="module")
def exported(encoder, classifier, images, tmp_path_factory):
    """One export in every format, in a directory that does not exist yet."""
    directory = tmp_path_factory.mktemp("export") / "deep" / "exported"
    names = tuple(images.class_names)
    return export(
        encoder, directory, images=images, classifier=classifier, class_names=names
    )


def random_views(count, size=SIZE):
    return np.random.default_rng(3).random((count, size, size, 3), np.float32)


def test_of_all_formats_those_are_left_out_whose_packages_are_missing(
    monkeypatch, caplog
):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    words = [found.word for found in choose_formats("all")]
    assert words == [word for word in FORMATS if word != "onnx"]
    (said,) = caplog.messages
    assert said.startswith("Without onnx: ") and "pip install" in said
    choose_formats("tflite")
    assert len(caplog.messages) == 1
    for named in ("onnx", ("all", "onnx")):
        with pytest.raises(InputError, match="pip install"):
            choose_formats(named)


def test_everything_is_there_and_nothing_else(exported):
    directory = exported.directory
    assert sorted(p.name for p in directory.iterdir()) == [
        "MODEL_CARD.md",
        "encoder_float16.tflite",
        "encoder_float32.tflite",
        "encoder_int8.tflite",
        "manifest.json",
        "saved_model",
        "serving",
    ]
    assert [p.name for p in directory.parent.iterdir()] == ["exported"]
    written = check_manifest(directory)
    assert written["proof"]["images"] == {"source": "shapes:few", "count": 150}
    assert written["proof"]["calibration"]["count"] == 150
    assert len(written["parity"]) == len(exported.parities) == 12
    for row in exported.parities:
        assert row.num_images == 150
        assert row.cosine_mean >= row.threshold
        assert row.batch == "any"
        if row.output == "representation":
            assert row.knn_top_1 is not None and abs(row.knn_loss) < 5
    table = format_table(exported)
    for name in ("saved_model", "serve_bytes", "encoder_int8.tflite", "shapes:few"):
        assert name in table


def test_batchnorm_is_folded(exported):
    path = exported.directory / "encoder_float32.tflite"
    tensors = Interpreter(model_path=str(path)).get_tensor_details()
    # Mean and std of the input, kernel, bias and result of three convolutions, the
    # pooling: a BatchNorm left in place would add two constants and two results.
    assert len(tensors) <= 20


def test_an_encoder_file_is_exported(encoder, images, tmp_path):
    encoder.save(tmp_path / "encoder.keras")
    result = export(
        tmp_path / "encoder.keras", tmp_path / "e", **FLOAT32, images=images
    )
    (row,) = result.parities
    assert row.artefact == "encoder_float32.tflite"
    assert row.cosine_mean > 0.99999 and row.num_images == 150
    with pytest.raises(InputError, match=r"an encoder at .*none\.keras; received no"):
        export(tmp_path / "none.keras", tmp_path / "f")


def test_an_encoder_of_mixed_precision_is_exported_in_float32(few, tmp_path):
    inputs = keras.Input((SIZE, SIZE, 3))
    conv = keras.layers.Conv2D(8, 3, dtype="mixed_bfloat16")
    h = keras.layers.GlobalAveragePooling2D(dtype="float32")(conv(inputs))
    encoder = keras.Model(inputs, h)
    export(encoder, tmp_path / "e", **FLOAT32, images=few)
    views = random_views(3)
    exported = runner(tmp_path / "e" / "encoder_float32.tflite")
    received = exported(images=views)["representation"]
    kernel, bias = conv.get_weights()
    exact = tf.nn.conv2d(views, kernel, 1, "VALID").numpy() + bias
    np.testing.assert_allclose(received, exact.mean((1, 2)), atol=1e-5)


def test_a_portable_encoder_computes_the_same_without_replicas():
    inputs = keras.Input((SIZE, SIZE, 3))
    adapted = keras.layers.Normalization()
    adapted.adapt(np.random.default_rng(1).normal(2, 3, (9, SIZE, SIZE, 3)))
    inner = keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            keras.layers.Conv2D(4, 3),
            keras.layers.BatchNormalization(synchronized=True),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )
    encoder = keras.Model(inputs, inner(adapted(inputs)))
    copy = portable_encoder(encoder)
    assert copy.layers[-1].layers[1].synchronized is False
    assert encoder.layers[-1].layers[1].synchronized is True
    views = random_views(4)
    np.testing.assert_allclose(
        represent(copy, views), represent(encoder, views), atol=1e-6
    )
    plain = normed_network()
    assert portable_encoder(plain) is plain


def test_an_artefact_that_strays_is_an_error_and_leaves_nothing(
    encoder, few, tmp_path, monkeypatch
):
    perturbed = normed_network()
    random = np.random.default_rng(7)
    perturbed.set_weights(
        [w + random.normal(0, 0.3, w.shape) ** 2 for w in perturbed.get_weights()]
    )
    real = TFLITE.write
    monkeypatch.setattr(
        TFLITE, "write", lambda s, _, path, **k: real(s, Networks(perturbed), path, **k)
    )
    with pytest.raises(ParityError, match=r"mean cosine 0\.9.*Nothing was exp"):
        export(encoder, tmp_path / "e", **FLOAT32, images=few)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_earlier_export(encoder, few, tmp_path, monkeypatch):
    options = dict(FLOAT32, images=few)
    export(encoder, tmp_path / "e", **options)
    before = (tmp_path / "e" / "manifest.json").read_bytes()

    def fail(*args, **kwargs):
        raise ConversionError("no such operation")

    monkeypatch.setattr(TFLITE, "write", fail)
    with pytest.raises(ConversionError):
        export(encoder, tmp_path / "e", overwrite=True, **options)
    assert (tmp_path / "e" / "manifest.json").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["e"]


def test_an_earlier_export_is_kept_or_replaced_whole(encoder, few, tmp_path):
    """Also where a link leads to it."""
    place, link = tmp_path / "e", tmp_path / "link"
    link.symlink_to(place)
    export(encoder, place, formats=("tflite_float16",), images=few)
    with pytest.raises(InputError, match="overwrite"):
        export(encoder, place, **FLOAT32, images=few)
    assert (place / "encoder_float16.tflite").is_file()
    result = export(encoder, link, **FLOAT32, images=few, overwrite=True)
    assert result.directory == place and link.is_symlink()
    assert sorted(p.name for p in place.iterdir()) == [
        "MODEL_CARD.md",
        "encoder_float32.tflite",
        "manifest.json",
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["e", "link"]


def test_a_classifier_of_probabilities_or_of_one_output_is_refused(
    encoder, few, tmp_path
):
    """Files take the softmax of its logits: of these it would mean nothing."""
    for head, message in (
        (keras.layers.Dense(3, "softmax"), "one that gives probabilities"),
        (keras.layers.Dense(1, "sigmoid"), "two classes or more"),
    ):
        classifier = keras.Model(encoder.input, head(encoder.output))
        with pytest.raises(InputError, match=message):
            export(
                encoder, tmp_path / "e", **FLOAT32, images=few, classifier=classifier
            )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("manifest", "name"),
    [
        (None, "a.jpg"),
        ('{"manifest_version": 3}', "app.js"),
        ('{"files": {"encoder.onnx": {}}, "versions": {}}', "notes.txt"),
    ],
)
def test_what_no_export_has_written_is_never_replaced(
    encoder, few, tmp_path, manifest, name
):
    (tmp_path / name).write_text("dear")
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(InputError, match=rf"{name}.*left alone"):
        export(encoder, tmp_path, **FLOAT32, images=few, overwrite=True)
    assert (tmp_path / name).read_text() == "dear"


def test_what_appears_while_it_works_is_not_replaced(
    encoder, few, tmp_path, monkeypatch
):
    place = tmp_path / "e"
    real = TFLITE.write

    def write(*args, **kwargs):
        place.mkdir()
        (place / "thesis.txt").write_text("dear")
        real(*args, **kwargs)

    monkeypatch.setattr(TFLITE, "write", write)
    with pytest.raises(InputError, match="not there yet"):
        export(encoder, place, **FLOAT32, images=few)
    assert [p.name for p in place.iterdir()] == ["thesis.txt"]
    assert [p.name for p in tmp_path.iterdir()] == ["e"]


def test_the_manifest_tells_each_file_its_own_options(encoder, few, tmp_path):
    kept = next(v.name for v in encoder.layers if isinstance(v, keras.layers.Conv2D))
    result = export(
        encoder,
        tmp_path / "e",
        formats=("tflite_float32", "tflite_int8", "onnx"),
        images=few,
        options=Options(batch=2, l2_normalize=True, keep_float=(kept,)),
    )
    told = {a["format"]: a["options"] for a in result.manifest["artefacts"]}
    assert not told["tflite_float32"].get("keep_float")
    assert tuple(told["tflite_int8"]["keep_float"]) == (kept,)
    assert (told["tflite_int8"]["batch"], told["onnx"].get("batch")) == (2, None)
    assert told["onnx"]["l2_normalize"] is True


@pytest.mark.parametrize("word", ["saved_model", "tflite_float32", "onnx"])
@pytest.mark.parametrize(
    ("names", "size", "message"),
    [
        (("a", "b"), SIZE, "3 class_names, one for each logit; received 2"),
        (("a", "b\nc", "d"), SIZE, "one line each"),
        (("a", "", "d"), SIZE, "one line each"),
        (("a", "b", "c"), 8, r"a classifier of images of shape .*\(8, 8, 3\)"),
        (("a", "b", "c"), None, "class_names beside a classifier; received no class"),
    ],
)
def test_a_classifier_that_does_not_fit_is_refused(
    encoder, tmp_path, word, names, size, message
):
    classifier = size and make_network(size, classes=3)[1]
    options = dict(classifier=classifier, class_names=names)
    if word == "onnx":
        pytest.importorskip("tf2onnx")
    with pytest.raises(InputError, match=message):
        write(word, encoder, tmp_path / "a", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_saved_model_s_classes_have_names(encoder, classifier, tmp_path):
    with pytest.raises(InputError, match="beside a classifier; received none"):
        write("saved_model", encoder, tmp_path / "a", classifier=classifier)


def test_a_classifier_without_names_is_proven_by_its_numbers(few, tmp_path):
    encoder, classifier = make_network(classes=3)
    options = dict(formats="tflite_float32", images=few, classifier=classifier)
    result = export(encoder, tmp_path / "e", **options)
    assert [row.output for row in result.parities] == [
        "representation",
        "probabilities",
    ]
    assert result.manifest["classifier"]["class_names"] == ["0", "1", "2"]


def test_names_that_do_not_fit_are_refused_before_the_proof(few, tmp_path):
    encoder, classifier = make_network(classes=3)
    encoder.set_weights([w * np.nan for w in encoder.get_weights()])  # proves nothing
    with pytest.raises(InputError, match="3 class_names"):
        export(
            encoder,
            tmp_path / "e",
            images=few,
            classifier=classifier,
            class_names=("a", "b"),
        )


def test_an_encoder_of_nan_is_refused(few, tmp_path):
    encoder = normed_network()
    encoder.set_weights([w * np.nan for w in encoder.get_weights()])
    with pytest.raises(InputError, match="finite representations"):
        export(encoder, tmp_path / "e", images=few)
    assert list(tmp_path.iterdir()) == []


def test_a_classifier_comes_with_every_artefact(
    encoder, classifier, exported, tmp_path
):
    """Above the very encoder: its weights are in the files once, not twice."""
    views = random_views(5)
    logits = classifier(tf.constant(views), training=False)
    expected = tf.nn.softmax(logits).numpy()
    path = exported.directory / "encoder_float32.tflite"
    found = runner(path)(images=views)
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-5)
    np.testing.assert_allclose(
        found["representation"], represent(encoder, views), atol=1e-5
    )
    head = 4 * (64 * 10 + 10)
    kernels = sum(4 * w.size for w in encoder.get_weights())
    alone = write("tflite_float32", encoder, tmp_path / "alone.tflite")
    added = path.stat().st_size - alone.stat().st_size
    assert head <= added < head + kernels / 2
    rows = [row for row in exported.parities if row.output == "probabilities"]
    assert {row.signature for row in rows} == {
        "classify",
        "classify_bytes",
        "serving_default",
    }
    assert all(row.classifier_top_1 is not None for row in rows)


def test_thresholds_and_options_reach_the_files(encoder, few, tmp_path):
    options = Options(batch=4, uint8_input=True, l2_normalize=True)
    result = export(
        encoder,
        tmp_path / "e",
        **FLOAT32,
        images=few,
        options=options,
        thresholds=override_thresholds(cosine={"tflite_float32": 0.5}),
    )
    (row,) = result.parities
    assert (row.batch, row.threshold) == ("4", 0.5)
    assert row.cosine_mean > 0.999
    pixels = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3), np.uint8)
    exported = runner(tmp_path / "e" / "encoder_float32.tflite")
    h = exported(images=pixels)["representation"]
    np.testing.assert_allclose(np.linalg.norm(h, axis=1), 1, atol=1e-5)


def test_int8_that_strays_names_its_layers_and_auto_mends_it(images, tmp_path):
    """Channels a thousand times the others take all of a tensor's 8 bits."""
    encoder = planted_network()
    options = dict(formats=("tflite_int8",), images=images)
    with pytest.raises(ParityError, match=r"(?s)conv2d.*keep_float=auto") as error:
        export(encoder, tmp_path / "e", **options)
    assert "cosine when kept" in str(error.value)
    assert not (tmp_path / "e").exists()
    result = export(
        encoder, tmp_path / "e", options=Options(keep_float=("auto",)), **options
    )
    assert result.options.keep_float
    assert result.parities[0].cosine_mean >= result.parities[0].threshold
    assert "left in float32" in format_table(result)
