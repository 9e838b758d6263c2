"""What artefacts are held to: the images, the encoder's answers, the thresholds."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from artefacts import (
    FORMATS,
    artefact,
    coloured,
    export_tflite,
    make_network,
    write,
)

from selfsup_tf.errors import InputError
from selfsup_tf.evaluation.features import Features
from selfsup_tf.evaluation.measures.knn import knn_from_features
from selfsup_tf.exporting.format import Networks, Options, Threshold
from selfsup_tf.exporting.formats import override_thresholds
from selfsup_tf.exporting.measure import measure
from selfsup_tf.exporting.parity import (
    Parity,
    ParityError,
    compare,
    format_table,
    require_parity,
)
from selfsup_tf.exporting.proof import choose_images
from selfsup_tf.exporting.reference import make_reference

SIZE = 16


@pytest.fixture(scope="module")
def proof():
    return choose_images(
        coloured(150, seed=1),
        coloured(400, seed=2),
        size=SIZE,
        calibrates=True,
        num_bank=300,
        num_calibration=50,
    )


@pytest.fixture(scope="module")
def networks():
    return make_network(classes=10)


@pytest.fixture(scope="module")
def reference(networks, proof):
    encoder, classifier = networks
    return make_reference(Networks(encoder, classifier, proof.class_names), proof)


def a_parity(**values):
    fields = {
        "artefact": "encoder_int8.tflite",
        "format": "tflite_int8",
        "signature": "serving_default",
        "output": "representation",
        "precision": "int8",
        "cosine_mean": 0.99,
        "cosine_min": 0.5,
        "max_difference": 2.5,
        "threshold": 0.98,
        "num_images": 1000,
        "batch": "any",
        "size_bytes": 1000,
        "latency_ms_one_core": 1.25,
        "latency_ms_all_cores": 0.75,
        "num_cores": 4,
        "peak_memory_mb": 45.4,
        "model_memory_mb": 4.0,
        "runtime": "ai-edge-litert 2.3.0",
        "inputs": {},
        "outputs": {},
    }
    return Parity(**fields | values)


# The measure itself


def test_compare():
    a = np.array([[3.0, 4.0], [1.0, 0.0]], np.float32)
    b = np.array([[6.0, 8.0], [0.0, 2.0]], np.float32)
    assert compare(a, b) == {
        "cosine_mean": pytest.approx(0.5),
        "cosine_min": pytest.approx(0.0),
        "max_difference": pytest.approx(4.0),
    }


def test_compare_zeros_nan_and_shapes():
    zero, one = np.zeros((1, 2), np.float32), np.ones((1, 2), np.float32)
    assert compare(zero, zero)["cosine_mean"] == 1
    assert compare(zero, one)["cosine_mean"] == 0
    assert compare(one, one * np.nan)["cosine_mean"] == -np.inf
    assert compare(one, np.ones((2, 2)))["cosine_mean"] == -np.inf


# Thresholds

THRESHOLDS = {word: found.threshold for word, found in FORMATS.items()}


def test_a_cosine_below_the_threshold_is_an_error_with_numbers():
    require_parity(a_parity())
    for word, advice in (
        ("tflite_int8", "Calibrate on"),
        ("tflite_dynamic", "Export tflite_float16"),
        ("onnx", "please report it"),
    ):
        match = rf"0\.970000.*0\.5.*2\.5.*1000 im.*{advice}"
        with pytest.raises(ParityError, match=match):
            require_parity(a_parity(cosine_mean=0.97), FORMATS[word].advice)
    with pytest.raises(ParityError, match="mean nan"):
        require_parity(a_parity(cosine_mean=np.nan))


@pytest.mark.parametrize(
    ("loss", "error", "limit", "fails"),
    [
        (0.9, 0.1, 1.0, False),  # below the limit
        (1.5, 0.9, 1.0, False),  # within two standard errors: chance does that
        (1.5, 0.7, 1.0, True),
        (1.5, 0.7, 2.0, False),
        (1.5, 0.7, None, False),
        (-3.0, 0.1, 1.0, False),  # better than the encoder
    ],
)
def test_a_loss_of_accuracy_must_be_large_and_no_chance(loss, error, limit, fails):
    parity = a_parity(
        knn_top_1=0.6, knn_loss=loss, knn_loss_error=error, knn_loss_limit=limit
    )
    if fails:
        with pytest.raises(ParityError, match=r"1 points of k-NN.*1\.50.*0\.70.*60\.0"):
            require_parity(parity)
    else:
        require_parity(parity)


@pytest.mark.parametrize(
    ("agreement", "limit", "fails"),
    [
        (0.99, 0.99, False),
        (0.98, 0.99, True),
        (0.985, 0.99, False),  # 5 of 1,000 more than 10: the standard error is 3
        (0.985, 0.9, False),
        (0.999, 1.0, False),  # one image of 1,000: two classes all but equal
        (0.998, 1.0, True),
        (0.5, None, False),
    ],
)
def test_a_classifier_must_give_the_encoder_s_classes(agreement, limit, fails):
    """Probabilities of one class that is most probable agree by their cosine anyway."""
    parity = a_parity(
        output="probabilities", agreement=agreement, agreement_threshold=limit
    )
    if fails:
        with pytest.raises(ParityError, match=r"% of the images or more the class.*98"):
            require_parity(dataclasses.replace(parity, agreement=0.98))
        with pytest.raises(ParityError, match=r"another class for \d+ of 1000 images"):
            require_parity(parity)
    else:
        require_parity(parity)


def test_thresholds_are_overridden_one_by_one():
    found = override_thresholds(
        cosine={"tflite_int8": 0.9}, knn_loss={"onnx": 3, "tflite_int8": 2.5}
    )
    assert found["tflite_int8"] == Threshold(0.9, 2.5, agreement=0.9)
    assert found["onnx"] == Threshold(THRESHOLDS["onnx"].cosine, 3)
    assert found["saved_model"] == THRESHOLDS["saved_model"]
    assert override_thresholds() == THRESHOLDS
    with pytest.raises(InputError, match="Perhaps you meant: tflite_int8"):
        override_thresholds(cosine={"tflite_in8": 0.9})
    with pytest.raises(InputError, match=r"cosine from -1 to 1 .* received 98"):
        override_thresholds(cosine={"onnx": 98})
    with pytest.raises(InputError, match=r"knn_loss from 0 to 100"):
        override_thresholds(knn_loss={"onnx": -1})
    found = override_thresholds(cosine={"int8": 0.9, "tflite": 0.8, "onnx": 0.7})
    assert (found["tflite_int8"].cosine, found["tflite_float16"].cosine) == (0.9, 0.8)
    found = override_thresholds(cosine={"tflite_int8": 0.9, "all": 0.8})
    assert (found["tflite_int8"].cosine, found["tflite_uint8"].cosine) == (0.9, 0.8)
    floats = ("saved_model", "tflite_float32", "tflite_float16", "onnx")
    for name, threshold in THRESHOLDS.items():
        assert threshold.agreement == (0.99 if name in floats else 0.9)
    found = override_thresholds(agreement={"onnx": 0.5})
    assert found["onnx"] == dataclasses.replace(THRESHOLDS["onnx"], agreement=0.5)
    with pytest.raises(InputError, match=r"agreement from 0 to 1 "):
        override_thresholds(agreement={"onnx": 99})


# Artefacts


def test_a_file_is_measured_with_its_own_representations(
    networks, proof, reference, tmp_path
):
    """Of another encoder: nothing in its row comes from the one it is compared with."""
    other = make_network(seed=5)
    path = export_tflite(other, tmp_path / "encoder_float32.tflite")
    work = tmp_path / "work"
    work.mkdir()
    (found,) = measure(artefact(path, "tflite_float32"), reference, proof, work=work)
    # The inputs stay for the next artefact, the outputs do not.
    assert sorted(p.name for p in work.iterdir()) == ["bank.npy", "views.npy"]
    own = make_reference(Networks(other), proof)
    expected = compare(reference.representations, own.representations)
    assert found.cosine_mean == pytest.approx(expected["cosine_mean"], abs=1e-5)
    assert found.max_difference == pytest.approx(expected["max_difference"], rel=1e-4)
    assert expected["cosine_mean"] < 0.9
    of_bank = other(tf.constant(proof.bank.views)).numpy()
    bank = Features(of_bank, proof.bank.labels, np.arange(300))
    queries = Features(own.representations, proof.held_out.labels, np.arange(150))
    knn = knn_from_features(bank, queries, k=20, temperature=0.07)
    assert found.knn_top_1 == pytest.approx(knn.top_1, abs=0.01)
    assert 0.3 < reference.accuracy.knn_top_1 < 0.9
    lost = reference.accuracy.knn_hits.astype(float) - own.accuracy.knn_hits
    assert found.knn_loss == pytest.approx(100 * lost.mean(), abs=1.4)
    error = 100 * lost.std(ddof=1) / np.sqrt(150)
    assert found.knn_loss_error == pytest.approx(error, abs=0.2)
    assert found.knn_loss_limit == 1.0
    assert found.linear_top_1 == pytest.approx(own.accuracy.linear_top_1, abs=0.1)
    assert found.num_images == 150
    assert found.size_bytes == path.stat().st_size
    assert (found.batch, found.precision) == ("any", "float32")
    assert found.inputs["images"]["shape"] == [None, SIZE, SIZE, 3]
    with pytest.raises(ParityError, match="Nothing was exported"):
        require_parity(found)


@pytest.mark.parametrize(
    ("precision", "options"),
    [
        ("float16", Options(batch=4, l2_normalize=True, uint8_input=True)),
        ("int8", Options()),
        ("uint8", Options(batch=1)),
    ],
)
def test_the_same_encoder_passes(
    networks, proof, reference, tmp_path, precision, options
):
    encoder, _ = networks
    word = f"tflite_{precision}"
    more = dict(vars(options), calibration_images=proof.calibration.views)
    path = write(word, encoder, tmp_path / "encoder.tflite", **more)
    written = artefact(path, word, options)
    (found,) = measure(written, reference, proof)
    require_parity(found)
    assert found.batch == str(options.batch or "any")
    # Rounding alone: a vector of another length would be off by far more.
    scale = 1.0 if options.l2_normalize else np.abs(reference.representations).max()
    assert found.max_difference < 0.2 * scale
    assert abs(found.knn_loss) < 5
    assert (found.inputs["images"]["dtype"] == "uint8") == written.options.uint8_input


def test_a_classifier_gets_a_row_of_its_own(networks, proof, reference, tmp_path):
    encoder, classifier = networks
    names = proof.class_names
    options = dict(classifier=classifier, class_names=names)
    path = export_tflite(encoder, tmp_path / "encoder_float32.tflite", **options)
    written = artefact(path, "tflite_float32", class_names=names)
    rows = measure(written, reference, proof)
    assert [row.output for row in rows] == ["representation", "probabilities"]
    representation, probabilities = rows
    assert representation.classifier_top_1 is None
    assert representation.knn_top_1 is not None
    assert probabilities.knn_top_1 is None
    assert probabilities.agreement == 1
    assert probabilities.agreement_threshold == 0.99
    assert probabilities.classifier_top_1 == reference.classifier_top_1
    answers = classifier(tf.constant(proof.held_out.views)).numpy().argmax(1)
    assert reference.classifier_top_1 == np.mean(answers == proof.held_out.labels)
    assert probabilities.cosine_mean > 0.99999
    for row in rows:
        require_parity(row)
    without = export_tflite(encoder, tmp_path / "without.tflite")
    with pytest.raises(ParityError, match=r"without\.tflite to give an output prob"):
        measure(
            artefact(without, "tflite_float32", class_names=names), reference, proof
        )


def test_labels_of_other_classes_give_a_classifier_no_accuracy(networks, proof):
    encoder, classifier = networks
    found = make_reference(Networks(encoder, classifier, tuple("abcdefghij")), proof)
    assert found.classifier_top_1 is None
    assert found.probabilities.shape == (150, 10)


class Balanced(keras.layers.Layer):
    """Divides by the brightest pixel, which of a black image is 0."""

    def call(self, inputs):
        return inputs / tf.reduce_max(inputs, axis=(1, 2, 3), keepdims=True)


@pytest.mark.parametrize("where", ["held_out", "bank"])
def test_one_image_of_nan_leaves_no_accuracy(networks, proof, tmp_path, where):
    encoder, _ = networks
    balanced = keras.Model(encoder.input, encoder(Balanced()(encoder.input)))
    part = getattr(proof, where)
    views = part.views.copy()
    views[7] = 0
    proof = dataclasses.replace(
        proof, **{where: dataclasses.replace(part, views=views)}
    )
    path = export_tflite(balanced, tmp_path / "encoder_float32.tflite")
    reference = make_reference(Networks(encoder), proof)
    (found,) = measure(artefact(path, "tflite_float32"), reference, proof)
    assert found.knn_top_1 is None and found.linear_top_1 is None
    if where == "held_out":
        assert found.cosine_min == found.cosine_mean == -np.inf
        with pytest.raises(ParityError, match="mean -inf"):
            require_parity(found)


def test_the_table_has_the_encoder_first_and_no_empty_columns(reference):
    bare = dataclasses.replace(reference, accuracy=None, classifier_top_1=None)
    table = format_table([a_parity(peak_memory_mb=None)], bare)
    cells = [[c.strip() for c in line.split("|")] for line in table.splitlines()]
    assert cells[0][1:-1] == [
        *("artefact", "cosine", "least", "max diff", "ms/image, 1 core"),
        *("ms/image, 4 cores", "MB"),
    ]
    assert cells[2][1] == "the encoder"
    assert cells[3][1:-1] == [
        *("encoder_int8.tflite", "0.99000", "0.50000", "2.5", "1.25", "0.75", "0.00")
    ]
    assert len({len(line) for line in table.splitlines()}) == 1
    table = format_table([a_parity(knn_top_1=0.125)], reference)
    assert "k-NN %" in table and "12.50" in table and "45" in table
    assert f"{100 * reference.accuracy.knn_top_1:.2f}" in table.splitlines()[2]
