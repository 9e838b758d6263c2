"""`eval.py` from its command line: files left behind, and mistakes that exit with 2."""

import csv
import json
import pathlib

import keras
import numpy as np
import pyarrow.parquet
import pytest
import tensorflow as tf

from selfsup_tf import cli
from selfsup_tf.config import to_dict
from selfsup_tf.data.sources.shapes import make_shapes
from selfsup_tf.data.views import evaluation_view
from selfsup_tf.files import write_json


def save_encoder(path, size=16, bias=None):
    """Strided random convolutions; a bias of NaN breaks it."""
    keras.utils.set_random_seed(4)
    encoder = keras.Sequential(
        [
            keras.Input((size, size, 3)),
            keras.layers.Conv2D(12, 3, strides=2, activation="relu"),
            keras.layers.Conv2D(24, 3, strides=2),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )
    if bias is not None:
        kernel, zeros = encoder.layers[1].get_weights()
        encoder.layers[1].set_weights([kernel, zeros + bias])
    encoder.save(path / "encoder.keras")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory, tiny_config):
    """A run as training leaves it, on 120 train and 60 test images."""
    folder = tmp_path_factory.mktemp("run")
    train, test = make_shapes("train", size=120), make_shapes("test", size=60)
    data = folder.parent / "images.npz"
    np.savez(data, x_train=train[0], y_train=train[1], x_test=test[0], y_test=test[1])
    write_json(folder / "config.json", to_dict(tiny_config("simclr", data=str(data))))
    save_encoder(folder)
    return folder


@pytest.fixture
def refused(capsys):
    """What `eval.py` says when it must end with exit code 2."""

    def run(*words):
        with pytest.raises(SystemExit) as end:
            cli.evaluate([str(word) for word in words])
        assert end.value.code == 2
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        assert len(said.err.strip().splitlines()) == 1
        return said.err

    return run


NUMBERS = {
    "knn": ["--k=10", "--classes=True"],
    "linear": [],
    "retrieval": ["--gallery=test"],
    "robustness": ["--classifier=linear", "--corruptions", "blur", "jpeg"],
}


def test_every_protocol_leaves_what_it_prints(run_dir, capsys):
    where = f"--run_dir={run_dir}"
    for name, options in NUMBERS.items():
        cli.evaluate([name, where, *options])
        said = capsys.readouterr().out
        path = said.rpartition("Written to ")[2].strip()
        written = json.loads(pathlib.Path(path).read_text())
        assert written["protocol"] == name
        assert written["measured_on"]["test"]["size"] == 60
        for row in written["rows"]:
            for value in (row["value"], row["beside"]["untrained"]["value"]):
                assert f"{100 * value:.2f} %" in said
        low, high = written["rows"][0]["beside"]["untrained"]["gain_interval"]
        assert f"within {100 * low:+.2f} and {100 * high:+.2f}" in said
        if name != "retrieval":
            drawn = pathlib.Path(path).with_suffix(".png")
            assert drawn.read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in (run_dir / "eval").glob("*.json")) == [
        "knn_k=10.json",
        "linear.json",
        "retrieval_gallery=test.json",
        "robustness_classifier=linear_corruptions=blur-jpeg.json",
    ]
    features = run_dir / "eval" / "features"
    assert len(list(features.iterdir())) == 4  # two encoders, two sets, and no more


def test_other_encoders_stand_beside_the_run_s(run_dir, tmp_path, capsys, refused):
    """One of them is the run's own, by another name: a tie."""
    same = run_dir / "encoder.keras"
    save_encoder(tmp_path, size=24, bias=0.3)
    other = tmp_path / "encoder.keras"
    where = [f"--run_dir={run_dir}", "--beside", str(same), str(other)]
    for name in ("knn", "retrieval", "health"):
        cli.evaluate([name, *where])
        said = capsys.readouterr().out
        written = json.loads((run_dir / "eval" / f"{name}.json").read_text())
        row = written["rows"][0]
        assert list(row["beside"]) == ["untrained", str(same), str(other)]
        assert row["beside"][str(same)]["value"] == row["value"]
        assert f"{other}: takes 24 px" in " ".join(written["notes"])
        if name != "health":
            assert row["beside"][str(same)]["gain_interval"] == [0, 0]
            tie = f"gain on {same} in {row['title']} would be within +0.00 and +0.00"
            assert f"{tie} (95 %), a tie." in said
    for name, words in (
        ("neighbours", ["--queries=2", "--hits=2"]),
        ("map", ["--count=20", "--method=pca"]),
    ):
        cli.evaluate([name, *where, *words])
        said = capsys.readouterr().out
        (file,) = (run_dir / "eval").glob(f"{name}*beside2.png")
        assert file.read_bytes().startswith(b"\x89PNG")
        assert f"by {other}: {file}" in said
    words = ["--epochs=1", "--from_scratch=False"]
    cli.evaluate(["finetune", *where, *words])
    (file,) = (run_dir / "eval").glob("finetune*.json")
    row = json.loads(file.read_text())["rows"][0]
    assert row["beside"][str(same)]["gain_interval"] == [0, 0]
    assert 0 < row["beside"][str(other)]["value"] <= 1
    cli.evaluate(["report", where[0], "--measure=False"])
    page = (run_dir / "report.html").read_text()
    assert str(other) in page and f"Nearest neighbours by {other}" in page
    knn = (run_dir / "eval" / "knn.json").read_bytes()
    assert "imagenet:NAME" in refused("knn", where[0], "--beside", "resnet50")
    assert (run_dir / "eval" / "knn.json").read_bytes() == knn


def test_vectors_of_any_program_stand_beside_the_run_s(run_dir, tmp_path, refused):
    """Those of the run's own encoder, which a file holds: a tie."""
    for split, count in (("train", 40), ("test", 20)):
        images, labels = make_shapes(split, size=count)
        for n, (image, label) in enumerate(zip(images, labels, strict=True)):
            folder = tmp_path / "photos" / split / str(label)
            folder.mkdir(parents=True, exist_ok=True)
            keras.utils.save_img(folder / f"{n:03}.png", image, scale=False)
    data, files = tmp_path / "photos", []
    where = [f"--run_dir={run_dir}", f"--data={data}"]
    for split in ("train", "test"):
        files.append(str(tmp_path / f"{split}.npz"))
        cli.evaluate(["embed", *where, f"--split={split}", f"--output={files[-1]}"])
    stored = "+".join(files)
    for name in ("knn", "linear", "retrieval"):
        cli.evaluate([name, *where, "--beside", stored])
        (file,) = (run_dir / "eval").glob(f"{name}_data=photos*.json")
        written = json.loads(file.read_text())
        one = written["rows"][0]["beside"][stored]
        assert one["gain_interval"] == [0, 0] and one["gain"] == 0
        assert any("60 vectors of 24 numbers" in note for note in written["notes"])
    said = refused("knn", *where, "--beside", files[0])
    assert "a vector of each of the 20 images" in said
    said = refused("knn", f"--run_dir={run_dir}", "--beside", stored)
    assert "a training and a test image can share" in said
    assert "networks beside" in refused("health", *where, "--beside", stored)
    # Whose hours have not begun then.
    said = refused("linear", *where, "--preset=simclr", "--beside", stored)
    assert "networks beside" in said


def test_what_needs_no_labels(run_dir, capsys):
    where = f"--run_dir={run_dir}"
    cli.evaluate(["health", where])
    said = capsys.readouterr().out
    written = json.loads((run_dir / "eval" / "health.json").read_text())
    assert said.startswith(written["verdict"])
    assert written["details"]["untrained"]["representation"]["rank_me"] > 1
    assert written["rows"][0]["beside"]["untrained"]["value"] > 1
    for name in ("health_spectrum", "health_cosines"):
        assert (run_dir / "eval" / f"{name}.png").stat().st_size > 5000
    for name in ("views", "neighbours", "map"):
        cli.evaluate([name, where, *(["--count=40"] if name == "map" else [])])
        stem = "map_count=40" if name == "map" else name
        picture = run_dir / "eval" / f"{stem}.png"
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert str(picture) in capsys.readouterr().out
        written = json.loads(picture.with_suffix(".json").read_text())
        assert picture.name in written["pictures"]
    cli.evaluate(["embed", where, "--split=test"])
    assert "60 vectors of 24 numbers" in capsys.readouterr().out
    table = pyarrow.parquet.read_table(run_dir / "embeddings.parquet")
    assert table.num_rows == 60
    cli.evaluate(["projector", where, "--count=30"])
    assert (
        run_dir / "eval" / "projector_count=30" / "projector_config.pbtxt"
    ).is_file()


def test_the_report_measures_what_is_missing_once(run_dir, capsys):
    where = f"--run_dir={run_dir}"
    cli.evaluate(["report", where])
    said = capsys.readouterr().out
    assert str(run_dir / "report.html") in said
    page = (run_dir / "report.html").read_text()
    for name in ("knn", "linear", "retrieval"):
        written = json.loads((run_dir / "eval" / f"{name}.json").read_text())
        assert f"{100 * written['rows'][0]['value']:.1f}" in page
    cli.evaluate(["report", where])
    said = capsys.readouterr().out
    names = ("knn", "linear", "retrieval", "health", "map", "neighbours", "views")
    assert not any(f"{name}:" in said for name in names)  # nothing is measured again
    beside = str(run_dir / "encoder.keras")
    cli.evaluate(["knn", where, "--beside", beside])
    save_encoder(run_dir, bias=0.1)  # the run has gone on
    cli.evaluate(["report", where])
    written = json.loads((run_dir / "eval" / "knn.json").read_text())
    assert list(written["rows"][0]["beside"]) == ["untrained", beside]
    said = capsys.readouterr().out
    assert all(f"\n{name}:" in said for name in ("knn", "health", "map", "neighbours"))
    save_encoder(run_dir)


def test_the_report_measures_again_what_is_of_other_labels(
    tmp_path, tiny_config, capsys
):
    """Such as after pictures have been moved to the class where they belong."""
    run, photos = tmp_path / "run", tmp_path / "photos"
    images, labels = make_shapes("train", size=60)
    for n, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = photos / f"class{label % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        keras.utils.save_img(folder / f"{n:03}.png", image, scale=False)
    run.mkdir()
    save_encoder(run)
    write_json(run / "config.json", to_dict(tiny_config("simclr", data=str(photos))))
    where = f"--run_dir={run}"
    cli.evaluate(["report", where])
    capsys.readouterr()
    cli.evaluate(["report", where])
    assert "knn:" not in capsys.readouterr().out
    moved = next((photos / "class0").iterdir())
    moved.rename(photos / "class1" / moved.name)
    cli.evaluate(["report", where])
    said = capsys.readouterr().out
    assert "\nknn:" in said and "\nneighbours:" in said


def test_other_data_have_files_of_their_own(run_dir, tmp_path, capsys):
    images, labels = make_shapes("test", size=50)
    other = tmp_path / "other.npz"
    np.savez(other, images=images, labels=labels)
    where = f"--run_dir={run_dir}"
    cli.evaluate(["transfer", where, f"--data={other}"])
    said = capsys.readouterr().out
    written = json.loads((run_dir / "eval" / "transfer_other.json").read_text())
    assert written["title"] == "Transfer to other"
    assert sum(one["size"] for one in written["measured_on"].values()) == 50
    for name in ("knn", "linear"):
        top_1 = written["details"]["trained"][name]["top_1"]
        assert f"{name} (" in said and f"{100 * top_1:.2f} %" in said


def test_images_of_one_name_in_two_places_have_two_results(
    run_dir, tmp_path, monkeypatch
):
    def count(where, data):
        """How many images judge: found in the file that is written last."""
        cli.evaluate(["knn", f"--run_dir={where}", f"--data={data}", "--k=3"])
        files = (where if where.is_dir() else where.parent).glob("eval/knn*.json")
        path = max(files, key=lambda file: file.stat().st_mtime_ns)
        sizes = json.loads(path.read_text())["measured_on"].values()
        return path.stem, sum(one["size"] for one in sizes)

    places = [tmp_path / name / "other.npz" for name in ("a", "b")]
    for place, size in zip(places, (40, 50), strict=True):
        place.parent.mkdir()
        images, labels = make_shapes("test", size=size)
        np.savez(place, images=images, labels=labels)
    first, second = (count(run_dir, place) for place in places)
    assert first == ("knn_data=other_k=3", 40)
    assert second[0].startswith("knn_data=other-") and second[1] == 50
    monkeypatch.chdir(tmp_path)  # the same place by another name
    assert count(run_dir, "a/other.npz") == first
    assert count(run_dir, "b/../b/other.npz") == second
    # An encoder alone has no images of its own: the first have the plain name.
    save_encoder(tmp_path)
    alone = tmp_path / "encoder.keras"
    assert [count(alone, place) for place in places] == [
        ("knn_k=3", 40),
        ("knn_data=other_k=3", 50),
    ]
    assert count(alone, places[0]) == ("knn_k=3", 40)


def test_bad_images_are_one_message(run_dir, refused, tmp_path):
    where = f"--run_dir={run_dir}"
    images, labels = make_shapes("train", size=40)

    def data(name, **arrays):
        np.savez(tmp_path / f"{name}.npz", **arrays)
        return f"--data={tmp_path / name}.npz"

    unlabelled = data("unlabelled", images=images)
    for protocol in ("knn", "linear", "retrieval", "robustness", "finetune"):
        said = refused(protocol, where, unlabelled)
        assert "labels" in said and "health" in said
    one = data("one", images=images, labels=np.zeros(40, int))
    for protocol in ("knn", "linear", "retrieval", "robustness", "finetune"):
        assert "two or more classes" in refused(protocol, where, one)
    differing = data(
        "differing",
        x_train=images[:20],
        y_train=labels[:20] % 3,
        x_test=images[20:],
        y_test=labels[20:] % 5,
    )
    assert "the same classes" in refused("knn", where, differing)
    assert "k of 1 to 120" in refused("knn", where, "--k=121")
    few = data("few", images=images[:5], labels=labels[:5])
    assert "16 images or more" in refused("health", where, few)


def test_bad_encoders_are_one_message(run_dir, refused, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text((run_dir / "config.json").read_text())
    said = refused("knn", f"--run_dir={broken}")
    assert "an encoder at" in said
    said = refused("report", f"--run_dir={broken}")
    assert "encoder.keras" in said
    save_encoder(broken, bias=np.nan)
    for protocol in ("knn", "linear", "retrieval", "robustness", "health", "map"):
        assert "finite" in refused(protocol, f"--run_dir={broken}")
    save_encoder(broken, size=24)
    assert "16 x 16" in refused("health", f"--run_dir={broken}")
    (broken / "encoder.keras").write_bytes(b"no model")
    assert "readable" in refused("health", f"--run_dir={broken}")
    assert "two runs and more" in refused("report", "--compare", broken)
    assert "received none" in refused("curves", f"--run_dir={run_dir}")
    words = (f"--run_dir={run_dir}", "--measure=False", "--data=shapes")
    assert "--measure=True beside --data" in refused("report", *words)
    words = (f"--run_dir={run_dir}", "--batch_size=64")
    assert "--batch_size beside --preset=simclr" in refused("linear", *words)
    for protocol in ("linear", "neighbours", "map", "robustness"):
        said = refused(protocol, f"--run_dir={run_dir}", "--seed=-1")
        assert "seed within [0, 2^32); received -1" in said
    named = f"--run_dir={run_dir}/encoder.keras"
    for protocol in ("predict", "accuracy"):
        said = refused(protocol, named, "--data=shapes")
        assert "a classifier in" in said and "another network of the run" in said
    for flag in ("--k=1", "--encoder=best", "--temperature=0.5"):
        said = refused("predict", f"--run_dir={run_dir}", flag)
        assert f"--examples beside {flag.partition('=')[0]}" in said


def test_images_that_were_moved_are_asked_for(run_dir, tmp_path, refused, tiny_config):
    write_json(tmp_path / "config.json", to_dict(tiny_config("simclr", data="./gone")))
    save_encoder(tmp_path)
    said = refused("knn", f"--run_dir={tmp_path}")
    assert "the images that the run learned from, in ./gone" in said
    assert "--data=FOLDER" in said


def test_labels_are_read_again_where_that_is_said(run_dir, tmp_path, capsys, refused):
    data = json.loads((run_dir / "config.json").read_text())
    write_json(tmp_path / "config.json", data | {"labels": False})
    save_encoder(tmp_path)
    words = ["knn", f"--run_dir={tmp_path}", "--k=5", "--untrained=False"]
    assert "label" in refused(*words)
    cli.evaluate([*words, "--labels=True"])
    assert "top-1" in capsys.readouterr().out


def test_a_run_that_can_not_be_written_is_measured_all_the_same(
    run_dir, tmp_path, capsys, refused
):
    """A file where a folder is to be stops root as well."""
    for name in ("config.json", "encoder.keras"):
        (tmp_path / name).write_bytes((run_dir / name).read_bytes())
    (tmp_path / "eval").write_text("in the way")
    words = ["knn", f"--run_dir={tmp_path}", "--k=5", "--untrained=False"]
    with pytest.raises(SystemExit):
        cli.evaluate(words)
    said = capsys.readouterr()
    assert "top-1" in said.out
    assert "expected a run_dir that can be written" in said.err


def test_every_image_of_a_folder_gets_a_class(run_dir, tmp_path, capsys, refused):
    """By a few labelled images, then by a classifier."""
    images, labels = make_shapes("train", size=60)
    names = ("circle", "cross", "ring")
    kept = [n for n in range(60) if labels[n] < 3]
    for place, part in (("few", kept[:9]), ("all", kept)):
        for n in part:
            folder = tmp_path / place / (names[labels[n]] if place == "few" else "")
            folder.mkdir(parents=True, exist_ok=True)
            keras.utils.save_img(folder / f"{n:02}.png", images[n], scale=False)
    few, everything = tmp_path / "few", tmp_path / "all"
    where = [f"--run_dir={run_dir}", f"--data={everything}"]
    cli.evaluate(["predict", *where, f"--examples={few}", "--k=3"])
    path = run_dir / "eval" / "predict.csv"
    assert f"{len(kept)} images, " in capsys.readouterr().out
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [pathlib.Path(row["path"]).name for row in rows] == [
        f"{n:02}.png" for n in kept
    ]
    encoder = keras.saving.load_model(run_dir / "encoder.keras")
    views = np.stack([evaluation_view(tf.constant(images[n]), 16) for n in kept])
    h = encoder(views).numpy()
    h /= np.linalg.norm(h, axis=1, keepdims=True)
    for row, vector in zip(rows, h, strict=True):
        cosines = h[:9] @ vector
        votes = dict.fromkeys(names, 0.0)
        for n in np.argsort(-cosines)[:3]:
            votes[names[labels[kept[n]]]] += np.exp(cosines[n] / 0.1)
        best = max(votes, key=votes.get)
        share = votes[best] / sum(votes.values())
        assert row["class"] == best
        assert float(row["probability"]) == pytest.approx(share, rel=1e-3)
        assert (row["second"] == "") == (float(row["second_probability"]) == 0)
    again = ("predict", *where, f"--examples={few}")
    assert "predict.csv, which is there" in refused(*again)
    output = tmp_path / "classes.parquet"
    assert "--examples=FOLDER" in refused("predict", *where, f"--output={output}")
    logits = keras.layers.Dense(3, name="logits")(encoder.outputs[0])
    classifier = keras.Model(encoder.inputs[0], logits)
    classifier.save(run_dir / "classifier.keras")
    try:
        write_json(run_dir / "class_names.json", list(names))
        cli.evaluate(["predict", *where, f"--output={output}"])
        table = pyarrow.parquet.read_table(output).to_pydict()
        expected = tf.nn.softmax(classifier(views)).numpy()
        assert table["class"] == [names[n] for n in expected.argmax(1)]
        np.testing.assert_allclose(table["probability"], expected.max(1), rtol=1e-4)
        write_json(run_dir / "class_names.json", ["a", "b"])
        said = refused("predict", *where, f"--output={output}", "--overwrite=True")
        assert "the 2 classes of its run" in said
    finally:
        (run_dir / "classifier.keras").unlink()
        (run_dir / "class_names.json").unlink()
    for flag, said in (
        (f"--examples={everything}", "label"),
        (f"--output={tmp_path / 'a.txt'}", ".csv or .parquet"),
        ("--k=99", "k of 1 to 9"),
    ):
        words = {
            "--examples": f"--examples={few}",
            "--output": f"--output={output}2.csv",
        }
        words[flag.partition("=")[0]] = flag
        assert said in refused("predict", *where, *words.values())


def test_vectors_are_written_for_a_spreadsheet(run_dir, tmp_path):
    path = tmp_path / "vectors.csv"
    where = [f"--run_dir={run_dir}", "--split=test"]
    cli.evaluate(["embed", *where, f"--output={path}"])
    cli.evaluate(["embed", *where, f"--output={tmp_path / 'vectors.npz'}"])
    with open(path, newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    assert head[:24] == [f"vectors_{n}" for n in range(24)]
    assert head[24:] == ["index", "label", "class_name"]
    stored = np.load(tmp_path / "vectors.npz")
    found = np.array([row[:24] for row in rows], np.float32)
    np.testing.assert_array_equal(found, stored["vectors"])  # to the last bit
    assert [int(row[25]) for row in rows] == stored["label"].tolist()
