"""The run directory: its names, the lock of a run in progress, damaged files."""

import json
import os
import signal
import subprocess
import sys

import pytest

from selfsup_tf.config import Config, to_dict
from selfsup_tf.errors import InputError
from selfsup_tf.files import write_json
from selfsup_tf.run import RunDirectory
from simclr_tf.config import SimCLRConfig

HOLD = """
import sys, time
from selfsup_tf.run import RunDirectory
from simclr_tf.config import SimCLRConfig
with RunDirectory(sys.argv[1]).locked():
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that is writing the run in tmp_path."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_process_is_told_who_writes_the_run_and_since_when(tmp_path, holder):
    run = RunDirectory(tmp_path)
    for refused in (run.check_free, lambda: run.locked().__enter__()):
        with pytest.raises(InputError) as error:
            refused()
        assert f"process {holder.pid} on {os.uname().nodename}" in str(error.value)
        assert json.loads(run.lock.read_text())["since"] in str(error.value)


def test_a_lock_is_no_hindrance_after_a_kill(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    run = RunDirectory(tmp_path)
    assert run.lock.exists()
    run.check_config(Config())  # the directory still counts as empty
    with run.locked():
        assert json.loads(run.lock.read_text())["process"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_leaves_nothing_behind_where_nothing_was_written(tmp_path):
    with pytest.raises(RuntimeError), RunDirectory(tmp_path / "a" / "b").locked():
        raise RuntimeError
    assert list((tmp_path / "a").iterdir()) == []
    with RunDirectory(tmp_path / "c").locked():
        (tmp_path / "c" / "config.json").touch()
    assert [p.name for p in (tmp_path / "c").iterdir()] == ["config.json"]


def test_threads_of_one_process_do_not_share_the_lock(tmp_path):
    run = RunDirectory(tmp_path)
    with run.locked(), pytest.raises(InputError, match="no other process is writing"):
        RunDirectory(tmp_path).check_free()


def test_a_keras_file_stands_for_its_run(tmp_path):
    run = RunDirectory(tmp_path / "encoder_best.keras")
    assert run.path == tmp_path
    assert run.encoder() == run.encoder("best") == tmp_path / "encoder_best.keras"
    assert run.result("knn_k=5") == tmp_path / "eval" / "knn_k=5.json"


@pytest.mark.parametrize("contents", ["", "{", "[]", "null", "\xff"])
def test_a_damaged_config_is_named_with_what_to_do(tmp_path, contents):
    run = RunDirectory(tmp_path)
    run.config.write_bytes(contents.encode("latin1"))
    with pytest.raises(InputError, match=r"config\.json.*Name a run directory"):
        run.read_config()


def test_a_damaged_list_of_classes_is_not_taken_for_a_mistyped_run(tmp_path):
    run = RunDirectory(tmp_path)
    run.class_names.write_text('["a", ')
    with pytest.raises(InputError, match="is damaged") as error:
        run.read_class_names()
    assert "Name a run" not in str(error.value)


def test_a_look_at_a_free_run_changes_nothing(tmp_path):
    run = RunDirectory(tmp_path)
    run.check_free()
    run.lock.write_text("left by a run that was killed")
    run.check_free()
    assert run.lock.read_text() == "left by a run that was killed"


@pytest.mark.parametrize("before", [{}, {"images": "a"}, {"images": "a", "x": "b"}])
def test_a_run_goes_on_with_what_it_began_with(tmp_path, before):
    """One from before there were hashes does, and one that lacks some."""
    run = RunDirectory(tmp_path)
    first = {"step": 0, "images": 64} | ({"identity": before} if before else {})
    run.log.write_text(json.dumps(first) + "\n")
    run.begin(SimCLRConfig(), 64, {"images": "a", "y": "c"})
    if before:
        with pytest.raises(InputError, match="received other: images"):
            run.begin(SimCLRConfig(), 64, {"images": "b"})


def test_a_file_is_no_run_to_train_in(tmp_path):
    write_json(tmp_path / "config.json", to_dict(SimCLRConfig()))
    (tmp_path / "encoder.keras").touch()
    RunDirectory(tmp_path).check_config(SimCLRConfig())
    with pytest.raises(InputError, match="It is a file"):
        RunDirectory(tmp_path / "encoder.keras").check_config(SimCLRConfig())
