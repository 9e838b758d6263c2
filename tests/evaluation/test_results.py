"""Results: made from Python, written, read back."""

import dataclasses
import json
import os
import pathlib
import random
import shutil
import time

import keras
import numpy as np
import PIL.Image
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba

from selfsup_tf.cli import about
from selfsup_tf.data.sources import open_source
from selfsup_tf.errors import InputError
from selfsup_tf.evaluation.features import weights_hash
from selfsup_tf.evaluation.measures.knn import knn
from selfsup_tf.evaluation.measures.neighbours import find_neighbours, neighbour_gallery
from selfsup_tf.evaluation.protocol import PROTOCOLS, Result
from selfsup_tf.evaluation.report import write_comparison, write_report
from selfsup_tf.evaluation.results import first_look, read_folder, read_results
from selfsup_tf.evaluation.running import evaluate
from selfsup_tf.evaluation.text import format_rows
from selfsup_tf.figures import COLOURS
from selfsup_tf.models.untrained import untrained_copy

TFDS = pathlib.Path(__file__).parents[3] / "shared" / "data" / "tfds"
STORED = pathlib.Path(__file__).parent / "stored_results"
"""Files as eval.py writes them, of two encoders: they stay readable."""


def pixel_encoder(size=8):
    """Nearly the pixels: pooled to 4 x 4 behind a 1 x 1 convolution."""
    images = keras.Input((size, size, 3))
    mix = keras.layers.Conv2D(3, 1, use_bias=False, name="mix")
    h = keras.layers.AveragePooling2D(size // 4)(mix(images - 0.5))
    encoder = keras.Model(images, keras.layers.Flatten()(h))
    mix.set_weights([np.eye(3, dtype=np.float32)[None, None]])
    return encoder


def striped(count, seed):
    """Two classes: bright rows above or below."""
    drawn = np.random.default_rng(seed)
    labels = drawn.integers(0, 2, count)
    images = drawn.integers(0, 200, (count, 8, 8, 3))
    for image, label in zip(images, labels, strict=True):
        image[4 * label : 4 * label + 4] += 55
    return images.astype(np.uint8), labels


TRAIN, TEST = striped(60, 1), striped(30, 2)


def test_a_result_is_written_beside_the_untrained_number_and_read_back(tmp_path):
    encoder, path = pixel_encoder(), tmp_path / "eval" / "knn.json"
    evaluate("knn", encoder, TRAIN, TEST, path=path, k=3)
    found = evaluate("knn", encoder, TRAIN, TEST, path=path, k=5)
    assert [p.name for p in path.parent.iterdir()] == ["knn.json"]
    written = json.loads(path.read_text())
    assert time.time() - written.pop("written") < 3600
    assert written == json.loads(json.dumps(found.to_dict()))
    (stored,) = read_results(tmp_path)
    assert (stored.name, stored.path, stored.stale) == ("knn", path, False)
    assert json.loads(json.dumps(stored.result.to_dict())) == written
    assert stored.result.rows == found.rows
    assert found.title == "k-NN (k 5)" and found.protocol == "knn"
    options = {"preset": "lightly", "k": 5, "temperature": None, "untrained": True}
    assert found.options == options
    direct = knn(encoder, TRAIN, TEST, k=5)
    untrained = knn(untrained_copy(encoder), TRAIN, TEST, k=5)
    details = {"trained": direct.to_dict(), "untrained": untrained.to_dict()}
    assert found.details == details
    (row,) = found.rows
    assert (row.value, row.interval) == (direct.top_1, direct.top_1_interval)
    gain = direct.top_1 - untrained.top_1
    assert row.beside["untrained"].gain == pytest.approx(gain)
    assert found.weights_hash == weights_hash(encoder)
    assert [found.measured_on[k]["size"] for k in ("train", "test")] == [60, 30]
    assert set(found.versions) >= {"tensorflow", "keras", "scikit-learn"}
    assert set(found.seconds) == {"trained", "untrained"}
    lines = format_rows(found).splitlines()
    assert lines[0].startswith("k-NN (k 5): 60 images of ")
    assert f"{100 * direct.top_1:.2f} %" in lines[2]
    assert f"{100 * untrained.top_1:.2f} %" in lines[3]
    assert f"{100 * gain:+.2f}" in lines[4]


def test_an_encoder_alone_has_nothing_beside_it():
    found = evaluate("linear", pixel_encoder(), TRAIN, TEST, untrained=False)
    assert found.rows[0].beside == {} and found.rows[0].value > 0.9
    assert found.details["trained"]["trunk_hash"] == found.weights_hash
    assert "untrained" not in format_rows(found)


def test_unknown_protocols_and_options_are_refused(tmp_path):
    path = tmp_path / "eval" / "knn.json"
    with pytest.raises(InputError, match="Perhaps you meant: linear"):
        evaluate("liner", pixel_encoder(), TRAIN, TEST, path=path)
    with pytest.raises(InputError, match="Perhaps you meant: temperature"):
        evaluate("knn", pixel_encoder(), TRAIN, TEST, temprature=1)
    with pytest.raises(InputError, match="data, an option of transfer"):
        evaluate("transfer", pixel_encoder(), TRAIN, TEST)
    with pytest.raises(InputError, match="k of 1 to 60"):
        evaluate("knn", pixel_encoder(), TRAIN, TEST, path=path, k=200)
    with pytest.raises(InputError, match="a k or a temperature of the preset"):
        options = {"k": 5, "temperature": 0.2, "preset": "solo-learn"}
        evaluate("knn", pixel_encoder(), TRAIN, TEST, path=path, **options)
    for name, value in {"labels": False, "exif": False, "data": "a"}.items():
        with pytest.raises(InputError, match=f"options of files; received {name}"):
            evaluate("knn", pixel_encoder(), TRAIN, TEST, path=path, **{name: value})
    with pytest.raises(InputError, match="run_dir, in whose eval/ files go"):
        evaluate("map", pixel_encoder(), TRAIN)
    assert list(tmp_path.iterdir()) == []


STORED_NUMBERS = {
    "accuracy": (0.333333, None),
    "finetune_fraction=0.5_epochs=2.0_batch-size=8": (None, "from scratch"),
    "health": (None, "untrained"),
    "knn_k=10": (0.4, "untrained"),
    "linear": (0.3, "untrained"),
    "map_count=20": (None, None),
    "retrieval": (None, "untrained"),
    "robustness_corruptions=blur-jpeg": (0.366667, "untrained"),
    "transfer_ten": (None, "untrained"),
}


def in_a_run(folder, names):
    """A run with some of the files, one written after the other."""
    evaluation = folder / "eval"
    evaluation.mkdir(parents=True)
    (folder / "encoder.keras").write_bytes(b"never opened")
    shutil.copy(STORED / "map_count=20_thumbnails.jpg", evaluation)
    for number, name in enumerate(names):
        path = evaluation / f"{name}.json"
        shutil.copy(STORED / path.name, path)
        os.utime(path, (10 + number, 10 + number))
    return folder


@pytest.mark.parametrize("name", STORED_NUMBERS)
def test_files_that_are_there_are_read(name, tmp_path):
    value, other = STORED_NUMBERS[name]
    (stored,) = read_results(in_a_run(tmp_path, [name]))
    found = stored.result
    assert found.protocol == name.partition("_")[0]
    assert found.title.startswith(PROTOCOLS.find(found.protocol).title)
    assert list(found.details) == list(filter(None, ["trained", other]))
    if name == "transfer_ten":
        assert [r.group for r in found.rows][::2] == ["k-NN", "Linear probe"]
    assert found.network == ("classifier" if name == "accuracy" else "encoder")
    if value is not None:
        assert found.rows[0].value == value
    for row in found.rows[:1]:
        assert list(row.beside) == ([other] if other else [])
        for one in row.beside.values():
            assert one.gain == pytest.approx(row.value - one.value)
    again = Result.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.rows == found.rows and again.title == found.title


def test_titles_say_what_sets_a_result_apart(tmp_path):
    found = read_results(in_a_run(tmp_path, STORED_NUMBERS))
    titles = {stored.name: stored.result.title for stored in found}
    assert titles["knn_k=10"] == "k-NN (k 10)"
    assert titles["transfer_ten"] == "Transfer to ten"
    name = "finetune_fraction=0.5_epochs=2.0_batch-size=8"
    assert titles[name] == "Fine-tuning, 50 % of labels (epochs 2.0, batch-size 8)"


def test_every_file_beside_every_other_in_any_order_is_read(tmp_path):
    """By page, comparison and model card."""
    shuffle = random.Random(0).shuffle
    digest = json.loads((STORED / "linear.json").read_text())["weights_hash"]
    runs = []
    for n in range(2):
        names = list(STORED_NUMBERS)
        shuffle(names)
        runs.append(in_a_run(tmp_path / f"run{n}", names))
        (runs[-1] / "eval" / "notes.json").write_text('{"of": "nobody"}')
        found = read_results(runs[-1])
        assert [one.name for one in found] == sorted(STORED_NUMBERS)
        assert read_folder(runs[-1])[1] == ["notes.json"]
        page = write_report(runs[-1]).read_text()
        assert all(one.result.title in page for one in found if one.result.rows)
        assert "notes.json" in page
        (linear,) = (
            text
            for name, text in about.metrics(about.results(runs[-1], {digest})).items()
            if name.startswith("Linear") and name.endswith(", top-1")
        )
        assert linear.startswith("30.00 %")
    page = write_comparison(runs, tmp_path / "comparison.html").read_text()
    assert "k-NN (k 10)" in page


def test_a_damaged_file_is_named_with_advice_for_its_reader(tmp_path):
    run = in_a_run(tmp_path, ["linear"])
    path = run / "eval" / "linear.json"
    whole = path.read_text()
    broken = [whole[:200], "[]", '{"format": 2, "protocol": "linear"}']
    broken.append(json.dumps({**json.loads(whole), "rows": [{"name": "top_1"}]}))
    broken.append('{"protocol": "linear", "trained": {}}')
    for text in broken:
        path.write_text(text)
        with pytest.raises(InputError) as error:
            read_results(run)
        assert str(path) in str(error.value)
        assert "delete it, or run again what wrote it" in str(error.value)
        assert "run directory" not in str(error.value)


def test_files_of_no_protocol_are_counted(tmp_path):
    folder = in_a_run(tmp_path, ["linear"]) / "eval"
    (folder / "notes.json").write_text('{"protocol": 3}')
    (folder / "knn_notes.json").write_text("{}")
    (folder / "list.json").write_text("[]")
    (folder / "odd.json").write_text('{"protocol": "of another program"}')
    assert [one.name for one in read_results(tmp_path)] == ["linear"]
    assert read_folder(tmp_path)[1] == [
        *("knn_notes.json", "list.json", "notes.json", "odd.json")
    ]


def test_results_of_an_earlier_state_are_stale(tmp_path):
    run = in_a_run(tmp_path, ["accuracy"])
    result = Result("knn", "k-NN", weights_hash="old")

    def write(name, time, **fields):
        path = run / "eval" / f"{name}.json"
        path.write_text(json.dumps(dataclasses.replace(result, **fields).to_dict()))
        os.utime(path, (time, time))

    write("knn", 20)
    write("linear", 30, weights_hash="new")
    write("health", 10, weights_hash="new")
    write("knn_encoder=best", 5, weights_hash="best")
    write("knn_file=my_best_k=5", 40, weights_hash="of another file")
    write("linear_file=my_best", 4, weights_hash="of the same, before")
    write("views", 1, weights_hash=None)
    stale = {one.name: one.stale for one in read_results(run)}
    assert [name for name in stale if stale[name]] == ["knn", "linear_file=my_best"]
    write("accuracy_data=other", 50, weights_hash="c", network="classifier")
    assert {one.name: one.stale for one in read_results(run)}["accuracy"]
    assert set(stale) >= {"accuracy", "views", "knn_encoder=best", "health"}


@pytest.mark.parametrize("labelled", [True, False])
def test_the_gallery_is_drawn(tmp_path, labelled):
    train, test = (TRAIN, TEST) if labelled else (TRAIN[0], TEST[0])
    path = tmp_path / "a" / "near.png"
    figure = neighbour_gallery(pixel_encoder(), train, test, path, queries=3, hits=4)
    assert len(figure.axes) == 3 * (1 + 4)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert list(path.parent.iterdir()) == [path]


def test_an_image_is_not_its_own_neighbour():
    source = open_source(TRAIN)
    for test in (source, open_source(TRAIN)):
        rows = find_neighbours(pixel_encoder(), source, test)
        found_itself = [np.array_equal(q.image, hits[0][0].image) for q, hits in rows]
        assert found_itself == [test is not source] * 8
        for _, hits in rows:
            cosines = [cosine for *_, cosine in hits]
            assert cosines == sorted(cosines, reverse=True)


def test_neighbours_are_of_a_class_by_its_name(tmp_path):
    """The test images lack a class, so that theirs are numbered otherwise."""
    colours = {"train": ("cat", "dog", "horse"), "test": ("dog", "horse")}
    for split, names in colours.items():
        for name in names:
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for n in range(8):
                colour = np.uint8([200, 0, 0])
                image = np.broadcast_to(np.roll(colour, len(name)) + n, (8, 8, 3))
                PIL.Image.fromarray(image).save(folder / f"{n}.png")
    train, test = (open_source(tmp_path / split) for split in colours)
    rows = find_neighbours(pixel_encoder(), train, test, queries=6, hits=3)
    assert {query.label for query, _ in rows} == {"dog", "horse"}
    figure = neighbour_gallery(pixel_encoder(), train, test, queries=6, hits=3)
    for row, (query, hits) in enumerate(rows):
        name, *shown = (axes.get_title() for axes in figure.axes[4 * row : 4 * row + 4])
        assert name == query.label
        for text, axes, (hit, cosine) in zip(
            shown, figure.axes[4 * row + 1 :], hits, strict=False
        ):
            assert text == f"{hit.label} {cosine:.2f}"
            right = axes.spines["top"].get_edgecolor()
            assert (right == to_rgba(COLOURS[0])) == (hit.label == query.label)


def test_names_of_files_stand_under_their_images(tmp_path):
    for number, image in enumerate(TRAIN[0][:12]):
        path = tmp_path / f"$a_{number}$.png"
        PIL.Image.fromarray(image).save(path)
    source = open_source(tmp_path)
    rows = find_neighbours(pixel_encoder(), source, source, queries=2, hits=3)
    files = {pathlib.Path(path).name: n for n, path in enumerate(source.paths)}
    for query, hits in rows:
        for one in (query, *(hit for hit, _ in hits)):
            stored = TRAIN[0][int(one.file.split("_")[1].split("$")[0])] / 255
            np.testing.assert_allclose(one.image, stored, atol=1e-6)
            assert one.file in files
    neighbour_gallery(
        pixel_encoder(), source, source, tmp_path / "a.svg", queries=2, hits=3
    )
    assert "$a_" in (tmp_path / "a.svg").read_text().replace("\\$", "$")


@pytest.mark.parametrize("hits", [1, 7])
def test_the_title_stays_inside_the_page(tmp_path, hits):
    folder = tmp_path / ("all photographs of the summer " * 4).strip()
    folder.mkdir()
    for number, image in enumerate(TRAIN[0][:12]):
        PIL.Image.fromarray(image).save(folder / f"{number}.png")
    figure = neighbour_gallery(
        pixel_encoder(), str(folder), str(folder), tmp_path / "a.png", hits=hits
    )
    (title,) = figure.texts
    box = title.get_window_extent(FigureCanvasAgg(figure).get_renderer())
    page = figure.bbox
    assert page.x0 < box.x0 and box.x1 < page.x1 and box.y1 < page.y1
    assert max(axes.get_tightbbox().y1 for axes in figure.axes) <= box.y0


def test_more_hits_than_images_are_refused(tmp_path):
    with pytest.raises(InputError, match="1 to 60 hits"):
        neighbour_gallery(pixel_encoder(), TRAIN, TEST, tmp_path / "a.png", hits=61)


@pytest.mark.skipif(not TFDS.is_dir(), reason=f"no real images at {TFDS}")
def test_real_cifar10():
    """Pixels of 2,000 images tell CIFAR-10's classes better than chance (10 %)."""
    train, test = (
        open_source("cifar10", data_dir=str(TFDS), split=split)
        for split in ("train[:4%]", "test[:5%]")
    )
    assert (train.size, test.size) == (2000, 500)
    encoder = pixel_encoder(32)
    top_1, top_5 = evaluate("knn", encoder, train, test, k=20, untrained=False).rows
    assert 0.2 < top_1.value < 0.4 and 0.5 < top_5.value < 0.95
    probe = evaluate("linear", encoder, train, test, untrained=False)
    assert 0.2 < probe.rows[0].value < 0.4


@pytest.mark.parametrize(
    ("there", "word"),
    [((), "health"), (("labels",), "knn"), (("labels", "classifier"), "accuracy")],
)
def test_the_first_look_is_by_what_is_there(there, word):
    assert first_look(dict.fromkeys(there, True)) == word
