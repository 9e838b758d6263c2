"""Several workers on this machine, each a process, started and ended together.

Every worker leads a session of its own. A Ctrl-C at the terminal then reaches the
launcher alone, which passes it on once: in the launcher's own group the workers would
get it twice, the second time while they save. A worker's own children are in its
session and get the same signals. On Linux the kernel kills the workers when the
launcher is killed without a chance to pass anything on (PR_SET_PDEATHSIG); elsewhere
they notice nothing.
"""

import contextlib
import ctypes
import math
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import IO

from selfsup_tf.distribution.cluster import TOKEN, Cluster
from selfsup_tf.distribution.gpus import share_gpus, visible_gpus
from selfsup_tf.errors import InputError, check

PORTS = range(15_000, 32_000)
"""Below those that Linux gives to outgoing connections, so that none takes the port of
a worker that is yet to start."""

_LOOK_EVERY = 0.05  # seconds
LAST_BYTES = 100_000  # of a failed worker's stderr
_PR_SET_PDEATHSIG = 1


def run_local_workers(
    command: Sequence[str],
    count: int,
    *,
    patience: float = 60.0,
    grace: float = 10.0,
) -> int:
    """Runs a command as the workers of one cluster on this machine, to their end.

    Worker 0 has the terminal. Of the others stderr alone is kept, and is shown if that
    worker is the first to fail. When one fails, the others have `patience` to notice;
    then they are terminated, and killed. SIGINT, SIGTERM and SIGHUP are passed on to
    all; a second one kills them. To be called from a process that has no threads.

    Args:
        command: The program and its words, the same for all; TF_CONFIG tells each which
            it is, SELFSUP_TOKEN is a new secret of theirs, CUDA_VISIBLE_DEVICES its
            share of the GPUs, none where there are fewer GPUs than workers. SLURM's
            variables are unset.
        count: Workers to start.
        patience: Seconds, see above.
        grace: Seconds between SIGTERM and SIGKILL.

    Returns:
        0, or the exit code of the first worker that failed: 128 + the number of the
        signal if that ended it.

    Raises:
        InputError: `count` is below 1.
        OSError: The command can't be started.
    """
    check(
        count >= 1, "1 worker or more", count, "Leave it out to train in one process."
    )
    with contextlib.ExitStack() as stack:
        signals = stack.enter_context(_caught_signals())
        workers = []
        stack.callback(_kill, workers)
        for index, variables in enumerate(_make_environments(count)):
            errors = stack.enter_context(tempfile.TemporaryFile()) if index else None
            workers.append(_Worker(command, index, variables, errors))
        return _watch(workers, signals, patience, grace)


class _Worker(subprocess.Popen):
    """A worker's process.

    Attributes:
        messages: What it wrote to stderr; None for worker 0, which has the terminal.
    """

    def __init__(
        self,
        command: Sequence[str],
        index: int,
        variables: dict[str, str],
        errors: IO[bytes] | None,
    ):
        self.index, self.messages = index, errors
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        super().__init__(
            list(command),
            env=variables,
            start_new_session=True,
            preexec_fn=_die_with_parent(),
            **(quiet | {"stderr": errors} if index else {}),
        )

    def send(self, number: int) -> None:
        """Sends it and its children a signal, if it runs."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    @property
    def exit_code(self) -> int:
        """As a shell has it."""
        return 128 - self.returncode if self.returncode < 0 else self.returncode

    def describe_end(self) -> str:
        if self.returncode >= 0:
            return f"worker {self.index} ended with exit code {self.returncode}"
        known = -self.returncode in set(signal.Signals)
        name = signal.Signals(-self.returncode).name if known else "a signal"
        return f"worker {self.index} was killed by {name}"

    def show_errors(self) -> None:
        """Prints the end of what it wrote to stderr, each line under its name."""
        if self.messages is None:
            return
        size = os.fstat(self.messages.fileno()).st_size
        first = max(0, size - LAST_BYTES)
        # The offset of the file is shared with the worker's children: it isn't moved.
        text = os.pread(self.messages.fileno(), size - first, first)
        for line in text.decode(errors="replace").splitlines():
            print(f"worker {self.index}: {line}", file=sys.stderr)


def _watch(
    workers: list[_Worker], signals: list[int], patience: float, grace: float
) -> int:
    """Follows the workers until all have ended, and sees to it that they do."""
    running, failed, limit, passed_on = list(workers), None, math.inf, 0
    measures = [signal.SIGTERM, signal.SIGKILL]
    while running:
        for worker in [w for w in running if w.poll() is not None]:
            running.remove(worker)
            if worker.exit_code == 0 or failed:
                continue
            failed = worker
            if not signals:  # else it does as it was told
                worker.show_errors()
                print(f"error: {worker.describe_end()}", file=sys.stderr)
                limit = time.monotonic() + patience
        for number in signals[passed_on:]:
            for worker in running:
                worker.send(signal.SIGKILL if passed_on else number)
            limit = limit if passed_on else time.monotonic() + patience
            passed_on += 1
        if running and measures and time.monotonic() >= limit:
            names = " and ".join(f"worker {worker.index}" for worker in running)
            measure = measures.pop(0)
            print(f"{names} did not stop: {measure.name}", file=sys.stderr)
            for worker in running:
                worker.send(measure)
            limit = time.monotonic() + grace
        time.sleep(_LOOK_EVERY)
    return failed.exit_code if failed else 0


@contextlib.contextmanager
def _caught_signals() -> Iterator[list[int]]:
    """The signals that would end this process, in the order they come.

    One that is ignored, as under nohup, stays so.
    """
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    caught, previous = [], {}
    try:
        for number in numbers:
            if signal.getsignal(number) != signal.SIG_IGN:
                previous[number] = signal.signal(number, lambda n, _: caught.append(n))
        yield caught
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _die_with_parent() -> Callable[[], None] | None:
    """What a child does between fork and exec to be killed when its parent dies.

    The library is loaded before the fork, so that the child calls two functions and
    allocates next to nothing.
    """
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def die_with_parent() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # which died before the kernel was asked
            os._exit(1)

    return die_with_parent


def _kill(workers: list[_Worker]) -> None:
    """Ends what is left when the launcher itself fails."""
    for worker in workers:
        worker.send(signal.SIGKILL)
    for worker in workers:
        worker.wait()


def _make_environments(count: int) -> list[dict[str, str]]:
    """The variables of each worker: this process's, its cluster and its GPUs."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name != "TF_CONFIG" and not name.startswith("SLURM_")
    }
    kept[TOKEN] = secrets.token_hex(16)  # whatever this process's is: theirs alone
    addresses = tuple(f"127.0.0.1:{port}" for port in _find_ports(count))
    return [
        kept
        | {
            "TF_CONFIG": Cluster(addresses, index).to_tf_config(),
            "CUDA_VISIBLE_DEVICES": gpus,
        }
        for index, gpus in enumerate(share_gpus(visible_gpus(os.environ), count))
    ]


def _find_ports(count: int) -> list[int]:
    """Ports that are free on all interfaces, all of them at the same time.

    They are drawn from the system's randomness, so that two launchers of the same seed
    don't draw the same.
    """
    found = []
    with contextlib.ExitStack() as stack:
        for port in random.SystemRandom().sample(PORTS, len(PORTS)):
            attempt = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):  # it is in use
                attempt.bind(("", port))
                found.append(port)
            if len(found) == count:
                return found
    raise InputError(
        f"{count} free ports from {PORTS.start} to {PORTS.stop - 1}",
        len(found),
        "Start fewer workers, or end what holds the ports (`ss -ltn`).",
    )
