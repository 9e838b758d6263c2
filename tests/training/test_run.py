"""Runs: resumed, killed, damaged, diverged, collapsed, refused."""

import dataclasses
import itertools
import json
import re
import shutil
import signal
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

import selfsup_tf as selfsup
from selfsup_tf import api
from selfsup_tf.config import OptimizerConfig, ViewConfig, make_plan
from selfsup_tf.data.sources import open_source
from selfsup_tf.errors import InputError
from selfsup_tf.methods import find_method
from selfsup_tf.run import RunDirectory
from selfsup_tf.training import loop
from selfsup_tf.training.archive import Archive
from selfsup_tf.training.loop import TrainingDiverged
from selfsup_tf.training.replica import Replica
from selfsup_tf.training.reporting import announce, describe_run, describe_variables
from selfsup_tf.training.step import make_train_steps

NAMES = ("train/loss", "train/representation_std", "train/learning_rate")


@pytest.fixture(scope="module")
def train(tiny_method):
    """Trains a tiny method in silence."""

    def run(config, images, run_dir):
        return selfsup.train(
            tiny_method(config), images, run_dir=run_dir, progress=False
        )

    return run


@pytest.fixture(scope="module")
def finished(train, tiny_config, few_images, tmp_path_factory):
    """A run of five steps in calls of two, which others may read; its traced steps."""
    traced = []

    def make(*arguments):
        traced.append(make_train_steps(*arguments))
        return traced[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "make_train_steps", make)
        config = tiny_config("simclr", steps=5)
        run = train(config, few_images[0], tmp_path_factory.mktemp("finished") / "run")
    (steps,) = traced
    return run, steps


def curve(log):
    """The numbers of a log that do not depend on the clock, by step."""
    return [(r["step"], *[r[name] for name in NAMES]) for r in log if "train/loss" in r]


KERNEL, BIAS, NORM = "kernel", "bias", ("gamma", "beta")


@pytest.mark.parametrize(
    ("optimizer", "decay", "kernels", "others"),
    [
        ("lars", 1e-4, "decayed and adapted", "neither decayed nor adapted"),
        ("lars", 0.0, "adapted", "neither decayed nor adapted"),
        ("sgd", 1e-4, "decayed", "neither decayed nor adapted"),
        ("lamb", 1e-4, "decayed and adapted", "adapted"),
    ],
)
def test_a_run_says_what_is_decayed_and_adapted(
    optimizer, decay, kernels, others, tiny_config, few_images
):
    """BYOL on its own tiny ResNet, with heads that have biases, norms and neither."""
    settings = OptimizerConfig(name=optimizer, weight_decay=decay)
    config = tiny_config("byol", optimizer=settings)
    method = find_method("byol").load()(config)
    method.build()
    told = describe_run(method, open_source(few_images))["variables"]
    assert set(told) == {kernels, others}
    names = [*told[kernels], *told[others]]
    assert len(names) == len(set(names)) == len(method.trainable_variables)
    assert {name.rpartition("/")[2] for name in told[kernels]} == {KERNEL}
    assert {name.rpartition("/")[2] for name in told[others]} == {BIAS, *NORM}
    assert any(name.startswith("predictor/") for name in told[kernels])
    lines = describe_variables(method)
    assert lines[0].startswith(f"{len(told[kernels])} variables are {kernels}: ")
    assert lines[1].startswith(f"{len(told[others])} variables are {others}: ")


def test_what_is_a_split_and_a_class_is_said(tiny_config, few_images, tmp_path, caplog):
    png = tf.io.encode_png(few_images[0][0]).numpy()
    for name in ("Train/cat", "Train/dog", "valid/cat", "valid/dog"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "1.png").write_bytes(png)
    for name in ("1.cr2", "2.cr2", "3.txt"):
        (tmp_path / "Train" / "dog" / name).write_bytes(b"")
    method = find_method("simclr").load()(tiny_config("simclr"))
    method.build()
    source = open_source(tmp_path)
    plan = make_plan(method.config, 64)
    with caplog.at_level("INFO", logger="selfsup_tf"):
        announce(method, source, plan, replicas=1, step=0)
    assert "Splits: train (Train), valid." in caplog.text
    taken = "2 sub-folders are taken as classes (--labels=False stops it): cat, dog."
    assert taken in caplog.text
    assert (
        "2 files not read: 2 .cr2" in caplog.text
        and "1 other file (.txt)" in caplog.text
    )
    few = f"{plan.total_steps} steps teach an encoder next to nothing: raise --epochs"
    assert few in caplog.text
    caplog.clear()
    longer = dataclasses.replace(plan, total_steps=100)
    announce(method, source, longer, replicas=1, step=0)
    assert "next to nothing" not in caplog.text
    (line,) = describe_run(method, source)["skipped"]
    assert line.startswith("2 files not read")


def test_files_and_log(finished, few_images):
    run, _ = finished
    names = {p.name for p in run.run_dir.iterdir()}
    assert names == {
        "config.json",
        "log.jsonl",
        "tensorboard",
        "checkpoints",
        "encoder.keras",
        "encoder_best.keras",
        "best.json",
        "projector.keras",
    }
    assert [r["step"] for r in run.log] == [0, 2, 4, 5]
    assert run.log[0]["variables"]
    record = run.log[-1]
    for name in (*NAMES, "train/images_per_second", "train/data_wait"):
        assert np.isfinite(record[name])
    assert 0 <= record["train/data_wait"] <= 1
    saved = keras.saving.load_model(run.run_dir / "encoder.keras")
    x = few_images[0][:4, :16, :16] / np.float32(255)
    np.testing.assert_allclose(saved(x), run.encoder(x), rtol=1e-6)
    assert list((run.run_dir / "tensorboard").iterdir())


def test_a_finished_run_trains_nothing_more(finished, train, few_images, caplog):
    first, _ = finished
    networks = list(first.run_dir.glob("*.keras"))
    written = [file.stat().st_mtime_ns for file in networks]
    with caplog.at_level("INFO", "selfsup_tf"):
        again = train(first.config, few_images[0], first.run_dir)
    assert "finished" in caplog.text
    assert "variables are neither decayed nor adapted: " in caplog.text
    assert again.log == first.log
    # Or results would be called older than what they judge.
    assert networks and written == [file.stat().st_mtime_ns for file in networks]
    for a, b in zip(
        first.encoder.get_weights(), again.encoder.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_a_run_whose_states_are_gone_is_not_begun_anew(
    train, tiny_config, few_images, tmp_path
):
    config = tiny_config("simclr", steps=20, checkpoint_epochs=1.0)
    run = train(config, few_images[0], tmp_path / "run")
    shutil.rmtree(run.run_dir / "checkpoints")
    files = [p for p in run.run_dir.rglob("*") if p.is_file()]
    before = [file.read_bytes() for file in files]
    with pytest.raises(InputError, match=r"a state in .*none, and a log that has come"):
        train(config, few_images[0], run.run_dir)
    assert [file.read_bytes() for file in files] == before


def test_what_another_run_holds_is_refused(finished, train, tiny_config, few_images):
    run, _ = finished
    files = [run.run_dir / name for name in ("config.json", "log.jsonl")]
    before = [file.read_bytes() for file in files]
    images = few_images[0]

    def refusal(config, images=images, encoder=None):
        with pytest.raises(InputError) as error:
            if encoder:
                method = find_method("simclr").load()(config, encoder=encoder)
                selfsup.train(method, images, run_dir=run.run_dir)
            else:
                train(config, images, run.run_dir)
        assert [file.read_bytes() for file in files] == before
        return str(error.value)

    views = (ViewConfig(jitter=0.0, grayscale=0.0, blur=0.5),) * 2
    other = {"temperature": 0.7, "steps_per_call": 1, "views": views}
    said = refusal(dataclasses.replace(run.config, **other))
    assert re.search(r"temperature: .* there, 0\.7 here", said)
    assert "view_1.blur: 0.0 there, 0.5 here" in said
    assert "steps_per_call" not in said
    assert "method: simclr there, byol here" in refusal(tiny_config("byol"))
    assert "64 images" in refusal(run.config, images[:40])
    layers = [keras.Input((16, 16, 3)), keras.layers.Conv2D(5, 3)]
    layers.append(keras.layers.GlobalAveragePooling2D())
    wide = keras.Sequential(layers)
    assert "encoder.name" in refusal(run.config, encoder=wide)
    assert "began with; received other: images." in refusal(run.config, images[::-1])


def test_another_encoder_of_equal_weights_is_refused(
    finished, tiny_config, tiny_method, few_images
):
    """As of a notebook cell that is run again with another activation."""
    run, _ = finished
    mine = tiny_method(run.config).own_encoder
    other = keras.models.clone_model(
        mine,
        clone_function=lambda layer: (
            keras.layers.Activation("tanh")
            if isinstance(layer, keras.layers.ReLU)
            else type(layer).from_config(layer.get_config())
        ),
    )
    method = find_method("simclr").load()(run.config, encoder=other)
    with pytest.raises(InputError, match="received other: architecture of encoder="):
        selfsup.train(method, few_images[0], run_dir=run.run_dir, progress=False)


def test_a_directory_of_something_else_is_refused(
    train, tiny_config, few_images, tmp_path
):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="choose another"):
        train(tiny_config("simclr"), few_images[0], tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_batch_larger_than_data_writes_nothing(
    train, tiny_config, few_images, tmp_path
):
    with pytest.raises(InputError, match="batch_size=65"):
        train(tiny_config("simclr", batch_size=65), few_images[0], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_truncated_checkpoint_gives_way_to_the_one_before(
    train, tiny_config, few_images, tmp_path, caplog
):
    config = tiny_config("simclr", checkpoint_epochs=0.5, steps_per_call=1)
    whole = train(config, few_images[0], tmp_path)
    (newest,) = (tmp_path / "checkpoints").glob("ckpt-6.data*")
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    resumed = train(config, few_images[0], tmp_path)
    assert "CAN'T BE READ" in caplog.text
    # The order of float32 sums on several cores is all that may differ.
    np.testing.assert_allclose(curve(resumed.log), curve(whole.log), rtol=1e-3)
    for older in (tmp_path / "checkpoints").glob("*.data*"):
        older.write_bytes(b"")
    with pytest.raises(InputError, match="damaged"):
        train(config, few_images[0], tmp_path)


def test_nan_stops_the_run_and_keeps_the_last_good_state(
    train, tiny_config, few_images, tmp_path
):
    wild = OptimizerConfig(name="sgd", learning_rate=1e30, warmup_epochs=0.0)
    config = tiny_config("byol", optimizer=wild, steps=40, steps_per_call=3)
    with pytest.raises(TrainingDiverged, match=r"step \d+"):
        train(config, few_images[0], tmp_path)
    assert not (tmp_path / "encoder.keras").exists()
    assert all(
        np.isfinite(r["train/loss"]) for r in RunDirectory(tmp_path).read_log()[1:]
    )


def test_a_state_that_would_diverge_at_once_is_not_kept(
    train, tiny_config, few_images, tmp_path, monkeypatch
):
    """Such as a velocity that is infinite, of which the networks know nothing yet."""
    config = tiny_config("byol", steps=8, checkpoint_epochs=0.5)
    spoil = Archive.update

    def update(archive):
        spoil(archive)
        if archive.records[-1]["step"] >= 4:
            archive._optimizer.variables[-1].assign_add(np.inf)

    monkeypatch.setattr(Archive, "update", update)
    with pytest.raises(TrainingDiverged):
        train(config, few_images[0], tmp_path)
    steps = [file.name for file in (tmp_path / "checkpoints").glob("*.index")]
    assert steps == ["ckpt-2.index"]


def test_a_moved_folder_goes_on(tiny_config, tiny_method, few_images, tmp_path):
    for number, image in enumerate(few_images[0]):
        file = tmp_path / "photos" / f"{number:02}.png"
        file.parent.mkdir(exist_ok=True)
        keras.utils.save_img(file, image, scale=False)

    def run(folder, steps_per_call):
        config = tiny_config(
            "simclr", data=str(tmp_path / folder), steps_per_call=steps_per_call
        )
        method = tiny_method(config)
        return selfsup.train(method, run_dir=tmp_path / "run", progress=False)

    before = run("photos", 2).log
    (tmp_path / "photos").rename(tmp_path / "moved")
    with pytest.raises(InputError, match=r"data: .*photos there, .*copied here"):
        shutil.copytree(tmp_path / "moved", tmp_path / "copied")
        (tmp_path / "photos").mkdir()
        run("copied", 1)
    (tmp_path / "photos").rmdir()
    assert run("moved", 1).log == before
    assert RunDirectory(tmp_path / "run").read_config()["data"].endswith("moved")
    (tmp_path / "moved" / "00.png").rename(tmp_path / "moved" / "new.png")
    (tmp_path / "others").mkdir()
    with pytest.raises(InputError):
        run("others", 1)


def test_a_run_that_died_in_its_first_step_learns_from_the_images_of_now(
    tiny_config, tiny_method, few_images, tmp_path, monkeypatch
):
    def write(numbers):
        for number in numbers:
            image = few_images[0][number]
            keras.utils.save_img(
                tmp_path / f"photos/{number:02}.png", image, scale=False
            )

    def train(**options):
        config = tiny_config("simclr", data=str(tmp_path / "photos"), **options)
        method = tiny_method(config)
        return selfsup.train(method, run_dir=tmp_path / "run", progress=False)

    (tmp_path / "photos").mkdir()
    write(range(40))
    with monkeypatch.context() as patched, pytest.raises(MemoryError):
        patched.setattr(loop, "call_steps", raising(MemoryError()))
        train()
    write(range(40, 64))
    log = train(batch_size=8, accumulate=2).log
    assert (log[0]["images"], log[0]["batch_size"]) == (64, 8)
    with pytest.raises(InputError, match="batch_size: 8 there, 16 here"):
        train()


def raising(error):
    def call(*_, **__):
        raise error

    return call


def test_collapse_is_told(tiny_config, few_images, tmp_path, caplog):
    constant = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            keras.layers.Conv2D(
                4, 3, kernel_initializer="zeros", bias_initializer="ones"
            ),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )
    method = find_method("simclr").load()(
        tiny_config("simclr", steps_per_call=1), encoder=constant
    )
    selfsup.train(method, few_images[0], run_dir=tmp_path, progress=False)
    assert caplog.text.count("COLLAPSE: at step 1 ") == 1


def test_images_without_all_labels_have_no_monitor(
    train, tiny_config, few_images, tmp_path
):
    """Such as STL-10's unlabelled split, where every label is the same."""
    config = tiny_config("simclr", held_out=6)
    run = train(config, (few_images[0], np.zeros(64, np.int64)), tmp_path)
    assert not any("eval/knn_top_1" in record for record in run.log)


def test_online_knn_keeps_the_best_encoder(train, tiny_config, tmp_path):
    from selfsup_tf.data.sources.shapes import make_shapes

    config = tiny_config("simclr", held_out=20, knn_epochs=0.25)
    run = train(config, make_shapes("train", size=300), tmp_path)
    scores = [r["eval/knn_top_1"] for r in run.log if "eval/knn_top_1" in r]
    assert scores and all(0 <= s <= 1 for s in scores)
    assert (tmp_path / "encoder_best.keras").exists()


def test_labels_are_never_read_in_pretraining(train, tiny_config, few_images, tmp_path):
    """Labels are the monitor's alone; views drawn on the device are the same."""
    images, labels = few_images
    config = tiny_config("simclr", precision="float64")
    labelled = train(config, (images, labels), tmp_path / "labelled")
    config = dataclasses.replace(config, augment_on="device")
    otherwise = train(config, (images, labels[::-1].copy()), tmp_path / "otherwise")
    # The order of sums on several cores is all that may differ.
    np.testing.assert_allclose(curve(otherwise.log), curve(labelled.log), rtol=1e-10)


def train_long(make_config, make_method, images, run_dir):
    """A hundred steps, of which a process may take some and another the rest."""
    # So many amplify rounding; these keep it far below a change of the data, which
    # moves a loss by a tenth.
    slow = OptimizerConfig(name="sgd", learning_rate=0.001, warmup_epochs=0.0)
    options = {"steps": 100, "steps_per_call": 1, "checkpoint_epochs": 1.0}
    config = make_config("simclr", precision="float64", optimizer=slow, **options)
    return selfsup.train(make_method(config), images, run_dir=run_dir, progress=False)


CHILD = """
import sys
sys.path[:0] = ["tests", "tests/training"]
import conftest, test_run
from selfsup_tf.data.sources.shapes import make_shapes
images, _ = make_shapes("train", size=64)
tiny = conftest.make_tiny_config, conftest.make_tiny_method
test_run.train_long(*tiny, images, sys.argv[1])
"""


def test_kill_and_resume_leaves_no_gap_and_no_repetition(
    tiny_config, tiny_method, few_images, tmp_path, start_python
):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = start_python("-c", CHILD, killed)
    deadline = time.monotonic() + 240
    while len(RunDirectory(killed).read_log()) < 12 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert 4 < RunDirectory(killed).read_log()[-1]["step"] < 100
    resumed, expected = (
        curve(train_long(tiny_config, tiny_method, few_images[0], run_dir).log)
        for run_dir in (killed, whole)
    )
    assert [r[0] for r in resumed] == list(range(1, 101))
    # The order of sums on several cores is all that may differ.
    np.testing.assert_allclose(resumed, expected, rtol=1e-4)
    config = json.loads((killed / "config.json").read_text())
    assert config["steps"] == 100


def test_a_run_traces_its_step_once(finished):
    """Calls of two steps and of one take the same graph."""
    _, steps = finished
    assert steps.experimental_get_tracing_count() == 1


def test_a_gradient_that_float16_never_holds_ends_the_run(
    tiny_config, tiny_method, few_images, tmp_path
):
    config = tiny_config("byol", precision="mixed_float16", steps=40, steps_per_call=1)
    method = tiny_method(config)
    loss = method.compute_loss
    method.compute_loss = lambda outputs: 1e30 * loss(outputs)
    with pytest.raises(TrainingDiverged, match="float16 does not hold the gradient"):
        selfsup.train(method, few_images[0], run_dir=tmp_path, progress=False)
    last = RunDirectory(tmp_path).read_log()[-1]
    # From 2**15 down to 2**-13; the next half is below 1e-4.
    assert last["train/skipped_steps"] == last["step"] == 28


def test_a_gradient_that_float16_holds_at_last_is_learned_from(
    tiny_config, tiny_method, few_images, tmp_path
):
    wanted = {"precision": "mixed_float16", "steps": 40, "steps_per_call": 1}
    still = OptimizerConfig(name="sgd", learning_rate=1e-12, warmup_epochs=0.0)
    method = tiny_method(tiny_config("byol", optimizer=still, **wanted))
    loss = method.compute_loss
    method.compute_loss = lambda outputs: 1e8 * loss(outputs)
    run = selfsup.train(method, few_images[0], run_dir=tmp_path, progress=False)
    assert 15 < run.log[-1]["train/skipped_steps"] < 40
    assert run.log[-1]["train/loss_scale"] < 1


def test_a_batch_that_was_fitted_stays(tiny_config, tiny_method, few_images, tmp_path):
    """On other devices another batch might fit the images."""
    config = tiny_config("byol", batch_size=80, steps=2)

    def train():
        options = {"run_dir": tmp_path, "progress": False}
        return selfsup.train(tiny_method(config), few_images[0], **options)

    assert train().log[0]["batch_size"] == 64
    log = tmp_path / "log.jsonl"
    log.write_text(log.read_text().replace('"batch_size": 64', '"batch_size": 60'))
    with pytest.raises(InputError, match=r"the batch of 60 images that .* began with"):
        train()


def test_slips_of_a_method_are_named(tiny_config, tiny_method, few_images, tmp_path):
    def said(slip):
        method = tiny_method(tiny_config("byol"))
        slip(method)
        with pytest.raises(InputError) as caught:
            selfsup.train(method, few_images[0], run_dir=tmp_path, progress=False)
        return str(caught.value)

    def forget(method):
        method.after_update = lambda *arguments: {}

    def rename(method):
        build = method.build

        def renamed():
            build()
            outputs = method.model.output
            others = {k.replace("representation", "h"): v for k, v in outputs.items()}
            method.model = keras.Model(method.model.input, others)

        method.build = renamed

    def promise(method):
        method.metric_names = ("train/accuracy",)

    assert "Let after_update of BYOL return these" in said(forget)
    assert "with the output representation_1" in said(rename)
    assert "Let compute_metrics of BYOL return these" in said(promise)


def test_skipped_steps_are_counted(train, tiny_config, few_images, tmp_path):
    """At so low a temperature the gradient overflows until the scale has come down."""
    config = tiny_config(
        "simclr",
        precision="mixed_float16",
        temperature=1e-4,
        steps=20,
        optimizer=OptimizerConfig(name="sgd", learning_rate=1e-9, warmup_epochs=0.0),
    )
    run = train(config, few_images[0], tmp_path)
    records = [r for r in run.log if "train/skipped_steps" in r]
    skipped = [r["train/skipped_steps"] for r in records]
    assert skipped == sorted(skipped) and 0 < skipped[-1] < 20
    # Each skipped step halves the scale.
    assert records[-1]["train/loss_scale"] == 2.0 ** (15 - skipped[-1])


@pytest.mark.parametrize("remat", [True, False])
def test_remat_runs_the_network_block_by_block(remat, tiny_config, tiny_method):
    """What that saves is shown in tests/models/test_rematerialisation.py."""
    method = tiny_method(tiny_config("simclr", remat=remat))
    method.build()
    replica = Replica(method, None)
    assert (replica.model is not method.model) == remat


def test_images_lost_while_a_run_trains(
    train, tiny_config, few_images, tmp_path, monkeypatch, caplog
):
    """The run goes on, names them, and resumes to the same numbers."""
    folder = tmp_path / "images"
    folder.mkdir()

    def write(number, image):
        contents = tf.io.encode_png(image).numpy()
        (folder / f"{number:02}.png").write_bytes(contents)

    def damage(source, config):  # once the source is open
        (folder / "07.png").unlink(missing_ok=True)
        (folder / "11.png").write_bytes(b"")
        (folder / "13.png").write_bytes(b"I was an image")
        write(17, few_images[0][17][:20])
        return source, look

    def look(networks):
        if not next(looks):
            raise KeyboardInterrupt
        return {}

    monkeypatch.setattr(api, "hold_out", damage)
    often = {"checkpoint_epochs": 0.5, "knn_epochs": 0.5}
    config = tiny_config("simclr", steps=8, data=str(folder), **often)
    for run_dir in (tmp_path / "whole", tmp_path / "cut"):
        for number, image in enumerate(few_images[0]):
            write(number, image)
        looks = iter([True, run_dir.name == "whole", True, True])
        if run_dir.name == "whole":
            whole = train(config, None, run_dir)
            continue
        with pytest.raises(KeyboardInterrupt):
            train(config, None, run_dir)
        looks = itertools.repeat(True)
        resumed = train(config, None, run_dir)
    for name in ("07.png: No such file", "11.png: empty", "13.png: Unknown image"):
        assert name in caplog.text
    assert whole.log[-1]["train/lost_images"] == 3
    assert np.array(curve(resumed.log)) == pytest.approx(np.array(curve(whole.log)))
