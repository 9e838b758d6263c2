"""The tasks of a SLURM step: their nodes, their ports and their GPUs.

TensorFlow's SlurmClusterResolver does not serve. Read and tried in 2.21: it sorts nodes
as text, n10 before n9, while SLURM counts tasks along its list; it fails on a machine
without GPUs, and with fewer GPUs than tasks; it numbers GPUs from 0, whatever
CUDA_VISIBLE_DEVICES says; and importing it takes seconds.
"""

import os
import re
from collections.abc import Mapping

from selfsup_tf.distribution.gpus import visible_gpus
from selfsup_tf.errors import InputError, check

_FIRST_PORT, _SLOTS, _PORTS_PER_SLOT = 10_000, 400, 50
_SLOTS_PER_JOB = 7

_ADVICE = (
    "Start the workers by srun, which sets SLURM's variables for each task, or give "
    "every process its own TF_CONFIG."
)


def slurm_workers(environment: Mapping[str, str]) -> tuple[tuple[str, ...], int]:
    """The addresses of a step's tasks and which of them this is; none for one task.

    See `cluster.find_cluster`.
    """
    count = _number(environment, "SLURM_STEP_NUM_TASKS")
    if count < 2:
        return (), 0
    rank = _number(environment, "SLURM_PROCID")
    tasks = _tasks_of_nodes(environment)
    check(
        sum(tasks.values()) == count,
        f"{count} tasks on the nodes of SLURM's step",
        ", ".join(f"{number} on {node}" for node, number in tasks.items()),
        _ADVICE,
    )
    places = [(node, place) for node in tasks for place in range(tasks[node])]
    first = _first_port(environment)
    addresses = tuple(f"{node}:{first + place}" for node, place in places)
    if rank < count:
        node, place = places[rank]
        check(
            environment.get("SLURMD_NODENAME", node) == node,
            "the tasks of SLURM's step to fill one node after the other",
            f"task {rank} on {environment.get('SLURMD_NODENAME')}, where it is counted "
            f"to {node}",
            "Start them with srun --distribution=block.",
        )
        if environment is os.environ:
            _share_gpus(place, max(tasks.values()))
    return addresses, rank


def _variable(environment: Mapping[str, str], name: str) -> str:
    check(name in environment, f"SLURM to set {name}", "none", _ADVICE)
    return environment[name]


def _number(environment: Mapping[str, str], name: str) -> int:
    value = _variable(environment, name)
    check(value.isdecimal(), f"a number in {name}", repr(value), _ADVICE)
    return int(value)


def _tasks_of_nodes(environment: Mapping[str, str]) -> dict[str, int]:
    """How many tasks of the step run on each node, in SLURM's order."""
    texts = [
        _variable(environment, f"SLURM_STEP_{name}")
        for name in ("NODELIST", "TASKS_PER_NODE")
    ]
    try:
        nodes, tasks = _expand_nodes(texts[0]), _expand_tasks(texts[1])
        return dict(zip(nodes, tasks, strict=True))
    except ValueError as error:
        raise InputError(
            "lists of SLURM's, as long as each other, such as n[1-2] and 4(x2)",
            texts,
            _ADVICE,
        ) from error


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


def _first_port(environment: Mapping[str, str]) -> int:
    """The port of each node's first task; see `cluster.find_cluster`."""
    job, step = (
        _number(environment, name) if name in environment else 0
        for name in ("SLURM_JOB_ID", "SLURM_STEP_ID")
    )
    return _FIRST_PORT + _PORTS_PER_SLOT * ((_SLOTS_PER_JOB * job + step) % _SLOTS)


def _share_gpus(place: int, tasks: int) -> None:
    """Narrows CUDA_VISIBLE_DEVICES to a task's share, unless SLURM has done it.

    Fewer GPUs than tasks are those of this task alone: --gpu-bind hides the others.
    """
    if tasks == 1 or "SLURM_GPUS_PER_TASK" in os.environ:
        return
    gpus = visible_gpus(os.environ)
    if share := len(gpus) // tasks:
        mine = gpus[place * share : (place + 1) * share]
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(mine)
        # A second look at the same environment must not share the share.
        os.environ["SLURM_GPUS_PER_TASK"] = str(share)
