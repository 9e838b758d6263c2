"""Which processes a run is made of, and which of them this one is.

TensorFlow is imported only in a step of SLURM, so that a launcher answers at once.
"""

import contextlib
import dataclasses
import itertools
import json
import os
import re
import reprlib
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

from selfsup_tf.errors import InputError, check

JOBS = ("chief", "worker")
_EXAMPLE = (
    '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
    '"task": {"type": "worker", "index": 0}}'
)
_ADVICE = f"Give every process its own TF_CONFIG, such as {_EXAMPLE}"

_FIRST_PORT, _SLOTS, _PORTS_PER_SLOT = 10_000, 400, 50
_SLOTS_PER_JOB = 7


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
    several = _slurm_number(environment, "SLURM_STEP_NUM_TASKS") > 1
    return _from_slurm(environment) if several else None


def visible_gpus(environment: Mapping[str, str]) -> list[str]:
    """The GPUs a process in this environment may use, as CUDA_VISIBLE_DEVICES names.

    Asks `nvidia-smi`, for at most 30 s, where the variable is not set. TensorFlow is
    not asked, since it would take hold of the GPUs.
    """
    if "CUDA_VISIBLE_DEVICES" in environment:
        names = environment["CUDA_VISIBLE_DEVICES"].split(",")
        # CUDA ignores what follows a name that is none: -1, NoDevFiles, nothing.
        return list(
            itertools.takewhile(
                re.compile(r"[0-9]+|(GPU|MIG)-\S+").fullmatch, map(str.strip, names)
            )
        )
    try:
        listing = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [str(i) for i in range(len(re.findall(r"^GPU ", listing, re.MULTILINE)))]


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
    config = _parse_tf_config(text)
    if not config:
        return None
    jobs = _read_jobs(config.get("cluster"))
    task = config.get("task")
    kind = task.get("type") if isinstance(task, dict) else None
    check(
        kind in JOBS,
        "a task of type worker or chief in TF_CONFIG",
        _short(task),
        "Training here has workers alone: no parameter servers, no evaluators. "
        + _ADVICE,
    )
    check(
        bool(jobs[kind]),
        f"the address of this {kind} in TF_CONFIG's cluster",
        f"no {kind}s",
        _ADVICE,
    )
    _check_index(task.get("index"), len(jobs[kind]))
    before = len(jobs["chief"]) if kind == "worker" else 0
    return Cluster((*jobs["chief"], *jobs["worker"]), before + task["index"])


def _parse_tf_config(text: str) -> dict[str, Any]:
    """TF_CONFIG as plain values, empty where it is not set."""
    if not text.strip():
        return {}
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            "JSON in TF_CONFIG", f"{_short(text)} ({error})", _ADVICE
        ) from error
    check(isinstance(config, dict), "an object in TF_CONFIG", _short(config), _ADVICE)
    return config


def _read_jobs(jobs: Any) -> dict[str, list[str]]:
    """The addresses of the chief, if it is a job of its own, and of the workers."""
    check(
        isinstance(jobs, dict) and any(jobs.get(job) for job in JOBS),
        "a list of workers as cluster.worker in TF_CONFIG",
        f"the cluster {_short(jobs)}",
        _ADVICE,
    )
    others = [job for job, tasks in jobs.items() if tasks and job not in JOBS]
    check(
        not others,
        "a cluster of workers, with or without a chief, in TF_CONFIG",
        f"the job {', '.join(others)}",
        "Training here has workers alone: leave the others out, as processes too.",
    )
    lists = {job: jobs.get(job) or [] for job in JOBS}
    for job, addresses in lists.items():
        check(
            isinstance(addresses, list),
            f"cluster.{job} in TF_CONFIG to be a list",
            _short(addresses),
            _ADVICE,
        )
    check(
        len(lists["chief"]) <= 1,
        "one chief in TF_CONFIG",
        _short(lists["chief"]),
        "Make the others workers.",
    )
    return lists


_SLURM_ADVICE = (
    "Start the workers by srun, which sets SLURM's variables for each task, or give "
    "every process its own TF_CONFIG."
)


def _from_slurm(environment: Mapping[str, str]) -> Cluster:
    """The tasks of a step as SlurmClusterResolver sees them, its traps avoided.

    The resolver sorts nodes as text, n10 before n9, while SLURM counts tasks along its
    list: every node is handed over under a name that sorts by its place. It fails
    without GPUs: it is told of one a task then, and not to touch CUDA_VISIBLE_DEVICES.
    """
    import tensorflow as tf

    rank = _slurm_number(environment, "SLURM_PROCID")
    tasks = _slurm_tasks(environment)
    most = max(tasks.values())
    gpus = _gpus_to_share(environment, most)
    try:
        with _slurm_environment(environment):
            resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
                port_base=_slurm_port_base(environment),
                tasks_per_node={
                    f"{place:06d} {node}": count
                    for place, (node, count) in enumerate(tasks.items())
                },
                gpus_per_node=len(gpus) or most,
                auto_set_gpu=bool(gpus),
            )
            addresses = resolver.cluster_spec().as_dict()["worker"]
    except (RuntimeError, ValueError, LookupError) as error:
        raise InputError(
            "SLURM's variables to describe the tasks of a step", error, _SLURM_ADVICE
        ) from error
    if gpus:
        _narrow_gpus(gpus)
    cluster = Cluster(tuple(address.split()[1] for address in addresses), rank)
    _check_own_node(cluster, environment)
    return cluster


def _slurm_variable(environment: Mapping[str, str], name: str) -> str:
    check(name in environment, f"SLURM to set {name}", "none", _SLURM_ADVICE)
    return environment[name]


def _slurm_number(environment: Mapping[str, str], name: str) -> int:
    value = _slurm_variable(environment, name)
    check(
        bool(re.fullmatch("[0-9]+", value)),
        f"a number in {name}",
        repr(value),
        _SLURM_ADVICE,
    )
    return int(value)


def _slurm_tasks(environment: Mapping[str, str]) -> dict[str, int]:
    """How many tasks of the step run on each node, in SLURM's order."""
    texts = [
        _slurm_variable(environment, f"SLURM_STEP_{name}")
        for name in ("NODELIST", "TASKS_PER_NODE")
    ]
    try:
        nodes, tasks = _expand_nodes(texts[0]), _expand_tasks(texts[1])
    except ValueError as error:
        raise InputError(
            "lists of SLURM's such as n[1-2] and 4(x2)", texts, _SLURM_ADVICE
        ) from error
    check(
        bool(tasks) and len(nodes) == len(tasks),
        "a number of tasks for every node of SLURM's step",
        f"{', '.join(nodes)} with {', '.join(map(str, tasks))}",
        _SLURM_ADVICE,
    )
    return dict(zip(nodes, tasks, strict=True))


def _expand_nodes(text: str) -> list[str]:
    """The nodes of SLURM's list: n[09-10,12],m5 is n09, n10, n12, m5."""
    nodes = []
    for part in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", text):
        before, bracket, rest = part.partition("[")
        if not bracket:
            nodes.append(part)
            continue
        ranges, _, after = rest.partition("]")
        for low, _, high in (item.partition("-") for item in ranges.split(",")):
            for number in range(int(low), int(high or low) + 1):
                nodes += _expand_nodes(f"{before}{number:0{len(low)}d}{after}")
    return nodes


def _expand_tasks(text: str) -> list[int]:
    """The numbers of SLURM's list: 3(x2),1 is 3, 3, 1."""
    tasks = []
    for part in text.split(","):
        count, _, times = part.removesuffix(")").partition("(x")
        tasks += [int(count)] * int(times or 1)
    return tasks


def _slurm_port_base(environment: Mapping[str, str]) -> int:
    """The first worker's port on every node; see `find_cluster`."""
    job, step = (
        _slurm_number(environment, name) if name in environment else 0
        for name in ("SLURM_JOB_ID", "SLURM_STEP_ID")
    )
    return _FIRST_PORT + _PORTS_PER_SLOT * ((_SLOTS_PER_JOB * job + step) % _SLOTS)


def _gpus_to_share(environment: Mapping[str, str], tasks: int) -> list[str]:
    """The GPUs that the tasks of a node are yet to share, none where SLURM did it.

    Fewer GPUs than tasks are those of this task alone: --gpu-bind hides the others.
    """
    done = tasks == 1 or "SLURM_GPUS_PER_TASK" in environment
    if done or environment is not os.environ:
        return []
    gpus = visible_gpus(environment)
    return gpus if len(gpus) >= tasks else []


def _narrow_gpus(gpus: list[str]) -> None:
    """Makes the resolver's choice, which counts from 0, one of the GPUs there are."""
    places = os.environ["CUDA_VISIBLE_DEVICES"].split(",")
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus[int(i)] for i in places)
    # A second look at the same environment must not share the share.
    os.environ["SLURM_GPUS_PER_TASK"] = str(len(places))


@contextlib.contextmanager
def _slurm_environment(environment: Mapping[str, str]) -> Iterator[None]:
    """Shows the resolver, which reads os.environ alone, SLURM's variables of another.

    CUDA_VISIBLE_DEVICES, which it sets, stays as it leaves it.
    """
    theirs = {k: v for k, v in environment.items() if k.startswith("SLURM_")}
    ours = {k: v for k, v in os.environ.items() if k.startswith("SLURM_")}
    try:
        _replace(ours, theirs)
        yield
    finally:
        _replace(theirs, ours)


def _replace(old: Mapping[str, str], new: Mapping[str, str]) -> None:
    for name in old:
        os.environ.pop(name, None)
    os.environ.update(new)


def _check_own_node(cluster: Cluster, environment: Mapping[str, str]) -> None:
    """Refuses tasks dealt out in turn, whose addresses would be on other nodes."""
    node = environment.get("SLURMD_NODENAME")
    check(
        node in (None, split_address(cluster.address)[0]),
        "the tasks of SLURM's step to fill one node after the other",
        f"task {cluster.index} on {node}, where it is counted to {cluster.address}",
        "Start them with srun --distribution=block.",
    )
