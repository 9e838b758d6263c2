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
from selfsup_tf.training import optimizers
from selfsup_tf.training.loop import TrainingDiverged

EPOCHS = 2.0
SEEDS = (0, 1, 2, 3, 4, 5)


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
    values = keep_curves.collect("tiny", runs)
    path.write_text(json.dumps(values))
    return expected.read_expected(path), runs


class Shifted(find_method("simclr").load()):
    """The second view of each image's neighbour is taken for its own by the loss."""

    def compute_loss(self, outputs):
        rolled = tf.roll(outputs["projection_2"], 1, axis=0)
        return super().compute_loss(outputs | {"projection_2": rolled})


class OneView(find_method("simclr").load()):
    """The second view is the first."""

    def build(self):
        super().build()
        views = self.model.input
        outputs = self.model({name: views["view_1"] for name in views})
        self.model = keras.Model(views, outputs)


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
        ("shifted labels", "train/loss"),
        ("one view for both", "train/contrast_top_1"),
        ("no normalisation of z", "train/loss"),
        ("a frozen encoder", "train/loss"),
        ("decay on BatchNorm", "The optimizer of simclr tiny has 22 decayed"),
        ("a rate ten times too high", "train/representation_std"),
    ],
)
def test_a_fault_is_told_within_two_epochs(fault, told_by, train, healthy, monkeypatch):
    band, _ = healthy
    method_class, faster = {
        "shifted labels": (Shifted, 1),
        "one view for both": (OneView, 1),
        "no normalisation of z": (Unnormalised, 1),
        "a frozen encoder": (Frozen, 1),
        "a rate ten times too high": (None, 10),
    }.get(fault, (None, 1))
    if fault == "decay on BatchNorm":
        monkeypatch.setattr(optimizers, "is_excluded", lambda variable: False)
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
    values["config"] |= {"method": "banded", "data": "drawn"}
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
    freedom = len(SEEDS) - 1
    for i, near in enumerate((means[:, :3], means, means, means[:, 1:])):
        squares = ((near - near.mean(axis=0)) ** 2).sum() / freedom / near.shape[1]
        width = scipy.stats.t.ppf(1 - 0.001, freedom) * np.sqrt(squares * (1 + 1 / 6))
        centre = means[:, i].mean()
        width += 1e-4 * centre
        # Five digits of a loss of 2 to 4 are kept, in the deviations, too.
        np.testing.assert_allclose(
            (found.low[i], found.high[i]), (centre - width, centre + width), atol=1e-3
        )
        assert width > 0.1
    assert band.band("train/absent") is None


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("eval/knn_top_1", 0, 1),
        ("health/rank_me", 1, np.inf),
        ("health/positive_cosine", -1, 1),
        ("health/uniformity", -np.inf, 0),
        ("train/loss", -np.inf, np.inf),
    ],
)
def test_a_band_holds_what_is_possible_alone(name, least, most):
    """Four runs leave Student's distribution room for anything."""
    values = np.array([[0.1], [0.9], [0.2], [0.8]]) - 0.5
    found = expected.Expected("any", {}, {}, 0.5, {name: values}).band(name)
    wide = expected.Expected("any", {}, {}, 0.5, {"loss": values}).band("loss")
    assert wide.low[0] < -1 and wide.high[0] > 1
    assert found.low[0] == max(wide.low[0], least)
    assert found.high[0] == max(least, min(wide.high[0], most))


def planted(values, steps_per_record, *, per_epoch=20, epochs=4, until=None):
    """A log whose loss falls as `values` of the epoch does, a record so many steps."""
    records = [{"step": 0}]
    for end in range(steps_per_record, per_epoch * epochs + 1, steps_per_record):
        epoch = end / per_epoch
        if until is not None and epoch > until:
            break
        steps = np.arange(end - steps_per_record, end) + 0.5
        loss = float(np.mean([values(step / per_epoch) for step in steps]))
        records.append({"step": end, "epoch": epoch, "train/loss": loss})
    return records


def falling(epoch):
    return 3 + 4 * np.exp(-epoch)


@pytest.mark.parametrize("steps", [1, 2, 4, 5, 10])
@pytest.mark.parametrize("until", [None, 0.4, 1.3, 2.5])
def test_windows_are_the_same_however_often_is_logged(steps, until):
    """And as far as the run has come: no window is looked at before its end."""
    fine = expected.windows(planted(falling, 1), "train/loss", 0.5, 8)
    assert np.isfinite(fine).all()
    log = planted(falling, steps, until=until)
    found = expected.windows(log, "train/loss", 0.5, 8)
    come = log[-1].get("epoch", 0.0)
    whole = int(come / 0.5 + 1e-9)
    assert np.isfinite(found[:whole]).all() and np.isnan(found[whole:]).all()
    # A record over an end tells of either side alike: at most its part of the fall.
    atol = 0.25 * 4 * steps / 20 if 10 % steps else 1e-9
    np.testing.assert_allclose(found[:whole], fine[:whole], atol=atol)


def test_a_window_that_is_covered_in_part_has_no_value():
    """Records of 15 of 20 steps are longer than half an epoch, a last one is not."""
    log = planted(falling, 15)
    rest = {"step": 80, "epoch": 4.0, "train/loss": 3.1}
    found = expected.windows([*log, rest], "train/loss", 0.5, 8)
    assert np.isnan(found[:7]).all()


def test_epochs_of_four_places_cover_their_windows():
    log = [
        {"step": end, "epoch": round(end / 3, 4), "train/loss": 1.0}
        for end in range(1, 201)
    ]
    assert np.isfinite(expected.windows(log, "train/loss", 2 / 3, 100)).all()


def test_records_longer_than_a_window_tell_nothing_of_its_course():
    log = planted(falling, 20)
    assert np.isnan(expected.windows(log, "train/loss", 0.5, 8)).all()


def test_what_is_measured_now_and_then_belongs_to_its_place():
    log = planted(falling, 5)
    log[4]["eval/knn_top_1"], log[-1]["eval/knn_top_1"] = 0.4, 0.6  # epochs 1 and 4
    log.insert(1, {"step": 0, "epoch": 0.0, "eval/knn_top_1": 0.9})  # of a start
    found = expected.windows(log, "eval/knn_top_1", 0.5, 8)
    nan = np.nan
    np.testing.assert_array_equal(found, [nan, 0.4, nan, nan, nan, nan, nan, 0.6])


def test_one_healthy_run_in_five_hundred_leaves_the_band_at_a_place():
    """Of runs that are high or low all along, the worst case there is."""
    generator = np.random.default_rng(0)
    left, trials = 0, 4000
    for _ in range(trials):
        heights = generator.normal(size=7)
        curves = {"train/loss": 3 + heights[:6, None] * np.ones(8)}
        band = expected.Expected("a", {}, {}, 0.5, curves).band("train/loss")
        left += not band.low[3] <= 3 + heights[6] <= band.high[3]
    # A binomial of mean 8 and deviation 2.8, less what the rounding adds.
    assert 1 <= left <= 8 + 4 * 2.8


@pytest.mark.parametrize(
    "text",
    ['{"curves": 3}', "{}", "[1]", '{"curves": {"train/loss": [[1, 2], [3]]}}', "no"],
)
def test_a_curves_file_that_is_damaged_is_passed_over(text, package, caplog):
    (path,) = (p for p in expected.curve_files("banded") if p.stem == "half")
    path.write_text(text)
    assert expected.find_expected(package).name == "banded tenth"
    assert "half.json" in caplog.text


def test_curves_go_into_the_package_of_the_method(healthy, tmp_path, monkeypatch):
    """Wherever the command is given."""
    _, runs = healthy
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(keep_curves, "curve_folders", lambda name: [tmp_path / name])
    words = [str(run.path) for run in runs]
    keep_curves.main(["shapes", *words])
    assert (tmp_path / "simclr" / "shapes.json").exists()
    with pytest.raises(InputError, match="a recipe of simclr"):
        keep_curves.main(["shape", *words])
    (folder,) = expected.curve_folders("simclr")
    assert folder.parent.name == "simclr_tf" and (folder.parent / "loss.py").exists()


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
    page = write_report(run).read_text()
    assert "temperature (0.3, 0.2 there)" in page
    # Who has chosen to differ is not warned at the top.
    assert "train/loss is 9" in page and "are not those of healthy runs" not in page
    younger = {k: v for k, v in config.items() if k != "accumulate"}
    (run / "config.json").write_text(json.dumps(younger))
    assert "This run differs" not in write_report(run).read_text()


def lossy(line):
    return re.sub('"train/loss": [^,]*', '"train/loss": 9.0', line)


def test_runs_that_are_not_of_one_recipe_are_refused(healthy, train, tmp_path):
    _, runs = healthy
    with pytest.raises(InputError, match="4 runs or more"):
        keep_curves.collect("tiny", runs[:3])
    with pytest.raises(InputError, match="a run for each seed"):
        keep_curves.collect("tiny", [*runs[:3], runs[0]])
    copy = tmp_path / "copy"
    copy.mkdir()
    config = runs[1].read_config()
    (copy / "log.jsonl").write_bytes(runs[1].log.read_bytes())
    (copy / "config.json").write_text(json.dumps(config | {"temperature": 0.3}))
    with pytest.raises(InputError, match="which differs in temperature"):
        keep_curves.collect("tiny", [runs[0], *runs[2:], RunDirectory(copy)])
    (copy / "config.json").write_text(json.dumps(config))
    lines = runs[1].log.read_text().splitlines(keepends=True)
    (copy / "log.jsonl").write_text("".join(lines[:-1]))
    with pytest.raises(
        InputError, match=r"finished runs, of 32 steps; received .* 32, 28"
    ):
        keep_curves.collect("tiny", [runs[0], *runs[2:], RunDirectory(copy)])
