"""The run directory: its names, the lock of a run in progress, damaged files."""

import contextlib
import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import threading

import pytest

from selfsup_tf.config import Config, to_dict
from selfsup_tf.errors import InputError
from selfsup_tf.evaluation import run_images
from selfsup_tf.evaluation.report.gather import gather
from selfsup_tf.files import whole_file, write_json
from selfsup_tf.locks import is_free, one_after_another
from selfsup_tf.run import RunDirectory
from selfsup_tf.training.beginning import begin, check_config
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


def test_nobody_is_known_to_be_gone_where_there_are_no_locks(tmp_path, monkeypatch):
    assert is_free(tmp_path)

    def refuse(*_):
        raise OSError("no locks here")

    monkeypatch.setattr("fcntl.flock", refuse)
    assert not is_free(tmp_path)


def test_a_lock_is_no_hindrance_after_a_kill(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    run = RunDirectory(tmp_path)
    assert run.lock.exists()
    check_config(run, Config())  # the directory still counts as empty
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


def test_a_run_that_was_deleted_and_begun_anew_is_left_to_its_new_process(tmp_path):
    run, anew = RunDirectory(tmp_path / "run"), RunDirectory(tmp_path / "run")
    with run.locked():
        write_json(run.config, {})
        run.check_there()
        shutil.rmtree(run.path)
        with anew.locked():
            write_json(run.config, {})
            with pytest.raises(InputError, match="another run, or one without"):
                run.check_there()
            anew.check_there()
        run.lock.touch()
    assert run.lock.exists()  # not this one's to remove


def test_processes_take_turns(tmp_path):
    lock, order = tmp_path / "locks" / "a", []

    def wait():
        with one_after_another(lock):
            order.append("second")

    other = threading.Thread(target=wait)
    with one_after_another(lock):
        other.start()
        other.join(0.5)
        order.append("first")
    other.join()
    assert order == ["first", "second"]


@pytest.mark.parametrize("step", [0, 1])
def test_a_run_that_ended_in_its_first_step_gives_way(tmp_path, step):
    """Such as for want of memory: less of it needs other flags."""
    run = RunDirectory(tmp_path)
    begin(run, SimCLRConfig(), 64)
    record = {"step": 0, "images": 64}
    lines = [record, {"step": step, "epoch": 0.1}]
    run.log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    less = SimCLRConfig(batch_size=16)
    if step:
        with pytest.raises(InputError, match="batch_size"):
            check_config(run, less)
        return
    check_config(run, less)
    assert begin(run, less, 48) == []
    assert run.read_config()["batch_size"] == 16 and not run.log.exists()


def test_a_folder_is_the_run_s_however_it_is_spelled(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    begin(run, SimCLRConfig(data="~/photos"), 64)
    for spelled in ("photos", "photos/", str(tmp_path / "photos"), "./photos"):
        check_config(run, SimCLRConfig(data=spelled))
    (tmp_path / "others").mkdir()
    with pytest.raises(InputError, match=r"data: ~/photos there, others here"):
        check_config(run, SimCLRConfig(data="others"))


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
    lines = first, {"step": 1, "epoch": 0.1}
    run.log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    begin(run, SimCLRConfig(), 64, identity={"images": "a", "y": "c"})
    if before:
        with pytest.raises(InputError, match="received other: images"):
            begin(run, SimCLRConfig(), 64, identity={"images": "b"})


def test_a_file_is_no_run_to_train_in(tmp_path):
    write_json(tmp_path / "config.json", to_dict(SimCLRConfig()))
    (tmp_path / "encoder.keras").touch()
    check_config(RunDirectory(tmp_path), SimCLRConfig())
    with pytest.raises(InputError, match="It is a file"):
        check_config(RunDirectory(tmp_path / "encoder.keras"), SimCLRConfig())


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
    check_config(run, config)
    begin(run, config, 10)
    assert not any(file.exists() for file in left)
    # Another process, which needs no lock, may be writing it just now.
    assert report.exists()
    assert sorted(tmp_path.iterdir()) == sorted([run.config, report])
    check_config(run, config)


@pytest.mark.parametrize("name", [".thesis.2024.txt", ".config.final.json", ".a.keras"])
def test_what_only_looks_like_it_is_left_alone(name, tmp_path):
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match="choose another place"):
        check_config(RunDirectory(tmp_path), SimCLRConfig())
    begin(RunDirectory(tmp_path), SimCLRConfig(), 10)
    assert (tmp_path / name).read_text() == "mine"


def test_what_a_file_manager_leaves_is_no_hindrance(tmp_path, tiny_config):
    for name in (".DS_Store", ".gitkeep"):
        (tmp_path / name).touch()
    check_config(RunDirectory(tmp_path), tiny_config("simclr"))
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(InputError, match=r"which holds thesis\.txt\."):
        check_config(RunDirectory(tmp_path), tiny_config("simclr"))


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


FIRST, SECOND, THIRD = (
    json.dumps({"step": step, "images": 10}).encode() for step in range(3)
)


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"5", b"null", b'{"images": 3}', b'{"step": "\xff"}', b"[" * 9999],
)
def test_a_damaged_line_of_a_log_is_named_and_nothing_is_thrown_away(line, tmp_path):
    run = RunDirectory(tmp_path)
    contents = b"\n".join([FIRST, line, THIRD, b""])
    run.log.write_bytes(contents)
    for read in (run.read_log, lambda: begin(run, SimCLRConfig(), 10)):
        with pytest.raises(InputError, match=r"log\.jsonl; .* in line 2\. Mend"):
            read()
    assert run.log.read_bytes() == contents


@pytest.mark.parametrize("end", [b"", THIRD[:9], b"\0" * 9, THIRD[:4] + b"\xff"])
def test_what_a_crash_cuts_off_is_left_out(end, tmp_path):
    run = RunDirectory(tmp_path)
    run.log.write_bytes(b"\n".join([FIRST, SECOND, end]))
    assert [record["step"] for record in run.read_log()] == [0, 1]
    run.log.write_bytes(b"\n".join([FIRST, SECOND, THIRD]))
    assert [record["step"] for record in run.read_log()] == [0, 1, 2]


def test_a_log_that_does_not_say_how_many_images_is_named(tmp_path):
    run = RunDirectory(tmp_path)
    run.log.write_text('{"step": 0}\n')
    with pytest.raises(
        InputError, match=r"number of images in the first line of .*log"
    ):
        begin(run, SimCLRConfig(), 10)
    run.log.unlink()
    run.log.mkdir()
    with pytest.raises(InputError, match=r"a log at .*log\.jsonl"):
        run.read_log()


DAMAGED_CONFIGS = [
    {"method": 5},
    {"data": ["x"]},
    {"data_dir": 7},
    {"encoder": "resnet"},
    {"optimizer": None},
    {"views": 3},
    {"views": [1]},
]


@pytest.mark.parametrize("values", DAMAGED_CONFIGS)
def test_a_config_of_wrong_kinds_is_named_by_all_that_read_it(values, tmp_path):
    run = RunDirectory(tmp_path)
    write_json(run.config, to_dict(SimCLRConfig()) | values)
    readers = (run.read_config, lambda: check_config(run, SimCLRConfig()))
    for read in (*readers, lambda: gather(tmp_path), lambda: find_images(run)):
        with pytest.raises(InputError, match=f"{next(iter(values))} in .*config"):
            read()


def find_images(run):
    return run_images.images_of(run, run.read_config(), None, None)


def test_a_config_that_lacks_a_field_is_none_to_stumble_over(tmp_path):
    run, values = RunDirectory(tmp_path), to_dict(SimCLRConfig(data="cifar10"))
    for name in values:
        write_json(run.config, {n: v for n, v in values.items() if n != name})
        gather(tmp_path)
        with contextlib.suppress(InputError):
            check_config(run, SimCLRConfig())
        if name == "data":
            with pytest.raises(InputError, match="does not tell what the run learned"):
                find_images(run)
        else:
            assert find_images(run) == ("cifar10", None)


def test_damaged_small_files_are_named(tmp_path):
    run = RunDirectory(tmp_path)
    for contents in ("", "5", "[]", "null", "{}", '{"by": 1}'):
        run.best.write_text(contents)
        with pytest.raises(InputError, match=r"best\.json"):
            run.read_best()
    for contents in ("", "5", "null", '"cat"', '{"cat": 1}', "[1]"):
        run.class_names.write_text(contents)
        with pytest.raises(InputError, match=r"class_names\.json"):
            run.read_class_names()


def test_the_flag_of_a_run_is_one_word_of_a_shell(tmp_path):
    for name in ("a", "my run; ls", "lr=[1]", "it's"):
        flag = RunDirectory(tmp_path / name).flag
        assert shlex.split(flag) == [f"--run_dir={tmp_path / name}"]
    assert RunDirectory("runs/a").flag == "--run_dir=runs/a"


RACE = """
import sys, time
from selfsup_tf.errors import InputError
from selfsup_tf.run import RunDirectory
print("ready", flush=True)
sys.stdin.readline()
try:
    with RunDirectory(sys.argv[1]).locked():
        print("held", flush=True)
        sys.stdin.readline()
except InputError as error:
    print(error, flush=True)
"""


def test_of_processes_that_start_at_once_one_writes_the_run(tmp_path):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", RACE, tmp_path / "run"]
    racers = [subprocess.Popen(command, **pipes) for _ in range(4)]
    try:
        for racer in racers:
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            racer.stdin.write("go\n")
            racer.stdin.flush()
        said = {racer.pid: racer.stdout.readline() for racer in racers}
        (winner,) = [pid for pid, line in said.items() if line == "held\n"]
        for pid, line in said.items():
            told = f"process {winner} on " in line or "has just begun" in line
            assert pid == winner or (told and "Wait for its end" in line)
        # One that comes later is told, too; and is next when the first has ended.
        with pytest.raises(InputError, match=f"process {winner} on "):
            RunDirectory(tmp_path / "run").check_free()
    finally:
        for racer in racers:
            racer.communicate("end\n")
    with RunDirectory(tmp_path / "run").locked():
        pass


def test_a_run_s_images_are_found_from_any_directory_and_taken_for_no_others(
    tmp_path, monkeypatch
):
    """A run names its images as they were named, from where it was begun."""
    names = [f"{n}.jpg" for n in range(40)]
    for place, count in (("a", 40), ("b", 10)):
        (tmp_path / place / "data").mkdir(parents=True)
        for name in names[:count]:
            (tmp_path / place / "data" / name).touch()
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    begun = {"folder": str(tmp_path / "a" / "data"), "root": "."}
    write_json(run.images, begun | {"files": names, "lengths": [0] * 40})
    stored = {"data": "data"}
    monkeypatch.chdir(tmp_path / "a")
    assert run_images.images_of(run, stored, None, None) == ("data", None)
    monkeypatch.chdir(tmp_path / "b")
    assert run_images.images_of(run, stored, None, None) == (begun["folder"], None)
    (tmp_path / "a").rename(tmp_path / "c")
    with pytest.raises(InputError, match=r"other files.*Say where they lie: --data="):
        run_images.images_of(run, stored, None, None)
    assert run_images.images_of(run, stored, "data", None) == ("data", None)
    # Of one name, and others: their results are not the run's own.
    own, moved = begun["folder"], tmp_path / "c" / "data"
    assert run_images.are_of_run(run, own, str(moved))
    monkeypatch.setenv("HOME", str(tmp_path / "b"))
    assert run_images.are_of_run(run, "~/data", "~/data")  # whatever is in it now
    assert not run_images.are_of_run(run, own, str(tmp_path / "b" / "data"))
