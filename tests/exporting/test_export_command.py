"""`export.py` as it is typed: classifier, thresholds, layers, verification, errors."""

import json

import keras
import numpy as np
import pytest
from artefacts import make_network, runner

from selfsup_tf import cli
from selfsup_tf.data.sources.shapes import make_shapes

SIZE = 16


@pytest.fixture
def where(tmp_path):
    """A run of an encoder and the data that it learned from."""
    run = tmp_path / "run"
    run.mkdir()
    make_network(SIZE).save(run / "encoder.keras")
    train, test = make_shapes("train", size=90), make_shapes("test", size=50)
    data = tmp_path / "data.npz"
    np.savez(data, x_train=train[0], y_train=train[1], x_test=test[0], y_test=test[1])
    config = {"method": "simclr", "data": str(data), "data_dir": None, "epochs": 3}
    config["image_size"] = SIZE
    (run / "config.json").write_text(json.dumps(config))
    return run


def export(run, *flags):
    cli.export([f"--run_dir={run}", *flags])


def refused(capsys, *flags):
    with pytest.raises(SystemExit) as end:
        cli.export(list(flags))
    return end.value.code, capsys.readouterr().err


def test_a_linear_classifier_is_exported_and_verified(where, capsys):
    formats = ["--formats", "tflite_float32", "tflite_float16"]
    export(where, *formats, "--classifier=linear", "--num_images=40")
    shown = capsys.readouterr().out
    assert "encoder_float16.tflite probabilities" in shown
    assert "compared on 40 images of data:test" in shown
    directory = where / "export"
    manifest = json.loads((directory / "manifest.json").read_text())
    assert manifest["training"]["method"] == "simclr"
    assert manifest["training"]["config"]["epochs"] == 3
    path = directory / "encoder_float32.tflite"
    views = np.random.default_rng(0).random((3, SIZE, SIZE, 3), np.float32)
    probabilities = runner(path)(images=views)["probabilities"]
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)

    cli.export([f"--verify={directory}"])
    assert "files are as they were exported" in capsys.readouterr().out
    contents = bytearray(path.read_bytes())
    contents[-1] ^= 1
    path.write_bytes(contents)
    code, said = refused(capsys, f"--verify={directory}")
    assert code == 2 and "encoder_float32.tflite" in said


def test_a_threshold_that_is_missed_leaves_nothing(where, capsys):
    flags = ["--formats", "tflite_float16", "--min_cosine", "tflite_float16", "1.0"]
    code, said = refused(capsys, f"--run_dir={where}", *flags)
    assert code == 1 and "mean cosine 1.0 or more" in said
    assert "please report it" in said  # the format's own advice
    assert not (where / "export").exists()


def test_layers_are_listed_in_place_of_an_export(where, capsys):
    export(where, "--lossy_layers=True")
    shown = capsys.readouterr().out
    assert "cosine when kept" in shown and "conv2d" in shown
    assert not (where / "export").exists()


def test_labels_that_were_learned_measure_no_accuracy(where, tmp_path, capsys):
    """A fine-tuned run on images without a test split has seen all their labels."""
    images, labels = make_shapes("train", size=60)
    np.savez(tmp_path / "all.npz", x_train=images, y_train=labels)
    encoder = keras.saving.load_model(where / "encoder.keras")
    logits = keras.layers.Dense(int(labels.max()) + 1)(encoder.output)
    keras.Model(encoder.input, logits).save(where / "classifier.keras")
    config = {"method": "finetune", "data": str(tmp_path / "all.npz"), "data_dir": None}
    (where / "config.json").write_text(json.dumps(config))
    accuracies = ("k-NN %", "linear %", "class. %")

    export(where, "--formats", "tflite_float32")
    shown = capsys.readouterr().out
    assert "encoder_float32.tflite probabilities" in shown
    assert "No accuracies: labels of these images may have gone into" in shown
    assert not any(column in shown for column in accuracies)
    card = (where / "export" / "MODEL_CARD.md").read_text()
    assert "labels of these images may have gone into the network" in card
    for flags in (["--num_bank=30"], ["--max_knn_loss", "tflite_float32", "2"]):
        code, said = refused(capsys, f"--run_dir={where}", *flags, "--overwrite=True")
        assert code == 2 and flags[0].partition("=")[0] in said

    # Nor do those of a test split that the run was on.
    config |= {"data": str(tmp_path / "data.npz"), "split": "test"}
    (where / "config.json").write_text(json.dumps(config))
    export(where, "--formats", "tflite_float32", "--overwrite=True")
    assert "No accuracies" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.evaluate(["knn", f"--run_dir={where}"])
    assert "a test split of" in capsys.readouterr().err

    config |= {"data": str(tmp_path / "all.npz"), "split": "train"}
    (where / "config.json").write_text(json.dumps(config))
    parted = f"--data={tmp_path / 'data.npz'}"
    export(where, "--formats", "tflite_float32", parted, "--overwrite=True")
    shown = capsys.readouterr().out
    assert "No accuracies" not in shown
    assert all(column in shown for column in accuracies)


def test_the_card_has_what_eval_found_of_this_very_encoder(where):
    cli.evaluate(["robustness", f"--run_dir={where}", "--corruptions", "blur"])
    cli.evaluate(["knn", f"--run_dir={where}", "--untrained=False"])
    cli.evaluate(["health", f"--run_dir={where}"])
    other = json.loads((where / "eval" / "knn.json").read_text())
    other["weights_hash"] = "another"
    (where / "eval" / "knn_k=5.json").write_text(json.dumps(other))
    export(where, "--formats", "tflite_float32")
    card = (where / "export" / "MODEL_CARD.md").read_text()
    section = card.partition("What is known of")[2].partition("\n## ")[0]
    lines = (line.partition(": ") for line in section.splitlines() if "- " in line)
    found = {name: value for name, _, value in lines}
    assert list(found) == [
        "- Health, verdict",
        "- Health, RankMe",
        "- k-NN, top-1",
        "- Robustness (corruptions blur), mean top-1",
    ]
    result = json.loads((where / "eval" / "knn.json").read_text())
    sets, number = result["measured_on"], 100 * result["rows"][0]["value"]
    settings = f"k={result['details']['trained']['k']}, temperature=0.1"
    judged = (
        f"{sets['train']['size']} images of {sets['train']['name']} judge "
        f"{sets['test']['size']} of {sets['test']['name']}"
    )
    assert found["- k-NN, top-1"] == f"{number:.2f} % ({settings}; {judged})"
    assert ", untrained " in found["- Robustness (corruptions blur), mean top-1"]
    verdict = json.loads((where / "eval" / "health.json").read_text())["verdict"]
    assert found["- Health, verdict"].startswith(f"{verdict}. 99 % of")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--run_dir=DIRECTORY, or --verify=DIRECTORY"),
        (["--verify=nowhere"], "nowhere"),
        (["--min_cosine", "tflite_int9", "0.5"], "tflite_int8"),
        (["--formats", "tflite_int4"], "tflite_int8"),
        (["--formats=tflite_int8,saved_model"], "spaces between formats"),
        (["--formats", "tflite_int8", "--keep_float", "conv3d"], "conv3d"),
        (["--formats", "tflite_float32", "--batch=0"], "batch"),
        (["--formats", "tflite_float32", "--keep_float", "x"], "that keep_float chan"),
        (["--formats", "saved_model", "--l2_normalize=True"], "that l2_normalize ch"),
        (["--formats", "tflite_int8", "--keep_float", "auto", "x"], "auto, or names"),
        (["--num_images=-1"], "num_images of 2 or more"),
        (["--verify=nowhere", "--batch=2"], "--batch"),
        (["--lossy_layers=True", "--overwrite=True"], "--overwrite"),
        (["--max_knn_loss", "onnx", "2"], "knn_loss for a format that is exported"),
        (["--formats", "saved_model", "--num_calibration=9"], "a format of integers"),
        (["--num_bank=0", "--max_knn_loss", "tflite", "2"], "that k-NN learns from"),
        (["--min_agreement", "tflite_int8", "0.9"], "a classifier beside"),
    ],
)
def test_mistakes_are_named(where, capsys, flags, message):
    run = [] if not flags or flags[0].startswith("--verify") else [f"--run_dir={where}"]
    code, said = refused(capsys, *run, *flags)
    assert code == 2
    assert message in said


def test_a_place_where_a_saved_model_can_not_be_loaded_is_refused(where, capsys):
    run = where.rename(where.with_name("lr=[1]"))
    before = sorted(run.rglob("*"))
    code, said = refused(capsys, f"--run_dir={run}", "--formats", "saved_model")
    assert code == 2 and "without [ ] * ? in its path" in said
    assert sorted(run.rglob("*")) == before
    export(run, "--formats", "tflite_float32")
    assert (run / "export" / "encoder_float32.tflite").is_file()


def test_another_encoder_of_the_folder_has_no_part_in_the_run_s_classifier(
    where, capsys
):
    encoder = keras.saving.load_model(where / "encoder.keras")
    encoder.save(where / "encoder_best.keras")
    logits = keras.layers.Dense(3)(encoder.output)
    keras.Model(encoder.input, logits).save(where / "classifier.keras")
    export(where / "encoder_best.keras", "--formats", "tflite_float32")
    shown = capsys.readouterr().out
    assert "encoder_float32.tflite" in shown and "probabilities" not in shown


def test_another_program_s_config_beside_a_network_is_left_alone(tmp_path, where):
    """It says nothing of how photographs are read, and is not handed on."""
    encoder = keras.saving.load_model(where / "encoder.keras")
    place = tmp_path / "network"
    place.mkdir()
    encoder.save(place / "model.keras")
    (place / "config.json").write_text('{"api_key": "secret", "encoder": "vit"}')
    data = f"--data={tmp_path / 'data.npz'}"
    export(place / "model.keras", "--formats", "tflite_float32", data)
    manifest = (place / "export" / "manifest.json").read_text()
    assert "secret" not in manifest
    assert json.loads(manifest)["preprocessing"]["exif_orientation"] == "applied"
