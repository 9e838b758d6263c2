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
import dataclasses
import errno
import logging
import os
import queue
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO

from selfsup_tf.distribution.cluster import Cluster
from selfsup_tf.distribution.gpus import share_gpus, visible_gpus
from selfsup_tf.errors import InputError, check

PORTS = range(15_000, 32_000)
"""Below those that Linux gives to outgoing connections, so that none takes the port of
a worker that is yet to start."""

GRACE = 10.0  # seconds between SIGTERM and SIGKILL
LAST_BYTES = 100_000  # of a failed worker's stderr
_PR_SET_PDEATHSIG = 1

logger = logging.getLogger("selfsup_tf")


def run_local_workers(
    command: Sequence[str],
    count: int,
    *,
    environment: Mapping[str, str] | None = None,
    patience: float = 60.0,
) -> int:
    """Runs a command as the workers of one cluster on this machine, to their end.

    Worker 0 has the terminal. Of the others stderr alone is kept, and is shown if that
    worker is the first to fail. When one fails, the others have `patience` to notice;
    then they are terminated, and killed. SIGINT, SIGTERM and SIGHUP are passed on to
    all; a second one kills them. To be called from a process that has no threads yet.

    Args:
        command: The program and its words, the same for all; TF_CONFIG tells each which
            it is.
        count: Workers to start.
        environment: Their variables, this process's by default, in either case without
            TF_CONFIG and SLURM's. CUDA_VISIBLE_DEVICES is set to each one's share of
            the GPUs, to none where there are fewer GPUs than workers.
        patience: Seconds, see above.

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
    environments = _make_environments(
        os.environ if environment is None else environment, count
    )
    events: queue.SimpleQueue = queue.SimpleQueue()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_signals_to(events))
        workers = []
        stack.callback(_kill, workers)
        for index, variables in enumerate(environments):
            errors = stack.enter_context(tempfile.TemporaryFile()) if index else None
            workers.append(_start(command, index, variables, errors))
        for worker in workers:
            threading.Thread(target=worker.wait, args=[events], daemon=True).start()
        return _Watch(workers, events, patience).run()


@dataclasses.dataclass(frozen=True)
class _Worker:
    index: int
    process: subprocess.Popen
    errors: IO[bytes] | None
    """What it wrote to stderr; None for worker 0, which wrote to the terminal."""

    def wait(self, events: queue.SimpleQueue) -> None:
        """Puts the worker among the events when it has ended."""
        self.process.wait()
        events.put(self)

    def send(self, number: int) -> None:
        """Sends it and its children a signal, if it runs."""
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    @property
    def exit_code(self) -> int:
        """As a shell has it."""
        code = self.process.returncode
        return 128 - code if code < 0 else code

    def describe_end(self) -> str:
        code = self.process.returncode
        if code >= 0:
            return f"worker {self.index} ended with exit code {code}"
        return f"worker {self.index} was killed by {_signal_name(-code)}"

    def show_errors(self) -> None:
        """Prints the end of what it wrote to stderr, each line under its name."""
        if self.errors is None:
            return
        size = os.fstat(self.errors.fileno()).st_size
        first = max(0, size - LAST_BYTES)
        # The offset of the file is shared with the worker's children: it isn't moved.
        text = os.pread(self.errors.fileno(), size - first, first)
        for line in text.decode(errors="replace").splitlines():
            print(f"worker {self.index}: {line}", file=sys.stderr)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class _Watch:
    """Follows the workers until all have ended, and sees to it that they do."""

    def __init__(
        self, workers: list[_Worker], events: queue.SimpleQueue, patience: float
    ):
        self.running, self.events = list(workers), events
        self.patience = patience
        self.failed: _Worker | None = None
        self.interrupted = False
        self.limit: float | None = None
        """When those that still run are told to stop: time.monotonic, in seconds."""
        self.measures = [signal.SIGTERM, signal.SIGKILL]

    def run(self) -> int:
        while self.running:
            left = None if self.limit is None else self.limit - time.monotonic()
            try:
                event = self.events.get(timeout=left and max(left, 0.001))
            except queue.Empty:
                self._stop_rest()
                continue
            if isinstance(event, _Worker):
                self._ended(event)
            else:
                self._pass_on(event)
        return self.failed.exit_code if self.failed else 0

    def _ended(self, worker: _Worker) -> None:
        self.running.remove(worker)
        if self.failed or worker.exit_code == 0:
            return
        self.failed = worker
        if self.interrupted:
            return  # as it was told to
        worker.show_errors()
        print(f"error: {worker.describe_end()}", file=sys.stderr)
        self.limit = time.monotonic() + self.patience

    def _pass_on(self, number: int) -> None:
        again, self.interrupted = self.interrupted, True
        for worker in self.running:
            worker.send(signal.SIGKILL if again else number)
        if self.measures and not again:
            self.limit = time.monotonic() + self.patience

    def _stop_rest(self) -> None:
        """Terminates those that still run, then kills them."""
        names = " and ".join(f"worker {worker.index}" for worker in self.running)
        measure = self.measures.pop(0)
        print(f"{names} did not stop: {measure.name}", file=sys.stderr)
        for worker in self.running:
            worker.send(measure)
        self.limit = time.monotonic() + GRACE if self.measures else None


@contextlib.contextmanager
def _signals_to(events: queue.SimpleQueue) -> Iterator[None]:
    """Puts the signals that end a process among the events instead.

    One that is ignored, as under nohup, stays so.
    """
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    previous = {}
    try:
        for number in numbers:
            if signal.getsignal(number) != signal.SIG_IGN:
                previous[number] = signal.signal(number, lambda n, _: events.put(n))
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _start(
    command: Sequence[str], index: int, variables: dict[str, str], errors: IO | None
) -> _Worker:
    quiet = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.DEVNULL,
        "stderr": errors,
    }
    process = subprocess.Popen(
        list(command),
        env=variables,
        start_new_session=True,
        preexec_fn=_die_with_parent(),
        **(quiet if index else {}),
    )
    return _Worker(index, process, errors)


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
        worker.process.wait()


def _make_environments(outer: Mapping[str, str], count: int) -> list[dict[str, str]]:
    """The variables of each worker: the outer ones, its cluster and its GPUs."""
    kept = {
        name: value
        for name, value in outer.items()
        if name != "TF_CONFIG" and not name.startswith("SLURM_")
    }
    addresses = tuple(f"127.0.0.1:{port}" for port in _find_ports(count))
    return [
        kept
        | {
            "TF_CONFIG": Cluster(addresses, index).to_tf_config(),
            "CUDA_VISIBLE_DEVICES": gpus,
        }
        for index, gpus in enumerate(share_gpus(visible_gpus(outer), count))
    ]


def _find_ports(count: int) -> list[int]:
    """Ports that are free on all interfaces, all of them at the same time.

    They are drawn from the system's randomness, so that two launchers of the same seed
    don't draw the same.
    """
    found = []
    with contextlib.ExitStack() as stack:
        for port in random.SystemRandom().sample(PORTS, len(PORTS)):
            if len(found) == count:
                return found
            attempt = stack.enter_context(socket.socket())
            try:
                attempt.bind(("", port))
            except OSError as error:
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise
                attempt.close()
            else:
                found.append(port)
    raise InputError(
        f"{count} free ports from {PORTS.start} to {PORTS.stop - 1}",
        len(found),
        "Start fewer workers, or end what holds the ports (`ss -ltn`).",
    )
