"""What is measured while a run learns: logged, kept, cheap, and without a trace."""

import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from selfsup_tf.data.sources import open_source
from selfsup_tf.evaluation.measures import monitor as monitoring
from selfsup_tf.evaluation.measures.monitor import HealthPanel, hold_out
from selfsup_tf.evaluation.measures.statistics import rank_me, singular_values
from selfsup_tf.training import loop

NAMES = (
    "rank_me",
    "alignment",
    "uniformity",
    "positive_cosine",
    "negative_cosine",
    "spread",
    "projection_rank_me",
)


@pytest.fixture(scope="module")
def train(tiny_config, tiny_method):
    """Eight steps of SimCLR, evaluated every second and kept every fourth.

    The panel looks at as many images as an interval has, or runs would be long.
    """

    def run(data, run_dir, *, share=1.0, fewest=32, **overrides):
        values = {"steps": 8, "knn_epochs": 0.5, "checkpoint_epochs": 1.0}
        config = tiny_config("simclr", precision="float64", **values | overrides)
        method, data = tiny_method(config), open_source(data)
        source, monitor = hold_out(data, config, share=share, fewest=fewest)
        options = {"monitor": monitor, "progress": False}
        return loop.train(method, source, run_dir=run_dir, **options)

    return run


@pytest.fixture(scope="module")
def whole(train, few_images, tmp_path_factory):
    """A run without labels."""
    return train(few_images[0], tmp_path_factory.mktemp("whole"))


def health_of(log):
    """The panel's numbers by step."""
    return {
        r["step"]: [r[f"health/{name}"] for name in NAMES]
        for r in log
        if "health/rank_me" in r
    }


def test_without_labels_the_health_is_logged_and_chooses_the_best(whole, few_images):
    log = (whole.run_dir / "log.jsonl").read_text().splitlines()
    found = health_of([json.loads(line) for line in log])
    assert list(found) == [2, 4, 6, 8]
    assert all(np.isfinite(found[step]).all() for step in found)
    ranks = {step: numbers[0] for step, numbers in found.items()}
    best = json.loads((whole.run_dir / "best.json").read_text())
    step = max(ranks, key=ranks.get)
    assert best == {"step": step, "by": "health/rank_me", "score": ranks[step]}
    # The encoder that is kept is the one that had this rank: on evaluation views of the
    # same images, as bytes.
    panel = HealthPanel(open_source(few_images[0]), whole.config, 64)
    x = panel._draw()["image"] / np.float32(255)
    kept = keras.saving.load_model(whole.run_dir / "encoder_best.keras")
    assert rank_me(singular_values(kept(x).numpy())) == pytest.approx(
        ranks[step], rel=1e-4
    )


def test_the_first_record_names_hardware_and_versions(whole):
    first = whole.log[0]
    assert first["versions"]["tensorflow"] == tf.__version__
    assert set(first["versions"]) == {"python", "tensorflow", "keras", "numpy"}
    devices = [device["name"] for device in first["hardware"]["devices"]]
    assert "/physical_device:CPU:0" in devices
    assert first["hardware"]["cpus"] >= 1
    assert first["hardware"]["cpu"] is None or first["hardware"]["cpu"].strip()


def test_labels_choose_the_best_where_there_are_some(train, tmp_path):
    from selfsup_tf.data.sources.shapes import make_shapes

    images, labels = make_shapes("train")
    run = train((images[:300], labels[:300]), tmp_path, held_out=30, knn_epochs=0.25)
    scores = {r["step"]: r["eval/knn_top_1"] for r in run.log if "eval/knn_top_1" in r}
    assert list(scores) == list(health_of(run.log)) == [4, 8]
    best = json.loads((tmp_path / "best.json").read_text())
    assert best["by"] == "eval/knn_top_1"
    assert best["score"] == max(scores.values()) == scores[best["step"]]


def test_a_resumed_run_has_the_health_of_an_uninterrupted_one(
    whole, train, few_images, tmp_path, monkeypatch
):
    """Cut after a panel and before its checkpoint: the best is found again."""

    def power_cut(self, record, step, bar):
        if step == 8:
            raise KeyboardInterrupt
        keep(self, record, step, bar)

    keep = loop._Loop._keep
    with monkeypatch.context() as patch:
        patch.setattr(loop._Loop, "_keep", power_cut)
        with pytest.raises(KeyboardInterrupt):
            train(few_images[0], tmp_path / "cut")
    shutil.copytree(tmp_path / "cut", tmp_path / "better_before")
    resumed = train(few_images[0], tmp_path / "cut")
    found, expected = health_of(resumed.log), health_of(whole.log)
    assert list(found) == list(expected) == [2, 4, 6, 8]
    # The weights agree to 1e-9; as float32 they may differ in the last bit, 6e-8, which
    # a few hundred products carry to 1e-5 at most.
    for step, numbers in expected.items():
        np.testing.assert_allclose(found[step], numbers, rtol=1e-4)
    best = [json.loads((r.run_dir / "best.json").read_text()) for r in (whole, resumed)]
    assert best[0]["step"] == best[1]["step"]
    assert best[0]["score"] == pytest.approx(best[1]["score"], rel=1e-4)

    # Had it been better before, nothing after the cut would have replaced that.
    log, said = (tmp_path / "better_before" / x for x in ("log.jsonl", "best.json"))
    rank = str(found[4][0])
    assert log.read_text().count(rank) == 1
    log.write_text(log.read_text().replace(rank, "999.0"))
    before = said.read_bytes()
    train(few_images[0], tmp_path / "better_before")
    assert said.read_bytes() == before


def test_the_panel_leaves_no_trace_in_the_run(whole, train, few_images, tmp_path):
    without = train(few_images[0], tmp_path, share=0.0, fewest=0)
    assert not health_of(without.log)
    assert not (tmp_path / "best.json").exists()
    losses = [[r["train/loss"] for r in run.log[1:]] for run in (whole, without)]
    # The order of sums on several cores is all that may differ.
    np.testing.assert_allclose(losses[0][-1], losses[1][-1], rtol=1e-9)


def networks(size=32, rank=None):
    """An encoder and a projector, as a run keeps them."""
    keras.utils.set_random_seed(2)
    images = keras.Input((16, 16, 3))
    pooled = keras.layers.AveragePooling2D(4 if rank is None else 16)(images)
    encoder = keras.Model(
        images, keras.layers.Dense(size)(keras.layers.Flatten()(pooled))
    )
    head = keras.Sequential([keras.Input((size,)), keras.layers.Dense(7)])
    return {"encoder": encoder, "projector": head}


def test_the_panel_keeps_to_its_share(tiny_config, few_images):
    """A hundredth of the images but 32, however often; RankMe depends on how many."""
    images = np.repeat(few_images[0], 100, axis=0)  # 6,400

    def count(part, **overrides):
        config = tiny_config("simclr", epochs=9.0, steps=None, **overrides)
        _, monitor = hold_out(open_source(images[:part]), config)
        return monitor and monitor.panel.count

    assert count(6400, knn_epochs=1.0) == 64
    assert count(6400, knn_epochs=0.1) == 64
    assert count(6400, knn_epochs=100.0) == 64
    assert count(1000) == 32
    assert count(20) == count(20, batch_size=64) == 20  # of a batch that is lowered
    assert count(16, batch_size=8) == 16
    assert count(15, batch_size=8) is None  # so few images tell nothing
    config = tiny_config("finetune", epochs=9.0, steps=None, knn_epochs=2.0)
    assert hold_out(open_source(images), config)[1] is None


def test_a_dimensional_collapse_is_told_once(tiny_config, few_images, caplog):
    config = tiny_config("simclr")
    panel = HealthPanel(open_source(few_images[0]), config, 64)
    monitor = monitoring.Monitor(None, panel)
    for _ in range(2):
        scores = monitor(networks(rank=3))
    assert scores["health/rank_me"] < 5
    assert caplog.text.count("DIMENSIONAL COLLAPSE: ") == 1
    caplog.clear()
    panel = HealthPanel(open_source(few_images[0]), config, 64)
    monitoring.Monitor(None, panel)(networks())
    assert not caplog.text


def test_a_broken_encoder_has_no_health_and_ends_no_run(
    tiny_config, few_images, caplog
):
    kept = networks()
    kept["encoder"].set_weights([w * np.nan for w in kept["encoder"].get_weights()])
    panel = HealthPanel(open_source(few_images[0]), tiny_config("simclr"), 64)
    assert monitoring.Monitor(None, panel)(kept) == {}
    assert "NaN or infinite" in caplog.text
