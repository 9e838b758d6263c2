"""Several workers on this machine: started by one flag, killed, resumed, refused."""

import json
import os
import pathlib
import signal
import subprocess
import time

import numpy as np
import pytest

from selfsup_tf.run import RunDirectory

ROOT = pathlib.Path(__file__).parents[2]
STOPS_WITHIN = 60  # seconds, promised in docs/scaling.md


# train.py, whose workers trace a ResNet in a moment; the launcher knows no TensorFlow.
PROGRAM = """
import os
from selfsup_tf import cli
if "TF_CONFIG" in os.environ:
    from selfsup_tf.models import resnet
    resnet.BLOCKS["resnet18"] = (1,)
cli.train()
"""


class Launcher:
    """`train.py --local_workers=2` and its workers."""

    def __init__(self, start_python, program, flags):
        self.process = start_python(
            *(program, "simclr", "shapes", *flags), stderr=subprocess.STDOUT
        )

    def worker(self, index):
        """The process that is worker `index`."""
        launcher = self.process.pid
        children = pathlib.Path(f"/proc/{launcher}/task/{launcher}/children")
        for child in children.read_text().split():
            for entry in pathlib.Path(f"/proc/{child}/environ").read_text().split("\0"):
                if entry.startswith("TF_CONFIG="):
                    config = json.loads(entry.partition("=")[2])
                    if config["task"]["index"] == index:
                        return int(child)
        raise AssertionError(f"no worker {index}")

    def end(self, timeout):
        """Its exit code and all that it said."""
        output, _ = self.process.communicate(timeout=timeout)
        return self.process.returncode, output


@pytest.fixture
def flags(few_images, tmp_path):
    """A run of two workers that takes a while, with a checkpoint every few steps."""
    np.savez(tmp_path / "images.npz", images=few_images[0])
    return [
        f"--data={tmp_path / 'images.npz'}",
        f"--run_dir={tmp_path / 'run'}",
        "--local_workers=2",
        "--image_size=16",
        "--batch_size=16",
        "--epochs=None",
        "--steps=60",
        "--steps_per_call=1",
        "--encoder.width=0.0625",
        *(f"--view_{i}.{f}=0" for i in (1, 2) for f in ("jitter", "grayscale", "blur")),
        "--checkpoint_epochs=1",
    ]


@pytest.mark.skipif(not pathlib.Path("/proc").is_dir(), reason="finds workers in /proc")
def test_a_killed_worker_ends_the_other_and_the_same_command_resumes(
    flags, tmp_path, start_python
):
    log = tmp_path / "run" / "log.jsonl"
    program = tmp_path / "train.py"
    program.write_text(PROGRAM)
    launcher = Launcher(start_python, program, flags)
    deadline = time.monotonic() + 240
    while len(RunDirectory(log.parent).read_log()) < 8 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(launcher.worker(1), signal.SIGKILL)
    code, output = launcher.end(timeout=STOPS_WITHIN)
    assert code == 128 + signal.SIGKILL
    assert "worker 1 was killed by SIGKILL" in output
    # Said by the other worker, which no launcher told.
    assert "worker 1 (127.0.0.1:" in output and "same command" in output
    assert "Traceback" not in output
    assert 4 < RunDirectory(log.parent).read_log()[-1]["step"] < 60
    code, output = Launcher(start_python, program, flags).end(timeout=400)
    assert code == 0, output
    assert "Resuming after step" in output and "2 replicas" in output
    steps = [
        r["step"] for r in RunDirectory(log.parent).read_log() if "train/loss" in r
    ]
    assert steps == list(range(1, 61))


def test_workers_that_cannot_share_the_batch_are_refused(run_program, tmp_path):
    done = run_program(
        "train.py",
        "simclr",
        "shapes",
        f"--run_dir={tmp_path / 'run'}",
        "--local_workers=3",
        "--batch_size=16",
        check=False,
    )
    assert done.returncode == 2
    assert "divisible by the 3 replicas; received 16" in done.stderr
    assert "15 and 18" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_config_of_another_worker_is_refused(
    few_images, tmp_path, start_python, free_addresses
):
    """Started by hand, as on two machines, with two temperatures."""
    np.savez(tmp_path / "images.npz", images=few_images[0])
    cluster = free_addresses(2)
    processes = [
        start_python(
            *("train.py", "simclr", "shapes"),
            f"--run_dir={tmp_path / 'run'}",
            f"--data={tmp_path / 'images.npz'}",
            f"--temperature=0.{index + 1}",
            cluster=cluster,
            worker=index,
        )
        for index in (0, 1)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 2
        assert f"worker 1 at {cluster[1]} differs from the chief" in errors
        assert "temperature: 0.2 there, 0.1 here" in errors
    assert not (tmp_path / "run").exists()
