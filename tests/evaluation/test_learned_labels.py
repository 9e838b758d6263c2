"""Whose labels have gone into an encoder: its run's own, or those of what taught it."""

import json
import pathlib

import pytest

from selfsup_tf.config import FROM_PYTHON
from selfsup_tf.errors import InputError
from selfsup_tf.evaluation.judged import Judged
from selfsup_tf.evaluation.next_steps import command
from selfsup_tf.evaluation.protocols.accuracy import AccuracyFlags
from selfsup_tf.evaluation.protocols.knn import KnnFlags
from selfsup_tf.evaluation.run_images import Learned, check_unseen
from selfsup_tf.evaluation.unused_labels import open_unused
from selfsup_tf.files import write_json
from selfsup_tf.lineage import labels_before, labels_of
from selfsup_tf.run import RunDirectory


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A function that makes a run's files, as far as they tell what it has learned."""
    monkeypatch.chdir(tmp_path)
    for folder in ("photos", "others"):
        (tmp_path / folder).mkdir()

    def make(name, *files, data="photos", **config):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        write_json(folder / "config.json", {"data": data, **config})
        for file in files:
            (folder / file).touch()
        return name

    make("tuned", "classifier.keras", method="finetune")
    make("plain", method="simclr")
    return make


def learned_by(name):
    return Learned(labels_of(name))


@pytest.mark.parametrize("by", ["teacher", "start", "pretrained"])
def test_labels_come_through_what_it_learned_from(runs, by):
    student = runs("student", method="distill", data="others", **{by: "tuned"})
    pathlib.Path(student, "encoder.keras").touch()
    runs("grandchild", method="simclr", start=f"{student}/encoder.keras@32")
    for name in ("tuned", student, "grandchild"):
        learned = learned_by(name)
        assert learned.labels("photos") and not learned.labels("others"), name
    clean = runs("clean", method="distill", **{by: "plain"})
    assert not learned_by(clean).labels("photos")


def test_the_names_of_other_encoders_bring_none(runs, tmp_path, monkeypatch):
    student = runs("student", method="distill", teacher="imagenet:MobileNetV3Small")
    assert not learned_by(student).labels("photos")
    # Neither do those of other programs, whose config.json says what it likes.
    for values in ({"optimizer": "adam"}, {"pretrained": True}, {"method": 3}, [1]):
        write_json("config.json", values)
        for name in ("imagenet:ResNet50", "hub:dinov2_small", "photos"):
            assert labels_of(name) == frozenset()
    write_json(tmp_path / "tuned" / "other.json", {})
    monkeypatch.chdir(tmp_path / "tuned")
    assert labels_of("imagenet:ResNet50") == frozenset()


def test_a_run_notes_at_its_beginning_whose_labels_came_in(runs):
    """What it names may be moved, or another directory the current one."""
    config = {"method": "distill", "teacher": "tuned"}
    assert labels_before(config) == {("photos", "train")}
    name = runs("noted", data="others", **config | {"teacher": "gone"})
    assert not learned_by(name).labels("photos")
    record = {"step": 0, "labels_before": [["photos", "train"]]}
    pathlib.Path(name, "log.jsonl").write_text(json.dumps(record) + "\n")
    assert learned_by(name).labels("photos") and not learned_by(name).labels("others")


def test_labels_left_out_of_a_fraction_judge_unless_they_came_in_before(runs):
    """Of a run on a fraction: accuracy is of labels that nothing has learned."""
    fraction = {"method": "finetune", "fraction": 0.25}
    runs("a", "classifier.keras", pretrained="plain", **fraction)
    runs("b", "classifier.keras", pretrained="tuned", **fraction)
    assert command("accuracy", RunDirectory("a")).endswith("--run_dir=a")
    assert command("accuracy", RunDirectory("b")).endswith("--data=OTHER_IMAGES")
    assert open_unused(Judged(AccuracyFlags(run_dir="b"), "accuracy")) is None


def test_a_version_of_tfds_makes_no_other_images(runs):
    runs("euro", "classifier.keras", method="finetune", data="eurosat/rgb")
    assert learned_by("euro").labels("eurosat/rgb:2.0.0")
    assert not learned_by("euro").labels("cifar10:3.0.2")


def test_a_network_from_scratch_has_none_of_the_run_it_is_built_as(runs):
    again = {"method": "finetune", "data": "others", "pretrained": "tuned"}
    runs("fresh", "classifier.keras", from_scratch=True, **again)
    assert not learned_by("fresh").labels("photos")
    assert learned_by("fresh").labels("others")


def test_the_best_encoder_was_chosen_by_labels(runs):
    run = runs("chosen", method="simclr")
    assert not learned_by(run).labels("photos")
    pathlib.Path(run, "encoder_best.keras").touch()
    assert learned_by(f"{run}/encoder_best.keras").labels("photos")
    write_json("chosen/best.json", {"step": 1, "by": "health/rank_me", "score": 1.0})
    assert not learned_by(f"{run}/encoder_best.keras").labels("photos")


@pytest.mark.parametrize("file", ["export/saved_model", "embeddings.parquet"])
def test_an_export_and_a_file_of_vectors_are_of_their_run(runs, file):
    for run in ("tuned", "plain"):
        pathlib.Path(run, file).mkdir(parents=True)
    assert learned_by(f"tuned/{file}").labels("photos")
    assert not learned_by(f"plain/{file}").labels("photos")
    both = "plain/train.npz+tuned/test.npz"
    for part in both.split("+"):
        pathlib.Path(part).touch()
    assert learned_by(both).labels("photos")


def test_runs_that_name_each_other_end(runs):
    runs("one", method="simclr", start="two")
    runs("two", method="simclr", start="one")
    assert not learned_by("one").labels("photos")


def test_a_test_split_that_another_has_seen_judges_nobody(runs):
    for split in ("train", "test"):
        folder = pathlib.Path("photos", split, "cat")
        folder.mkdir(parents=True)
        (folder / "a.png").touch()
    runs("cheat", "classifier.keras", method="finetune", split="test")
    with pytest.raises(InputError, match="test split of photos that cheat has not"):
        check_unseen(["plain", "cheat"], "photos")
    assert not check_unseen(["plain"], "photos")
    assert check_unseen(["plain", "tuned"], "photos")


def test_what_stands_beside_is_asked_for_its_labels(runs, monkeypatch):
    flags = KnnFlags("plain", beside=("tuned",), data="photos")
    judged = Judged(flags, "knn")
    asked = {}
    monkeypatch.setattr(judged, "opened", lambda _, **options: asked.update(options))
    judged._open_unseen("open_evaluation")
    assert asked == {"learned": True}
    judged = Judged(KnnFlags("plain", data="photos"), "knn")
    monkeypatch.setattr(judged, "opened", lambda _, **options: asked.update(options))
    judged._open_unseen("open_evaluation")
    assert asked == {"learned": False}


def test_prepared_images_are_judged_by_the_words_of_the_split(runs):
    """Which lie in one folder, whatever part a run learned."""
    words = {"train": False, "test": True, "train+test": True, "all": True}
    for number, (split, seen) in enumerate(words.items()):
        name = runs(f"run{number}", "classifier.keras", method="finetune", split=split)
        assert learned_by(name).test_labels("photos") == seen, split
        assert learned_by(name).labels("photos")


def test_the_command_that_comes_next_is_one_that_works(runs):
    """Of a folder without a test split the labels are used up, but for a fraction."""
    plain, tuned = RunDirectory("plain"), RunDirectory("tuned")
    assert command("knn", plain) == "python eval.py knn --run_dir=plain"
    assert command("health", tuned) == "python eval.py health --run_dir=tuned"
    for word in ("knn", "accuracy"):
        assert command(word, tuned).endswith("tuned --data=OTHER_IMAGES")
    part = runs("part", "classifier.keras", method="finetune", fraction=0.1)
    assert command("accuracy", RunDirectory(part)).endswith("--run_dir=part")
    assert command("knn", RunDirectory(part)).endswith("--data=OTHER_IMAGES")
    given = runs("given", "classifier.keras", method="finetune", data=FROM_PYTHON)
    assert command("knn", RunDirectory(given)).endswith("--data=OTHER_IMAGES")
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            folder = pathlib.Path("photos", split, name)
            folder.mkdir(parents=True)
            (folder / "a.png").touch()
    assert command("knn", tuned).endswith("--run_dir=tuned")
