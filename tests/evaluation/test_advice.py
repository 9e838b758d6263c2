"""`eval.py advise`: planted encoders are told apart, in words, on a page."""

import dataclasses
import json
import shlex
import shutil

import keras
import numpy as np
import pytest

from selfsup_tf.errors import InputError
from selfsup_tf.evaluation.advice.candidate import Candidate
from selfsup_tf.evaluation.advice.labelled import advise
from selfsup_tf.evaluation.advice.unlabelled import advise_unlabelled
from selfsup_tf.evaluation.running import run_protocol


def candidate(name, knn, **fields):
    values = {
        "trained_here": name.startswith("runs/"),
        "parameters": 1_000_000,
        "image_size": 96,
        "length": 128,
        "rank_me": 60.0,
        "scores": {"knn": knn, "linear": knn, "retrieval": knn},
        "intervals": {"linear": (knn - 0.02, knn + 0.02)},
        "untrained": 0.2,
        "gain": (knn - 0.23, knn - 0.17),
    }
    return Candidate(name=name, label=name, **values | fields)


def gains(candidates, reach=0.02):
    """The interval of every pair: the difference, give or take `reach`."""
    return {
        (a.name, b.name): (
            a.scores["knn"] - b.scores["knn"] - reach,
            a.scores["knn"] - b.scores["knn"] + reach,
        )
        for a in candidates
        for b in candidates
        if a is not b
    }


def advised(*candidates):
    return advise(candidates, gains(candidates), where=["--data=my photos"])


def test_a_frozen_network_far_ahead_makes_training_needless():
    advice = advised(candidate("runs/a", 0.415), candidate("imagenet:B0", 0.966))
    assert advice.taken == "imagenet:B0"
    assert (
        "No training is needed" in advice.headline and "55.1 points" in advice.headline
    )
    assert "your run runs/a" in advice.headline
    assert "--teacher=imagenet:B0" in advice.steps[0][1]


def test_a_run_ahead_of_what_exists_is_said_with_its_size():
    small = candidate("runs/a", 0.86, parameters=500_000)
    advice = advised(candidate("frozen.keras", 0.82, parameters=3_000_000), small)
    assert advice.taken == "runs/a"
    assert "4.0 points (2.0 to 6.0)" in advice.headline
    assert "1/6 of the size in parameters" in advice.headline
    assert "export.py --run_dir=runs/a" in advice.steps[0][1]


def int8(size, *, faithful=True):
    cosine = 0.99 if faithful else 0.1
    return {"int8_bytes": size, "int8_cosine": cosine, "int8_faithful": faithful}


def test_of_level_encoders_the_smallest_is_taken():
    large = candidate("a", 0.91, cost=int8(4_000_000))
    small = candidate("b", 0.90, cost=int8(1_000_000))
    advice = advised(large, small, candidate("c", 0.5))
    assert advice.taken == "b"
    assert advice.headline == "a and b are level: take b, the smallest."
    assert any("1/4 of the size as an int8 file" in one for one in advice.reasons)
    assert not any("b is behind" in one for one in advice.reasons)


def test_an_int8_file_that_strays_is_no_small_one():
    large = candidate("a", 0.91, cost=int8(4_000_000), parameters=900_000)
    broken = candidate("b", 0.90, cost=int8(1_000_000, faithful=False))
    advice = advised(large, broken)
    assert advice.taken == "a"
    assert any("b loses much as an int8 file" in one for one in advice.reasons)
    assert not any("int8 file" in one for one in advice.reasons if "size" not in one)


def test_who_is_no_better_than_its_untrained_network_is_not_taken():
    lost = candidate("runs/lost", 0.2, gain=(-0.01, 0.02))
    advice = advised(lost)
    assert advice.taken is None
    assert advice.headline.startswith("runs/lost is no better than the same network")
    advice = advised(lost, dataclasses.replace(lost, name="b", label="b"))
    assert advice.headline.startswith("None of them is better")
    advice = advised(lost, candidate("runs/b", 0.4))
    assert advice.taken == "runs/b"
    assert any("runs/lost" in r and "learned nothing" in r for r in advice.reasons)


def test_of_level_encoders_one_that_has_learned_is_taken():
    learned = candidate("runs/a", 0.52, parameters=3_000_000)
    small = candidate("runs/small", 0.51, gain=(-0.01, 0.02))
    assert advised(learned, small).taken == "runs/a"


def test_a_leader_that_has_learned_nothing_is_not_taken():
    leader = candidate("a", 0.6, gain=(-0.01, 0.02))
    advice = advised(leader, candidate("b", 0.4))
    assert advice.taken is None and advice.headline.startswith("a leads, yet is no")


def test_of_one_encoder_no_more_is_said_than_was_measured():
    alone = candidate("m.onnx", 0.05, gain=None, untrained=None)
    assert "Nothing stands beside m.onnx" in advised(alone).headline
    learned = candidate("a", 0.56)
    assert "has learned something of these images" in advised(learned).headline


def test_a_collapse_is_named():
    flat = candidate("b", 0.3, spread=0.003, collapsed=True)
    advice = advised(candidate("a", 0.6), flat)
    assert any("b gives all images about the same vector" in r for r in advice.reasons)
    assert not any("a gives all images" in r for r in advice.reasons)


@pytest.mark.parametrize("knn", [0.5, 0.59])
def test_a_linear_classifier_that_disagrees_is_heard(knn):
    other = candidate(
        "b",
        knn,
        scores={"knn": knn, "linear": 0.9, "retrieval": 0.4},
        intervals={"linear": (0.88, 0.92)},
        parameters=3_000_000,
    )
    advice = advised(candidate("a", 0.6), other)
    assert advice.taken == "a"
    assert any("sees it otherwise" in r and "90.0" in r for r in advice.reasons)


@pytest.mark.parametrize(
    ("gain", "said"),
    [
        ((0.01, 0.05), "still help"),
        ((-0.01, 0.005), "hardly help"),
        ((-0.02, 0.22), "can't be told"),
    ],
)
def test_the_end_of_the_learning_curve_says_whether_labels_help(gain, said):
    one = candidate("a", 0.6, curve=((500, 0.57), (1000, 0.6)), curve_gain=gain)
    assert any(said in reason for reason in advised(one).reasons)


def test_commands_are_as_a_shell_takes_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "student2").mkdir(parents=True)
    small = candidate("a b.keras", 0.9, image_size=64)
    advice = advised(small, candidate("runs/student", 0.4))
    learn, ask = (shlex.split(command) for _, command in advice.steps)
    assert learn[4:] == [
        "--data=my photos",
        "--teacher=a b.keras",
        "--image_size=64",
        "--run_dir=runs/student3",
    ]
    assert ask[4:] == ["--candidates", "a b.keras", "runs/student", "runs/student3"]
    lost = candidate("imagenet:EfficientNetB0", 0.2, gain=(-0.01, 0.02))
    assert "--teacher=imagenet:MobileNetV3Large" in advised(lost).steps[0][1]
    own = advised(candidate("a/encoder.keras", 0.9, trained_here=True))
    assert "--data=my photos" in shlex.split(own.steps[0][1])


def test_without_labels_encoders_are_ruled_out_and_none_is_chosen():
    good = candidate("a", 0.9, scores={"copies": 0.9})
    worse = candidate("b", 0.2, scores={"copies": 0.2}, gain=(-0.2, -0.1))
    flat = candidate("c", 0.9, scores={"copies": 0.1}, collapsed=True)
    advice = advise_unlabelled([good, worse, flat])
    assert advice.taken is None
    assert "b and c can be ruled out, a not" in advice.headline
    same = candidate("d", 0.9, scores={"copies": 0.9}, gain=(0.0, 0.0), untrained=0.9)
    advice = advise_unlabelled([good, same])
    assert "nothing says which is best" in advice.headline
    assert any("d is not told from the same network" in r for r in advice.reasons)
    assert "--candidates a d" in advice.steps[0][1]
    easy = [dataclasses.replace(one, untrained=1.0) for one in (good, same)]
    assert any("tell little" in reason for reason in advise_unlabelled(easy).reasons)


SIDE, CLASSES = 16, 4


def make_images(count, seed):
    """A class is a colour, under the light's brightness and noise."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    colours = np.array(
        [[130, 120, 120], [120, 130, 120], [120, 120, 130], [130, 110, 120]]
    )
    noise = random.normal(0, 20, (count, SIDE, SIDE, 3))
    light = random.normal(0, 60, (count, 1, 1, 1))
    pixels = colours[labels][:, None, None] + light + noise
    return np.clip(pixels, 0, 255).astype(np.uint8), labels


def save(path, *, colour, extra=0):
    """The mean of an image: its colour without its brightness, or its brightness."""
    images = keras.Input((SIDE, SIDE, 3))
    # About grey, so that brightness hides the colour from who keeps it.
    x = keras.layers.GlobalAveragePooling2D()(images - 0.5)
    dense = keras.layers.Dense(3)
    x = dense(x)
    grey = np.full((3, 3), 1 / 3)
    dense.set_weights([10 * (np.eye(3) - grey if colour else grey), np.zeros(3)])
    if extra:
        wide = keras.layers.Dense(extra, use_bias=False)
        narrow = keras.layers.Dense(3, use_bias=False)
        y = narrow(wide(x))
        narrow.set_weights([np.zeros((extra, 3))])
        x = keras.layers.Add()([x, y])
    keras.Model(images, x).save(path)
    return str(path)


@pytest.fixture
def data(tmp_path):
    train, test = make_images(200, 0), make_images(120, 1)
    test[0][0] = train[0][0]  # one copy among those that judge
    path = tmp_path / "colours.npz"
    np.savez(path, x_train=train[0], y_train=train[1],
             x_test=test[0], y_test=test[1])  # fmt: skip
    return str(path)


def run(tmp_path, data, *names, **options):
    output = tmp_path / "advice"
    run_protocol("advise", candidates=names, data=data, output=str(output), **options)
    page = (output / "advice.html").read_text()
    return json.loads((output / "advice.json").read_text()), page


def test_planted_encoders_are_told_apart_on_the_page(tmp_path, data, capsys):
    good = save(tmp_path / "good.keras", colour=True)
    wide = save(tmp_path / "wide.keras", colour=True, extra=500)
    grey = save(tmp_path / "grey.keras", colour=False)
    found, page = run(tmp_path, data, good, wide, grey)
    assert "take good.keras, the smallest" in found["verdict"]
    text = capsys.readouterr().out
    assert found["verdict"] in text and "Open it in a browser" in text
    shares = found["details"]
    assert shares[good]["scores"]["knn"] > 0.9
    assert shares[grey]["scores"]["knn"] < 0.6
    assert shares[good]["agreement"][wide] > 0.99
    assert shares[good]["cost"]["int8_bytes"] > 1_000
    assert shares[good]["cost"]["int8_bytes"] < shares[wide]["cost"]["int8_bytes"]
    counts, values = zip(*shares[good]["curve"], strict=True)
    assert counts == (25, 50, 100, 200) and all(0 < value <= 1 for value in values)
    for name in (good, grey):  # with all labels, the same images and the same ties
        assert shares[name]["curve"][-1][1] == shares[name]["scores"]["knn"]
    assert any("1 of the images that judge have" in note for note in found["notes"])
    assert shares[good]["gain"][0] > 0
    assert shares[grey]["gain"][1] < 0
    for shown in (found["verdict"], "Learning curve", "cosine", "Agreement"):
        assert shown in page


def test_images_without_labels_get_no_winner(tmp_path, data):
    with np.load(data) as arrays:
        images = arrays["x_train"]
    path = tmp_path / "plain.npz"
    np.savez(path, images=images)
    good = save(tmp_path / "good.keras", colour=True)
    found, page = run(tmp_path, str(path), good, int8=False, untrained=False)
    assert "nothing speaks against good.keras" in found["verdict"]
    assert "ten of each kind" in page
    assert found["measured_on"]["images"]["size"] == 200
    assert set(found["details"][good]["scores"]) == {"copies"}


def test_a_look_may_take_fewer_images(tmp_path, data):
    good = save(tmp_path / "good.keras", colour=True)
    found, _ = run(tmp_path, data, good, count=60, int8=False, untrained=False)
    assert [one["size"] for one in found["measured_on"].values()] == [60, 60]
    assert found["details"][good]["untrained"] is None
    assert "Nothing stands beside good.keras" in found["verdict"]
    for fewest, count, least in ((3, 16, 17), (5, 10, 11)):  # half an image or less
        with pytest.raises(InputError, match=f"Use --count={least} or more"):
            run(tmp_path, rare(tmp_path, fewest), good, count=count)


def rare(tmp_path, fewest=3):
    """A class of few among 100 images, in .npz."""
    images, _ = make_images(100, 0)
    labels = np.where(np.arange(100) < fewest, 1, 0)
    path = tmp_path / "rare.npz"
    np.savez(path, x_train=images, y_train=labels, x_test=images, y_test=labels)
    return str(path)


def test_a_curve_leaves_out_parts_of_one_class(tmp_path):
    good = save(tmp_path / "good.keras", colour=True)
    found, _ = run(tmp_path, rare(tmp_path), good, int8=False)
    counts = [count for count, _ in found["details"][good]["curve"]]
    assert counts and counts[-1] == 100 and len(counts) < 4


def test_a_run_that_has_learned_the_labels_is_refused(tmp_path, data):
    """At another size, too, and by the name of its best encoder."""
    encoder = save(tmp_path / "encoder.keras", colour=True)
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    for name in ("encoder", "classifier"):
        shutil.copy(encoder, run_dir / f"{name}.keras")
    config = {"method": "finetune", "data": data, "split": "train+test"}
    (run_dir / "config.json").write_text(json.dumps(config))
    for name in (f"{run_dir}", f"{run_dir}@16"):
        with pytest.raises(InputError, match="that learned from its labels"):
            run(tmp_path, data, name)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"data": "photos"}, "encoders to choose from"),
        ({"candidates": ("a",)}, "--data"),
        ({"candidates": ("a",), "data": "photos", "count": 3}, "count of at least"),
        ({"candidates": ("nowhere",), "data": "photos"}, "an encoder that exists"),
    ],
)
def test_bad_input_is_said_before_anything_is_read(options, said):
    with pytest.raises(InputError, match=said):
        run_protocol("advise", **options)
