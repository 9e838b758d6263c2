"""An evaluation from end to end: numbers, file, table, picture."""

import json
import pathlib

import keras
import numpy as np
import pytest

from selfsup_tf.data.sources import open_source
from selfsup_tf.errors import InputError
from selfsup_tf.evaluation.features import weights_hash
from selfsup_tf.evaluation.knn import knn
from selfsup_tf.evaluation.neighbours import neighbour_gallery
from selfsup_tf.evaluation.results import evaluate, format_table
from selfsup_tf.models.untrained import untrained_copy

TFDS = pathlib.Path(__file__).parents[3] / "shared" / "data" / "tfds"


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
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, count)
    images = random.integers(0, 200, (count, 8, 8, 3))
    for image, label in zip(images, labels, strict=True):
        image[4 * label : 4 * label + 4] += 55
    return images.astype(np.uint8), labels


TRAIN, TEST = striped(60, 1), striped(30, 2)


def test_knn_is_written_beside_the_untrained_number(tmp_path):
    encoder = pixel_encoder()
    found = evaluate(
        "knn", encoder, TRAIN, TEST, path=tmp_path / "eval" / "knn.json", k=5
    )
    written = json.loads((tmp_path / "eval" / "knn.json").read_text())
    assert written["protocol"] == "knn"
    assert written["options"] == {
        "preset": "lightly",
        "k": 5,
        "temperature": None,
        "batch_size": 256,
    }
    direct = knn(encoder, TRAIN, TEST, k=5)
    untrained = knn(untrained_copy(encoder), TRAIN, TEST, k=5)
    plain = json.loads(json.dumps([direct.to_dict(), untrained.to_dict()]))
    assert [written["trained"], written["untrained"]] == plain
    gain = 100 * (direct.top_1 - untrained.top_1)
    assert written["gain_points"] == pytest.approx(gain)
    assert written["encoder_hash"] == weights_hash(encoder)
    assert (written["train"]["size"], written["test"]["size"]) == (60, 30)
    assert set(written["versions"]) >= {"tensorflow", "keras", "scikit-learn"}
    assert set(written["seconds"]) == {"trained", "untrained"}
    assert written == json.loads(json.dumps(found.to_dict()))
    assert [p.name for p in (tmp_path / "eval").iterdir()] == ["knn.json"]


def test_linear_alone(tmp_path):
    found = evaluate(
        "linear",
        pixel_encoder(),
        TRAIN,
        TEST,
        path=tmp_path / "eval" / "linear.json",
        compare_untrained=0,
    )
    written = json.loads((tmp_path / "eval" / "linear.json").read_text())
    assert found.untrained is None
    assert written["untrained"] is None
    assert written["gain_points"] is None
    assert written["trained"]["top_1"] > 0.9
    assert written["trained"]["trunk_hash"] == written["encoder_hash"]
    assert "untrained" not in format_table(found)


def test_the_table_shows_the_numbers():
    found = evaluate("knn", pixel_encoder(), TRAIN, TEST, k=5)
    lines = format_table(found).splitlines()
    assert lines[0].startswith("knn (k=5, temperature=0.1): 60 images of ")
    assert f"{100 * found.trained.top_1:.2f} %" in lines[2]
    assert f"{100 * found.untrained.top_1:.2f} %" in lines[3]
    assert f"{found.gain:+.2f}" in lines[4]


def test_a_second_evaluation_replaces_the_first(tmp_path):
    for k in (3, 5):
        evaluate(
            "knn",
            pixel_encoder(),
            TRAIN,
            TEST,
            path=tmp_path / "eval" / "knn.json",
            k=k,
        )
    written = json.loads((tmp_path / "eval" / "knn.json").read_text())
    assert written["options"]["k"] == 5


def test_unknown_protocols_and_options_are_refused(tmp_path):
    with pytest.raises(InputError, match="Perhaps you meant: linear"):
        evaluate(
            "liner", pixel_encoder(), TRAIN, TEST, path=tmp_path / "eval" / "knn.json"
        )
    with pytest.raises(InputError, match="Perhaps you meant: temperature"):
        evaluate("knn", pixel_encoder(), TRAIN, TEST, temprature=1)
    path = tmp_path / "eval" / "knn.json"
    with pytest.raises(InputError, match="k of 1 to 60"):
        evaluate("knn", pixel_encoder(), TRAIN, TEST, path=path, k=200)
    assert list(tmp_path.iterdir()) == []


def test_the_default_k_is_that_of_a_small_bank():
    found = evaluate("knn", pixel_encoder(), TRAIN, TEST, compare_untrained=False)
    assert found.trained.k == 60
    assert "knn (k=60," in format_table(found)


@pytest.mark.parametrize("labelled", [True, False])
def test_the_gallery_is_drawn(tmp_path, labelled):
    train, test = (TRAIN, TEST) if labelled else (TRAIN[0], TEST[0])
    path = neighbour_gallery(
        pixel_encoder(), train, test, tmp_path / "a" / "near.png", queries=3, hits=4
    )
    assert path.read_bytes().startswith(b"\x89PNG")
    assert list(path.parent.iterdir()) == [path]


def test_an_image_is_not_its_own_neighbour(tmp_path, monkeypatch):
    drawn = []

    def record(rows, class_names, name):
        drawn.extend(rows)
        raise StopIteration

    monkeypatch.setattr("selfsup_tf.evaluation.neighbours._draw", record)
    source = open_source(TRAIN)
    for test in (source, open_source(TRAIN)):
        drawn.clear()
        with pytest.raises(StopIteration):
            neighbour_gallery(pixel_encoder(), source, test, tmp_path / "a.png")
        found_itself = [np.array_equal(query[0], hits[0][0]) for query, hits in drawn]
        assert found_itself == [test is not source] * 8
        for _, hits in drawn:
            cosines = [cosine for *_, cosine in hits]
            assert cosines == sorted(cosines, reverse=True)


def test_more_hits_than_images_are_refused(tmp_path):
    with pytest.raises(InputError, match="1 to 60 hits"):
        neighbour_gallery(pixel_encoder(), TRAIN, TEST, tmp_path / "a.png", hits=61)


@pytest.mark.skipif(not TFDS.is_dir(), reason=f"no real images at {TFDS}")
def test_real_cifar10():
    """Pixels of 2,000 images tell CIFAR-10's classes better than chance (10 %)."""
    train, test = (
        open_source("cifar10", data_dir=str(TFDS), split=split)
        for split in ("train", "test")
    )
    train = train.select(train.indices[:2000], "cifar10:first")
    test = test.select(test.indices[:500], "cifar10:test_first")
    encoder = pixel_encoder(32)
    near = evaluate("knn", encoder, train, test, k=20, compare_untrained=False)
    assert 0.2 < near.trained.top_1 < 0.4
    assert 0.5 < near.trained.top_5 < 0.95
    probe = evaluate("linear", encoder, train, test, compare_untrained=False)
    assert 0.2 < probe.trained.top_1 < 0.4
