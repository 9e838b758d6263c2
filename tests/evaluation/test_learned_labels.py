"""Whose labels have gone into an encoder: its run's own, or those of what taught it."""

import pathlib

import pytest

from selfsup_tf.errors import InputError
from selfsup_tf.evaluation.judged import Judged
from selfsup_tf.evaluation.protocols.knn import KnnFlags
from selfsup_tf.evaluation.run_images import Learned, open_learned
from selfsup_tf.files import write_json


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


@pytest.mark.parametrize("by", ["teacher", "start", "pretrained"])
def test_labels_come_through_what_it_learned_from(runs, by):
    student = runs("student", method="distill", data="others", **{by: "tuned"})
    runs("grandchild", method="simclr", start=f"{student}/encoder.keras@32")
    for name in ("tuned", student, "grandchild"):
        learned = Learned.by(name)
        assert learned.labels("photos") and not learned.labels("others"), name
    clean = runs("clean", method="distill", **{by: "plain"})
    assert not Learned.by(clean).labels("photos")


def test_the_names_of_other_encoders_bring_none(runs):
    student = runs("student", method="distill", teacher="imagenet:MobileNetV3Small")
    assert not Learned.by(student).labels("photos")
    assert not Learned.by("hub:dinov2_small").labels("photos")
    lost = runs("lost", method="distill", teacher="runs/gone")
    assert not Learned.by(lost).labels("photos")


def test_a_network_from_scratch_has_none_of_the_run_it_is_built_as(runs):
    again = {"method": "finetune", "data": "others", "pretrained": "tuned"}
    runs("fresh", "classifier.keras", from_scratch=True, **again)
    assert not Learned.by("fresh").labels("photos")
    assert Learned.by("fresh").labels("others")


def test_the_best_encoder_was_chosen_by_labels(runs):
    run = runs("chosen", method="simclr")
    assert not Learned.by(run).labels("photos")
    assert Learned.by(f"{run}/encoder_best.keras").labels("photos")
    write_json("chosen/best.json", {"step": 1, "by": "health/rank_me", "score": 1.0})
    assert not Learned.by(f"{run}/encoder_best.keras").labels("photos")


@pytest.mark.parametrize("file", ["export/saved_model", "embeddings.parquet"])
def test_an_export_and_a_file_of_vectors_are_of_their_run(runs, file):
    assert Learned.by(f"tuned/{file}").labels("photos")
    assert not Learned.by(f"plain/{file}").labels("photos")


def test_runs_that_name_each_other_end(runs):
    runs("one", method="simclr", start="two")
    runs("two", method="simclr", start="one")
    assert not Learned.by("one").labels("photos")


def test_a_test_split_that_another_has_seen_judges_nobody(runs):
    for split in ("train", "test"):
        folder = pathlib.Path("photos", split, "cat")
        folder.mkdir(parents=True)
        (folder / "a.png").touch()
    runs("cheat", "classifier.keras", method="finetune", split="test")
    with pytest.raises(InputError, match="test split of photos that cheat has not"):
        open_learned(["plain", "cheat"], "photos")
    (plain,) = open_learned(["plain"], "photos")
    assert not plain.labels("photos")


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
        assert Learned.by(name).test_labels("photos") == seen, split
        assert Learned.by(name).labels("photos")
