"""The run directory: its names, the lock of a run in progress, damaged files."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from selfsup_tf.config import Config, to_dict
from selfsup_tf.errors import InputError
from selfsup_tf.files import whole_file, write_json
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


def test_a_file_is_no_run_to_train_in(tmp_path):
    write_json(tmp_path / "config.json", to_dict(SimCLRConfig()))
    (tmp_path / "encoder.keras").touch()
    RunDirectory(tmp_path).check_config(SimCLRConfig())
    with pytest.raises(InputError, match="It is a file"):
        RunDirectory(tmp_path / "encoder.keras").check_config(SimCLRConfig())


def killed_while_writing(path, monkeypatch):
    """What stays of a file whose process dies before it is in its place."""
    before = set(path.parent.glob("*"))
    with monkeypatch.context() as dying, pytest.raises(KeyboardInterrupt):
        dying.setattr(pathlib.Path, "unlink", lambda *_, **__: None)
        with whole_file(path) as beside:
            beside.write_text('{"ha')
            raise KeyboardInterrupt
    (left,) = set(path.parent.glob("*")) - before
    return left


def test_what_a_death_leaves_is_no_hindrance_and_gone_after_the_next_start(
    tmp_path, monkeypatch
):
    run, config = RunDirectory(tmp_path), SimCLRConfig()
    files = [run.config, run.log, run.best, run.kept("encoder"), run.kept("projector")]
    left = [killed_while_writing(file, monkeypatch) for file in files]
    older = [".config.json.1", ".encoder.77.keras", ".log.jsonl.12"]
    for name in older:
        left.append(tmp_path / name)
        left[-1].touch()
    report = killed_while_writing(run.report, monkeypatch)
    run.check_config(config)
    run.begin(config, 10)
    assert not any(file.exists() for file in left)
    # Another process, which needs no lock, may be writing it just now.
    assert report.exists()
    assert sorted(tmp_path.iterdir()) == sorted([run.config, report])
    run.check_config(config)


@pytest.mark.parametrize("name", [".thesis.2024.txt", ".config.final.json", ".a.keras"])
def test_what_only_looks_like_it_is_left_alone(name, tmp_path):
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match="choose another place"):
        RunDirectory(tmp_path).check_config(SimCLRConfig())
    RunDirectory(tmp_path).begin(SimCLRConfig(), 10)
    assert (tmp_path / name).read_text() == "mine"


def test_a_planted_link_is_not_followed(tmp_path, monkeypatch):
    victim, run = tmp_path / "victim", RunDirectory(tmp_path / "run")
    victim.write_text("years of work")
    run.path.mkdir()
    # The worst case: the name is guessed.
    monkeypatch.setattr("secrets.token_hex", lambda count: "0")
    for name in (f".best.{os.getpid()}.json", ".best.0.json", ".lock"):
        (run.path / name).symlink_to(victim)
    with pytest.raises(FileExistsError):
        write_json(run.best, {})
    with pytest.raises(InputError, match="a run_dir that can be written"):
        run.locked().__enter__()
    assert victim.read_text() == "years of work"


def test_what_is_written_whole_is_on_the_disk_before_it_is_in_its_place(
    tmp_path, monkeypatch
):
    calls = []
    monkeypatch.setattr(os, "fsync", lambda handle: calls.append("sync"))
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda *a: (calls.append("put"), replace(*a)))
    write_json(tmp_path / "a.json", 1)
    assert calls == ["sync", "put", "sync"]
