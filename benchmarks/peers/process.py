"""A program in a process of its own: how long it takes, and how much memory."""

import dataclasses
import os
import pathlib
import subprocess
import time

_PAUSE = 3.0
"""Seconds between two looks at the memory, which take some of the processor's time."""


@dataclasses.dataclass(frozen=True)
class Used:
    """What a command took.

    Attributes:
        seconds: From its start to its end.
        peak_bytes: The largest memory of it and its children at one time, looked at
            every few seconds; pages that several of them share are counted once.
    """

    seconds: float
    peak_bytes: int


def run(
    command: list[str], folder: pathlib.Path, *, until: pathlib.Path | None = None
) -> Used:
    """Waits for a command in a folder, whose output is thrown away.

    Args:
        command: The words.
        folder: Where it runs.
        until: A file that it writes: what comes after has its memory not looked at.

    Raises:
        SystemExit: It failed.
    """
    start, peak, looked = time.perf_counter(), 0, -_PAUSE
    # Of lightly-train, which otherwise tells its makers of each run.
    quiet = os.environ | {"LIGHTLY_TRAIN_EVENTS_DISABLED": "1"}
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, env=quiet
    )
    try:
        while process.poll() is None:
            now = time.perf_counter()
            if now - looked > _PAUSE and (until is None or not until.exists()):
                peak, looked = max(peak, _memory(process.pid)), now
            time.sleep(0.2)
    finally:
        process.terminate()  # where this program is ended itself
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return Used(time.perf_counter() - start, peak)


def _memory(pid: int) -> int:
    folder = pathlib.Path("/proc") / str(pid)
    try:
        children = (folder / "task" / str(pid) / "children").read_text().split()
        lines = (folder / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0  # it has ended
    own = [line.split()[1] for line in lines if line.startswith("Pss:")]
    return 1024 * sum(map(int, own)) + sum(_memory(int(child)) for child in children)
