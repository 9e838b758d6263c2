"""The launcher of local workers, on small scripts that know no TensorFlow."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

import pytest

from selfsup_tf.distribution.cluster import find_cluster
from selfsup_tf.distribution.local_workers import run_local_workers
from selfsup_tf.errors import InputError

ROOT = pathlib.Path(__file__).parents[2]
PRELUDE = """
import json, os, pathlib, signal, sys, time
index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
folder = pathlib.Path(sys.argv[1])
def put(name, text=""):
    beside = folder / f".{name}{index}"
    beside.write_text(str(text))
    beside.rename(folder / f"{name}{index}")
put("pid", os.getpid())
"""
LAUNCHER = """
import signal, sys
from selfsup_tf.distribution.local_workers import run_local_workers
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
command = [sys.executable, *sys.argv[2:]]
sys.exit(run_local_workers(command, 2, patience=float(sys.argv[1])))
"""
SLEEP = "put('up')\ntime.sleep(60)"
NOTE_SIGNALS = """
got = []
def note(number, frame):
    got.append(signal.Signals(number).name)
    put("got", got)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, note)
put("up")
while not got:
    time.sleep(.02)
time.sleep(.3)
sys.exit(5)
"""


@pytest.fixture(autouse=True)
def no_gpus(monkeypatch):
    """The share of GPUs is tested on numbers that are none's."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture
def run(tmp_path):
    """Runs a script as workers, within this process."""

    def run(script, count=2, **options):
        path = tmp_path / "worker.py"
        path.write_text(PRELUDE + script)
        options = {"patience": 20.0} | options
        return run_local_workers(
            [sys.executable, str(path), str(tmp_path)], count, **options
        )

    return run


@pytest.fixture
def launch(tmp_path):
    """Starts a launcher of two workers, a process of its own; returns when they run."""
    launchers = []

    def launch(script, patience=20.0):
        path = tmp_path / "worker.py"
        path.write_text(PRELUDE + script)
        words = [sys.executable, "-c", LAUNCHER, str(patience), path, tmp_path]
        launcher = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        launchers.append(launcher)
        wait_for(lambda: all((tmp_path / f"up{i}").exists() for i in range(2)))
        return launcher

    yield launch
    for launcher in launchers:
        launcher.kill()
        launcher.communicate()


def wait_for(condition):
    for _ in range(400):
        if condition():
            return
        time.sleep(0.025)
    raise AssertionError("it does not come to pass")


def ended(folder, index):
    """Whether a worker's process is gone, its zombie aside."""
    try:
        status = pathlib.Path(f"/proc/{(folder / f'pid{index}').read_text()}/stat")
        return status.read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_each_is_told_its_place_in_one_cluster(run, tmp_path, monkeypatch):
    outer = {"TF_CONFIG": "outer", "SLURM_PROCID": "3", "KEPT": "yes"}
    outer["SELFSUP_TOKEN"] = "of another run"
    for name, value in outer.items():
        monkeypatch.setenv(name, value)
    script = "put('environment', json.dumps(dict(os.environ)))"
    assert run(script, 3) == 0
    inner = [json.loads((tmp_path / f"environment{i}").read_text()) for i in range(3)]
    clusters = [find_cluster(environment) for environment in inner]
    assert [cluster.index for cluster in clusters] == [0, 1, 2]
    assert len({cluster.workers for cluster in clusters}) == 1
    assert all(w.startswith("127.0.0.1:") for w in clusters[0].workers)
    (token,) = {environment["SELFSUP_TOKEN"] for environment in inner}
    assert re.fullmatch("[0-9a-f]{32}", token)
    for environment in inner:
        assert environment["KEPT"] == "yes"
        assert environment["CUDA_VISIBLE_DEVICES"] == ""
        assert not any(name.startswith("SLURM_") for name in environment)


@pytest.mark.parametrize(
    "gpus, count, shares, said",
    [
        ("0,1,2,3", 2, ["0,1", "2,3"], "2 workers; GPUs for each: 2"),
        ("4,GPU-a,6", 2, ["4", "GPU-a"], "2 workers; GPUs for each: 1; unused: 6"),
        ("0", 2, ["", ""], "2 workers on the CPU: 1 GPUs are too few to share"),
        ("", 1, [""], "1 workers on the CPU"),
    ],
)
def test_gpus_are_shared_evenly_or_not_at_all(
    run, tmp_path, caplog, monkeypatch, gpus, count, shares, said
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    script = "put('gpus', os.environ['CUDA_VISIBLE_DEVICES'])"
    with caplog.at_level("INFO", logger="selfsup_tf"):
        assert run(script, count) == 0
    assert [(tmp_path / f"gpus{i}").read_text() for i in range(count)] == shares
    assert caplog.messages == [said]


def test_worker_0_has_the_terminal_to_itself(run, capfd):
    script = "print('out', index)\nprint('err', index, file=sys.stderr)"
    assert run(script) == 0
    assert capfd.readouterr() == ("out 0\n", "err 0\n")


def test_a_failure_is_shown_and_its_code_is_the_launchers(run, capfd):
    # Worker 1 writes more than a pipe holds; the end of it is shown.
    script = """
if index == 1:
    print("x" * 99, file=sys.stderr)
    sys.stderr.write("progress\\n" * 20_000)
    put("failed")
    sys.exit("what went wrong")
while not (folder / "failed1").exists():
    time.sleep(.02)
time.sleep(1)
print("lost a peer", file=sys.stderr)
sys.exit(3)
"""
    assert run(script, 3) == 1
    said = capfd.readouterr().err.splitlines()
    assert said[-2:] == ["error: worker 1 ended with exit code 1", "lost a peer"]
    assert said[-3] == "worker 1: what went wrong"
    assert set(said[1:-3]) == {"worker 1: progress"}
    assert len(said) > 1000


def test_a_failure_of_worker_0_is_its_own_to_show(run, capfd):
    assert run("sys.exit(7 if index == 0 else 0)") == 7
    assert capfd.readouterr().err == "error: worker 0 ended with exit code 7\n"


def test_a_signal_is_named(run, capfd):
    script = "if index: os.kill(os.getpid(), signal.SIGKILL)\ntime.sleep(.5)"
    assert run(script) == 128 + 9
    assert "error: worker 1 was killed by SIGKILL\n" in capfd.readouterr().err


def test_the_others_are_stopped_when_patience_ends(run, capfd, tmp_path):
    script = """
if index == 0:
    signal.signal(signal.SIGTERM, lambda *_: put("terminated"))
    put("up")
    while True:
        time.sleep(.05)
while not (folder / "up0").exists():
    time.sleep(.02)
sys.exit(4)
"""
    assert run(script, patience=0.3, grace=0.5) == 4
    assert (tmp_path / "terminated0").exists()
    assert capfd.readouterr().err.splitlines() == [
        "error: worker 1 ended with exit code 4",
        "worker 0 did not stop: SIGTERM",
        "worker 0 did not stop: SIGKILL",
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_every_worker_once(launch, tmp_path, number):
    launcher = launch(NOTE_SIGNALS)
    launcher.send_signal(number)
    assert launcher.wait(timeout=10) == 5
    assert launcher.stderr.read() == ""
    for index in range(2):
        assert (tmp_path / f"got{index}").read_text() == f"['{number.name}']"
        assert ended(tmp_path, index)


def test_ctrl_c_at_a_terminal_reaches_every_worker_once(launch, tmp_path, monkeypatch):
    # A terminal sends the signal to all of the group that it runs.
    popen = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda *a, **k: popen(*a, start_new_session=True, **k)
    )
    launcher = launch(NOTE_SIGNALS)
    os.killpg(launcher.pid, signal.SIGINT)
    assert launcher.wait(timeout=10) == 5
    for index in range(2):
        assert (tmp_path / f"got{index}").read_text() == "['SIGINT']"


def test_a_second_signal_kills(launch, tmp_path):
    launcher = launch("signal.signal(signal.SIGINT, lambda *_: put('got'))\n" + SLEEP)
    launcher.send_signal(signal.SIGINT)
    wait_for(lambda: all((tmp_path / f"got{i}").exists() for i in range(2)))
    launcher.send_signal(signal.SIGINT)
    assert launcher.wait(timeout=10) == 128 + 9


def test_workers_deaf_to_a_signal_are_stopped_when_patience_ends(launch, tmp_path):
    deaf = "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    launcher = launch(deaf + SLEEP, patience=0.3)
    launcher.send_signal(signal.SIGINT)
    assert launcher.wait(timeout=10) == 128 + 15
    assert "did not stop: SIGTERM" in launcher.stderr.read()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's doing, on Linux")
def test_none_is_left_behind_by_a_launcher_that_is_killed(launch, tmp_path):
    launcher = launch(SLEEP)
    assert not ended(tmp_path, 0) and not ended(tmp_path, 1)
    launcher.kill()
    wait_for(lambda: ended(tmp_path, 0) and ended(tmp_path, 1))


def test_a_command_that_is_none():
    with pytest.raises(FileNotFoundError):
        run_local_workers(["/nowhere/to/be/found"], 2)
    with pytest.raises(InputError, match="expected 1 worker or more; received 0"):
        run_local_workers(["true"], 0)


def test_none_is_left_behind_by_a_launcher_that_fails(run, tmp_path, monkeypatch):
    def open_none():  # for the errors of worker 1, when worker 0 runs
        wait_for((tmp_path / "up0").exists)
        raise OSError("too many open files")

    monkeypatch.setattr(tempfile, "TemporaryFile", open_none)
    with pytest.raises(OSError, match="too many open files"):
        run(SLEEP)
    assert ended(tmp_path, 0)


def test_signals_are_the_callers_again():
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    assert run_local_workers(["true"], 1) == 0
    assert before == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
