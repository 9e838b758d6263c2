"""A program in a process of its own, and how much memory it takes."""

import pathlib
import subprocess
import time


def run(command: list[str], folder: pathlib.Path) -> int:
    """Waits for a command; gives the largest memory of it and its children, in bytes.

    What is judged at the end is part of it.
    """
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        peak = max(peak, _resident(process.pid))
        time.sleep(1)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return peak


def _resident(pid: int) -> int:
    """The memory of a process and its children, shared pages counted once for each."""
    folder = pathlib.Path("/proc") / str(pid)
    try:
        children = (folder / "task" / str(pid) / "children").read_text().split()
        status = (folder / "status").read_text()
    except OSError:
        return 0  # it has ended
    own = [line.split()[1] for line in status.splitlines() if line[:6] == "VmRSS:"]
    return 1024 * sum(map(int, own)) + sum(_resident(int(child)) for child in children)
