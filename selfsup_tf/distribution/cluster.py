"""Which processes a run is made of, and which of them this one is.

TensorFlow's TFConfigClusterResolver reads the same variable, but takes anything: what
does not fit a run is found while all connect, and importing it takes seconds.
"""

import dataclasses
import json
import os
import re
import reprlib
from collections.abc import Mapping
from typing import Any

from selfsup_tf.distribution.slurm import slurm_workers
from selfsup_tf.errors import InputError, check

JOBS = ("chief", "worker")
TOKEN = "SELFSUP_TOKEN"
"""The variable with the secret by which the workers of a run know each other."""
_EXAMPLE = (
    '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
    '"task": {"type": "worker", "index": 0}}'
)
_ADVICE = f"Give every process its own TF_CONFIG, such as {_EXAMPLE}"


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The processes of a run, in the same order on each, and the place of this one.

    Raises:
        InputError: An address is no host:port, stands there twice, or there is none
            of this index.
    """

    workers: tuple[str, ...]
    """The address of each worker as host:port; the first is the chief's."""
    index: int
    """Which of them this process is, from 0."""

    def __post_init__(self):
        for address in self.workers:
            _check_address(address)
        twice = sorted({w for w in self.workers if self.workers.count(w) > 1})
        check(
            not twice,
            "an address of its own for every worker",
            f"{', '.join(twice)} more than once",
            "Several workers on one machine listen on ports of their own.",
        )
        _check_index(self.index, len(self.workers))

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run's files."""
        return self.index == 0

    @property
    def size(self) -> int:
        """The number of processes."""
        return len(self.workers)

    @property
    def address(self) -> str:
        """Where this process listens, host:port."""
        return self.workers[self.index]

    def to_tf_config(self) -> str:
        """What TensorFlow reads from TF_CONFIG; the chief is its first worker."""
        task = {"type": "worker", "index": self.index}
        return json.dumps({"cluster": {"worker": list(self.workers)}, "task": task})


def split_address(address: str) -> tuple[str, int]:
    """The host and the port of host:port, an IPv6 address without its brackets."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def find_cluster(environment: Mapping[str, str] | None = None) -> Cluster | None:
    """The cluster that the environment speaks of; None where it speaks of none.

    TF_CONFIG goes before SLURM. A step of SLURM with several tasks is a cluster, each
    task a worker; several of them on one node listen on neighbouring ports from a base
    that follows from the job: 10000 + 50 * ((7 * SLURM_JOB_ID + SLURM_STEP_ID) % 400).
    Jobs that share a node do so at different ports, and below the ports from 32768 that
    Linux gives to outgoing connections.

    Args:
        environment: Its variables; those of this process by default, in which case
            CUDA_VISIBLE_DEVICES is narrowed to the task's share where several tasks of
            SLURM see all GPUs of a node.

    Raises:
        InputError: TF_CONFIG or SLURM's variables describe no cluster of workers.
    """
    environment = os.environ if environment is None else environment
    cluster = _from_tf_config(environment.get("TF_CONFIG", ""))
    if cluster is not None or "SLURM_STEP_NUM_TASKS" not in environment:
        return cluster
    addresses, index = slurm_workers(environment)
    return Cluster(addresses, index) if addresses else None


def _check_address(address: Any) -> None:
    """Raises InputError unless it is host:port, of a port from 1 to 65535."""
    host = r"\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+"
    good = isinstance(address, str) and re.fullmatch(
        rf"(?:{host}):([0-9]{{1,5}})", address
    )
    check(
        bool(good) and 1 <= int(good[1]) <= 65535,
        "the address of each worker as host:port, the port from 1 to 65535",
        _short(address),
        _ADVICE,
    )


def _check_index(index: Any, size: int) -> None:
    check(
        type(index) is int and 0 <= index < size,
        f"a task index from 0 to {size - 1}" if size else "at least one worker",
        _short(index) if size else "none",
        "Number the processes from 0 in the order of their addresses. " + _ADVICE,
    )


def _short(value: Any) -> str:
    """Its representation, in up to 200 characters."""
    printer = reprlib.Repr()
    printer.maxstring = printer.maxother = 200
    return printer.repr(value)


def _from_tf_config(text: str) -> Cluster | None:
    try:
        config = json.loads(text.strip() or "{}")
    except (ValueError, RecursionError) as error:
        raise InputError(
            "JSON in TF_CONFIG", f"{_short(text)} ({error})", _ADVICE
        ) from error
    check(isinstance(config, dict), "an object in TF_CONFIG", _short(config), _ADVICE)
    if not config:
        return None
    cluster, task = config.get("cluster"), config.get("task")
    check(
        isinstance(cluster, dict)
        and any(cluster.values())
        and all(isinstance(addresses, list) for addresses in cluster.values()),
        "lists of addresses in TF_CONFIG's cluster",
        _short(cluster),
        _ADVICE,
    )
    jobs = {job: addresses for job, addresses in cluster.items() if addresses}
    others = [job for job in jobs if job not in JOBS]
    check(
        not others,
        "a cluster of workers, with or without a chief, in TF_CONFIG",
        f"the job {', '.join(others)}",
        "Training here has workers alone: leave the others out, as processes too.",
    )
    chiefs = jobs.get("chief", [])
    check(
        len(chiefs) <= 1,
        "one chief in TF_CONFIG",
        _short(chiefs),
        "Make the others workers.",
    )
    kind = task.get("type") if isinstance(task, dict) else None
    check(
        kind in jobs,
        f"a task of type {' or '.join(jobs)} in TF_CONFIG, as its cluster has",
        _short(task),
        _ADVICE,
    )
    _check_index(task.get("index"), len(jobs[kind]))
    before = len(chiefs) if kind == "worker" else 0
    return Cluster((*chiefs, *jobs.get("worker", [])), before + task["index"])
