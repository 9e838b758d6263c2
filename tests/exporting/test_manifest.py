"""The manifest and the model card: complete, checkable, and with programs that run."""

import functools
import hashlib
import json
import re
import shutil

import numpy as np
import PIL.Image
import pytest
from artefacts import (
    artefact,
    make_network,
    photograph,
    python,
    represent,
    views_of,
    write,
)

from selfsup_tf.cli import about
from selfsup_tf.config import to_dict
from selfsup_tf.errors import InputError
from selfsup_tf.evaluation.features import weights_hash
from selfsup_tf.exporting.card import format_model_card
from selfsup_tf.exporting.format import Networks, Options
from selfsup_tf.exporting.manifest import (
    check_manifest,
    describe,
    read_manifest,
    without_places,
    write_manifest,
)
from selfsup_tf.exporting.measure import measure
from selfsup_tf.exporting.parity import format_table, require_parity
from selfsup_tf.exporting.proof import choose_images
from selfsup_tf.exporting.reference import make_reference
from selfsup_tf.files import write_json
from selfsup_tf.run import RunDirectory
from simclr_tf.config import SimCLRConfig

SIZE = 40  # above 32 pixels an evaluation view is a crop
TRAINING = {
    "method": "simclr",
    "recipe": "cifar10",
    "data": "photos",
    "epochs": 3.0,
    "classifier": "linear",
    "config": {"batch_size": 512},
}
METRICS = {"knn_top_1": 0.9125}
NAMES = ("cat", "dog", "bird")


def write_artefacts(encoder, classifier, directory, calibration):
    """One for each way of being called that the card must explain."""
    # What a SavedModel does not have.
    ignored = dict(batch=4, l2_normalize=True, keep_float=("conv",))
    shared = dict(classifier=classifier, class_names=NAMES)
    found = []
    for name, word, options in (
        ("saved_model", "saved_model", ignored),
        ("encoder_float32.tflite", "tflite_float32", {}),
        ("encoder_float16.tflite", "tflite_float16", {}),
        ("encoder_uint8.tflite", "tflite_uint8", {}),
        ("four.tflite", "tflite_float32", dict(batch=4, uint8_input=True)),
    ):
        more = dict(shared, calibration_images=calibration, **options)
        path = write(word, encoder, directory / name, **more)
        found.append(artefact(path, word, Options(**options), NAMES))
    return found


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(directory, encoder, manifest, rows, reference), the directory complete."""
    directory = tmp_path_factory.mktemp("export")
    encoder, classifier = make_network(SIZE, classes=3)
    # Of the encoder's own size, of which floats are taken as they are.
    images = np.stack([photograph(seed, SIZE, SIZE) for seed in range(60)])
    labels = np.arange(60) % 3
    proof = choose_images(
        (images[:20], labels[:20]),
        (images[20:], labels[20:]),
        size=SIZE,
        calibrates=True,
    )
    reference = make_reference(Networks(encoder, classifier, NAMES), proof)
    artefacts = write_artefacts(encoder, classifier, directory, proof.calibration.views)
    parities = [p for a in artefacts for p in measure(a, reference, proof)]
    manifest = describe(
        directory,
        encoder=encoder,
        artefacts=artefacts,
        parities=parities,
        reference=reference,
        proof=proof,
        training=TRAINING,
        metrics=METRICS,
    )
    (directory / "MODEL_CARD.md").write_text(format_model_card(manifest))
    write_manifest(directory, manifest)
    return directory, encoder, manifest, parities, reference


@pytest.fixture
def described_with(tmp_path):
    """Calls `describe` for a SavedModel without a classifier, proven on no labels."""
    encoder = make_network(SIZE)
    images = np.stack([photograph(seed) for seed in range(4)])
    proof = choose_images(images, size=SIZE, calibrates=False)
    return functools.partial(
        describe,
        tmp_path.parent,
        encoder=encoder,
        artefacts=[artefact(tmp_path, "saved_model")],
        # The programs of the card need nothing of it.
        parities=[],
        reference=make_reference(Networks(encoder), proof),
        proof=proof,
    )


def test_the_manifest_says_what_there_is(exported):
    directory, encoder, *_ = exported
    manifest = read_manifest(directory)
    assert manifest["encoder"] == {
        "name": "colours",
        "weights_sha256": weights_hash(encoder),
        "num_parameters": encoder.count_params(),
        "input_size": SIZE,
        "representation_size": 24,
    }
    assert manifest["preprocessing"]["central_crop"] == 0.875
    assert manifest["training"] == TRAINING and manifest["metrics"] == METRICS
    assert manifest["classifier"] == {"class_names": list(NAMES), "kind": "linear"}
    judges = manifest["accuracy_protocols"]
    assert judges["knn"] == {"k": 20, "temperature": 0.07}
    assert judges["linear"]["inverse_penalty"] > 0
    artefacts = {a["path"]: a for a in manifest["artefacts"]}
    assert set(artefacts) == {
        *("saved_model", "encoder_float32.tflite", "encoder_float16.tflite"),
        *("encoder_uint8.tflite", "four.tflite"),
    }
    images = artefacts["four.tflite"]["signatures"]["serving_default"]["inputs"]
    assert images == {"images": {"dtype": "uint8", "shape": [4, SIZE, SIZE, 3]}}
    floats = {"batch": None, "uint8_input": False, "l2_normalize": False, "exif": True}
    assert {name: a["options"] for name, a in artefacts.items()} == {
        "saved_model": {"exif": True},
        "encoder_float32.tflite": floats,
        "encoder_float16.tflite": floats,
        "encoder_uint8.tflite": {**floats, "uint8_input": True, "keep_float": []},
        "four.tflite": {**floats, "batch": 4, "uint8_input": True},
    }
    assert artefacts["saved_model"]["class_names"] == list(NAMES)
    assert "serve_bytes" in artefacts["saved_model"]["signatures"]
    quantised = artefacts["encoder_uint8.tflite"]["signatures"]["serving_default"]
    assert quantised["outputs"]["representation"]["scale"] > 0
    assert {"zero_point", "scale"} <= set(quantised["inputs"]["images"])
    assert manifest["proof"]["images"]["count"] == 20
    assert len(manifest["parity"]) == 14
    assert manifest["parity"][0]["runtime"].startswith("tensorflow")
    assert manifest["encoder_accuracy"]["knn_top_1"] is not None
    for name in ("tensorflow", "keras", "ai-edge-litert", "selfsup-tf", "python"):
        assert manifest["versions"][name]
    assert manifest["hardware"]["cpus"] >= 1


def test_every_signature_of_a_saved_model_is_proven(exported):
    *_, rows, reference = exported
    table = format_table(rows, reference)
    rows = [row for row in rows if row.artefact == "saved_model"]
    assert {row.signature: row.output for row in rows} == {
        "serving_default": "representation",
        "serve_float": "representation",
        "serve_bytes": "representation",
        "raw": "representation",
        "classify": "probabilities",
        "classify_bytes": "probabilities",
    }
    for row in rows:
        require_parity(row)
        assert row.cosine_min > 0.9999 and row.max_difference < 1e-5
        if row.output == "representation":
            assert row.knn_top_1 == reference.accuracy.knn_top_1
    assert "saved_model classify_bytes" in table
    head, *lines = [line.split("|") for line in table.splitlines()]
    column = [cell.strip() for cell in head].index("agree %")
    shares = {line[1].strip(): line[column].strip() for line in lines}
    assert shares["saved_model classify"] == "100.00"
    assert shares["saved_model raw"] == "—"


def test_every_file_is_listed_with_its_size_and_hash(exported):
    directory = exported[0]
    files = check_manifest(directory)["files"]
    there = {p for p in directory.rglob("*") if p.is_file()}
    there -= {directory / "manifest.json"}
    assert {directory / name for name in files} == there
    assert "MODEL_CARD.md" in files and "saved_model/saved_model.pb" in files
    contents = (directory / "four.tflite").read_bytes()
    assert files["four.tflite"] == {
        "bytes": len(contents),
        "sha256": hashlib.sha256(contents).hexdigest(),
    }


def test_a_changed_missing_or_foreign_file_is_named(exported, tmp_path):
    directory = tmp_path / "copy"
    shutil.copytree(exported[0], directory)
    check_manifest(directory)
    path = directory / "four.tflite"
    contents = bytearray(path.read_bytes())
    contents[-1] ^= 1
    path.write_bytes(contents)
    (directory / "saved_model" / "saved_model.pb").unlink()
    (directory / "saved_model" / "more.txt").write_text("?")
    with pytest.raises(
        InputError,
        match=r"changed: four\.tflite; missing: saved_model/saved_model\.pb; not of "
        r"this export: saved_model/more\.txt",
    ):
        check_manifest(directory)


def test_a_directory_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"a manifest\.json"):
        check_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"format_version": 99}))
    with pytest.raises(InputError, match="format_version 1; received 99"):
        check_manifest(tmp_path)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b'{"format_version": 1}', "no encoder, no preprocessing.*no parity"),
        (b"{", "Expecting property name"),
        (b"[]", "a JSON object in .*received list"),
        (b"\xff", "can't decode byte"),
        ({"files": []}, "received no files"),
        ({"encoder": {}}, "no weights_sha256"),
    ],
)
def test_a_damaged_manifest_is_told_so(exported, tmp_path, contents, message):
    if isinstance(contents, dict):
        whole = json.loads((exported[0] / "manifest.json").read_text())
        contents = json.dumps(whole | contents).encode()
    (tmp_path / "manifest.json").write_bytes(contents)
    with pytest.raises(InputError, match=rf"(?s){message}.*damaged") as error:
        check_manifest(tmp_path)
    assert str(tmp_path / "manifest.json") in str(error.value)
    assert "train.py" not in str(error.value)


def test_no_place_of_the_machine_is_published(exported, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "teacher").mkdir(parents=True)
    config = {
        "data": "/home/alice/secret/photos",
        "data_dir": "/scratch/alice",
        "run_dir": "runs/alice",
        "teacher": "runs/teacher",
        "image_size": 32,
        "layers": ["~/alice/a.npz", "block/1"],
    }
    found = without_places(
        {"data": "imagenet_v2/topimages", "config": config, "text": "1/2 of them"}
    )
    assert found == {
        "data": "imagenet_v2/topimages",
        "config": {
            "data": "photos",
            "teacher": "teacher",
            "image_size": 32,
            "layers": ["a.npz", "block/1"],
        },
        "text": "1/2 of them",
    }
    assert without_places({"data": "C:\\alice\\photos"}) == {"data": "photos"}


def test_what_is_described_has_no_places(described_with):
    training = {"data": "/home/alice/photos", "config": {"data_dir": "/home/alice"}}
    metrics = {"knn of /home": 0.5, "from": "/home/alice/eval/knn.json"}
    manifest = described_with(training=training, metrics=metrics)
    assert manifest["training"] == {"data": "photos", "config": {}}
    assert manifest["metrics"]["from"] == "knn.json"
    assert "alice" not in format_model_card(manifest)
    assert "exported without a classifier" in format_model_card(manifest)
    assert manifest["classifier"] is None
    prose = {"notes": "x" * 300 + " / y", "how": "~100 epochs w/ a warm-up"}
    assert without_places(prose | {"from": "~/a", "and": "../b/c"}) == prose | {
        "from": "a",
        "and": "c",
    }
    # Unlabelled images: nothing reads labels.
    assert manifest["accuracy_protocols"] is None


@pytest.mark.parametrize(
    ("learned", "said"),
    [
        ({}, "in 100 epochs"),
        ({"steps_learned": 200, "epochs_learned": 5.0}, "in 5 of 100 epochs"),
        ({"steps_learned": 3999, "epochs_learned": 99.98}, "in 100 epochs"),
        ({"steps_learned": 0, "epochs_learned": 0.0}, "in 0 of 100 epochs"),
    ],
)
def test_the_card_says_how_long_the_encoder_has_learned(described_with, learned, said):
    training = {"method": "simclr", "data": "photos", "epochs": 100.0} | learned
    title, _, card = format_model_card(described_with(training=training)).partition(
        "\n"
    )
    assert title.endswith(f"of photos, learned by simclr {said}")
    assert "anybody's judgement" not in card  # a fine-tuned one follows labels


def test_how_long_an_encoder_has_learned_is_told_by_its_state(tmp_path):
    run = RunDirectory(tmp_path)
    write_json(run.config, to_dict(SimCLRConfig()))
    records = [{"step": 0}, *({"step": n, "epoch": n / 40} for n in (40, 80, 120))]
    run.log.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert about.training(run)["epochs_learned"] == 3
    run.checkpoints.mkdir()
    for step in (40, 80):  # stopped after the state of step 80
        (run.checkpoints / f"ckpt-{step}.index").touch()
    learned = about.training(run)
    assert (learned["steps_learned"], learned["epochs_learned"]) == (80, 2)
    run.encoder("best").touch()
    write_json(run.best, {"step": 40, "by": "health/rank_me", "score": 3.0})
    assert about.training(run, "best")["epochs_learned"] == 1


def test_names_are_no_markup(described_with):
    names = "<b>a</b>, [cat](http://x), `c`, _d_, e_f"
    card = format_model_card(described_with(training={"data": names}, metrics={}))
    escaped = r"\<b\>a\</b\>, \[cat\](http://x), \`c\`, \_d\_, e_f"
    assert f"- data: {escaped}" in card


def programs(card):
    """{first file named above it: program} of a model card."""
    found = re.findall(r"^`([^`]+)`[^\n]*:\n\n```python\n(.*?)```", card, re.M | re.S)
    return dict(found)


def test_the_card_s_programs_give_the_encoder_s_representation(exported, tmp_path):
    directory, encoder, manifest, *_ = exported
    work = tmp_path / "copy"
    shutil.copytree(directory, work)
    PIL.Image.fromarray(photograph(30)).save(work / "image.jpg", quality=95)
    views = views_of([(work / "image.jpg").read_bytes()], SIZE)
    expected = represent(encoder, views)[0]
    card = (work / "MODEL_CARD.md").read_text()
    assert card == format_model_card(manifest)
    found = programs(card)
    assert list(found) == [
        *("saved_model", "encoder_float32.tflite", "encoder_uint8.tflite"),
        "four.tflite",
    ]
    assert "and likewise `encoder_float16.tflite`" in card
    # LiteRT would resize this file; an encoder of fixed shapes it would not.
    assert "np.repeat(images, 4, axis=0)" in found["four.tflite"]
    for name, program in found.items():
        end = "\nimport numpy\nnumpy.save('h.npy', representation)\n"
        if name == "saved_model":
            end += f"assert label in {NAMES}\n"
        else:
            end += "assert probabilities.shape[-1] == 3\n"
            end += "assert abs(probabilities[0].sum() - 1) < 0.02\n"
        done = python("-I", "-c", program + end, cwd=work)
        assert done.returncode == 0, f"{name}: {done.stderr}"
        received = np.load(work / "h.npy")
        # Pillow's and TensorFlow's JPEG decoders differ by a level here and there;
        # in uint8 a step of the representation is as large.
        tolerance = 0.01 if name != "encoder_uint8.tflite" else 0.05
        np.testing.assert_allclose(
            received[0], expected, atol=tolerance * np.abs(expected).max()
        )


def test_the_card_is_honest_and_complete(exported):
    directory, encoder, manifest, *_ = exported
    card = (directory / "MODEL_CARD.md").read_text()
    for words in (
        "# Image encoder colours of photos, learned by simclr in 3 epochs\n",
        "40 x 40 pixels",
        "24 numbers",
        weights_hash(encoder),
        "not been evaluated for fairness",
        "cat, dog, bird",
        "- method: simclr",
        "exported with it (linear) tells 3 classes",
        "20 neighbours by cosine, whose votes weigh exp(cosine / 0.07)",
        "logistic regression on standardised representations (lbfgs), C = ",
        '"batch_size": 512',
        "- knn_top_1: 0.9125",
        "20 images of",
        manifest["parity_table"],
        manifest["files"]["four.tflite"]["sha256"],
        "tensorflow 2",
    ):
        assert words in card, words
    assert "shrunk" not in card
    shrunk = {**manifest, "proof": {**manifest["proof"], "num_shrunk": 7}}
    assert "got 7 of the images shrunk" in format_model_card(shrunk)
    bare = format_model_card({**manifest, "training": {}, "metrics": {}})
    assert "No evaluation was recorded" in bare
    assert "Nothing was recorded" in bare
