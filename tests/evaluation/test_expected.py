"""Healthy runs lie within the band of their recipe, and runs with a fault leave it."""

import contextlib
import dataclasses
import json
import re

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

import selfsup_tf as selfsup
from selfsup_tf.config import EncoderConfig
from selfsup_tf.data.sources.shapes import make_shapes
from selfsup_tf.errors import InputError
from selfsup_tf.evaluation import expected, keep_curves
from selfsup_tf.evaluation.report import write_report
from selfsup_tf.methods import find_method
from selfsup_tf.run import RunDirectory
from selfsup_tf.training import optimizers, reporting
from selfsup_tf.training.loop import TrainingDiverged

EPOCHS = 2.0
SEEDS = (0, 1, 2, 3)


@pytest.fixture(scope="module")
def train(tmp_path_factory, tiny_config):
    """Two epochs of SimCLR on 1,024 drawn images, or of a method with a fault."""
    folder = tmp_path_factory.mktemp("runs")
    images, _ = make_shapes("train", size=1024)

    def train(name, method_class=None, *, faster=1, **overrides):
        config = tiny_config(
            "simclr",
            steps=None,
            epochs=EPOCHS,
            batch_size=64,
            image_size=24,
            encoder=EncoderConfig(name="resnet18", width=1 / 8, stem="small_stride2"),
            temperature=0.2,
            steps_per_call=4,
            **overrides,
        )
        rate = faster * config.optimizer.learning_rate
        optimizer = dataclasses.replace(config.optimizer, learning_rate=rate)
        config = dataclasses.replace(config, optimizer=optimizer)
        method = (method_class or find_method("simclr").load())(config)
        with contextlib.suppress(TrainingDiverged):
            selfsup.train(method, images, run_dir=folder / name, progress=False)
        return RunDirectory(folder / name)

    return train


@pytest.fixture(scope="module")
def healthy(train, tmp_path_factory):
    """The curves of healthy runs, and their directories."""
    runs = [train(f"healthy{seed}", seed=seed) for seed in SEEDS]
    path = tmp_path_factory.mktemp("curves") / "tiny.json"
    words = ["tiny", *(str(run.path) for run in runs), f"--out={path}"]
    keep_curves.main(words)
    return expected.read_expected(path), runs


def other_outputs(change):
    """SimCLR whose loss and log get other outputs."""

    class Faulty(find_method("simclr").load()):
        def compute_loss(self, outputs):
            return super().compute_loss(change(outputs))

        def compute_metrics(self, outputs):
            return super().compute_metrics(change(outputs))

    return Faulty


def shifted(outputs):
    """The second view of each image's neighbour is taken for its own."""
    return outputs | {"projection_2": tf.roll(outputs["projection_2"], 1, axis=0)}


def one_view(outputs):
    return outputs | {"projection_2": outputs["projection_1"]}


class Unnormalised(find_method("simclr").load()):
    """Inner products in place of cosines."""

    def compute_loss(self, outputs):
        z = tf.concat([outputs["projection_1"], outputs["projection_2"]], axis=0)
        logits = tf.matmul(z, z, transpose_b=True) / self.config.temperature
        logits = tf.linalg.set_diag(logits, tf.fill([z.shape[0]], -1e9))
        positive = tf.roll(tf.range(z.shape[0]), z.shape[0] // 2, axis=0)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(positive, logits)
        return tf.add_n(tf.split(loss, 2)) / 2


class Frozen(find_method("simclr").load()):
    """The gradient stops before the encoder."""

    def build(self):
        super().build()
        h = keras.Input(self.encoder.output_shape[1:])
        inputs = self.model.input
        stopped = keras.Model(h, keras.ops.stop_gradient(h))
        projector = self.networks["projector"]
        outputs = {}
        for i in (1, 2):
            h = outputs[f"representation_{i}"] = self.encoder(inputs[f"view_{i}"])
            outputs[f"projection_{i}"] = projector(stopped(h))
        self.model = keras.Model(inputs, outputs)


def test_another_healthy_run_lies_within(train, healthy):
    band, _ = healthy
    run = train("another", seed=11)
    assert band.differences(run.read_config()) == {}
    assert band.departures(run.read_log()) == []


@pytest.mark.parametrize(
    ("fault", "told_by"),
    [
        ("shifted labels", "train/contrast_top_1"),
        ("one view for both", "train/contrast_top_1"),
        ("no normalisation of z", "train/loss"),
        ("a frozen encoder", "train/loss"),
        ("decay on BatchNorm", "Its optimizer has 22 decayed"),
        ("a rate ten times too high", "train/"),
    ],
)
def test_a_fault_is_told_within_two_epochs(fault, told_by, train, healthy, monkeypatch):
    band, _ = healthy
    method_class, faster = {
        "shifted labels": (other_outputs(shifted), 1),
        "one view for both": (other_outputs(one_view), 1),
        "no normalisation of z": (Unnormalised, 1),
        "a frozen encoder": (Frozen, 1),
        "a rate ten times too high": (None, 10),
    }.get(fault, (None, 1))
    if fault == "decay on BatchNorm":
        for module in (optimizers, reporting):
            monkeypatch.setattr(module, "is_excluded", lambda variable: False)
    run = train(fault, method_class, faster=faster, seed=11)
    said = band.departures(run.read_log())
    assert any(line.startswith(told_by) for line in said), said


@pytest.fixture
def package(healthy, tmp_path, monkeypatch):
    """A method's package with two files of curves, of rates of .5 and of .1."""
    folder = tmp_path / "banded_tf" / "curves"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    _, runs = healthy
    values = keep_curves.collect("half", runs)
    values["config"] |= {"method": "banded"}
    slow = json.loads(json.dumps(values)) | {"name": "banded tenth"}
    slow["config"]["optimizer"]["learning_rate"] = 0.1
    for name, value in (("half", values), ("tenth", slow)):
        (folder / f"{name}.json").write_text(json.dumps(value))
    monkeypatch.syspath_prepend(tmp_path)
    return values["config"]


def test_a_run_is_seen_beside_the_nearest_recipe(package):
    optimizer = package["optimizer"] | {"momentum": 0.8}
    for rate, name in ((0.5, "simclr half"), (0.1, "banded tenth")):
        config = package | {"optimizer": optimizer | {"learning_rate": rate}, "seed": 5}
        found = expected.find_expected(config)
        assert found.name == name
        assert found.differences(config) == {"optimizer.momentum": (0.9, 0.8)}
    for other in ({"data": "cifar10"}, {"method": "absent"}, {"image_size": 32}):
        assert expected.find_expected(package | other) is None
    assert expected.find_expected({}) is None


def test_the_band_is_the_prediction_interval_of_one_more_run(healthy):
    band, runs = healthy
    logs = [run.read_log()[1:] for run in runs]
    losses = [[r["train/loss"] for r in log] for log in logs]
    # Two records in each window of half an epoch.
    means = np.reshape(losses, (len(SEEDS), -1, 2)).mean(axis=2)
    found = band.band("train/loss")
    np.testing.assert_allclose(found.x, [0.25, 0.75, 1.25, 1.75])
    for i, near in enumerate((means[:, :3], means, means, means[:, 1:])):
        freedom = near.shape[1] * (len(SEEDS) - 1)
        deviation = np.sqrt(((near - near.mean(axis=0)) ** 2).sum() / freedom)
        width = scipy.stats.t.ppf(1 - 5e-5, freedom) * deviation * np.sqrt(1 + 1 / 4)
        centre = means[:, i].mean()
        # Five digits are kept.
        np.testing.assert_allclose(
            (found.low[i], found.high[i]), (centre - width, centre + width), rtol=1e-3
        )
    assert band.band("train/absent") is None


def test_the_report_draws_the_band_and_names_what_leaves_it(package, healthy, tmp_path):
    _, runs = healthy
    run = tmp_path / "run"
    run.mkdir()
    text = runs[0].log.read_text()
    config = package | {"seed": 3}
    for change, leaves in ((lambda line: line, False), (lossy, True)):
        (run / "config.json").write_text(json.dumps(config))
        (run / "log.jsonl").write_text("\n".join(map(change, text.splitlines())) + "\n")
        page = write_report(run).read_text()
        assert "where the curves of healthy runs of simclr half lie" in page
        assert ("lie within" in page) is not leaves
        assert ("are not those of healthy runs" in page) is leaves
        assert ("train/loss is 9 in epochs 0 to 0.5" in page) is leaves
        assert page.count("healthy runs shaded") >= 3
    (run / "config.json").write_text(json.dumps(config | {"temperature": 0.3}))
    assert "temperature (0.3, 0.2 there)" in write_report(run).read_text()


def lossy(line):
    return re.sub('"train/loss": [^,]*', '"train/loss": 9.0', line)


def test_runs_that_are_not_of_one_recipe_are_refused(healthy, train, tmp_path):
    _, runs = healthy
    with pytest.raises(InputError, match="two runs or more"):
        keep_curves.collect("tiny", runs[:1])
    with pytest.raises(InputError, match="a run for each seed"):
        keep_curves.collect("tiny", [runs[0], runs[0]])
    copy = tmp_path / "copy"
    copy.mkdir()
    config = runs[1].read_config()
    (copy / "log.jsonl").write_bytes(runs[1].log.read_bytes())
    (copy / "config.json").write_text(json.dumps(config | {"temperature": 0.3}))
    with pytest.raises(InputError, match="which differs in temperature"):
        keep_curves.collect("tiny", [runs[0], RunDirectory(copy)])
    (copy / "config.json").write_text(json.dumps(config))
    lines = runs[1].log.read_text().splitlines(keepends=True)
    (copy / "log.jsonl").write_text("".join(lines[:-1]))
    with pytest.raises(InputError, match=r"finished runs; received .* epoch 2, 1.75"):
        keep_curves.collect("tiny", [runs[0], RunDirectory(copy)])
