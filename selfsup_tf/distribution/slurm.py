"""The tasks of a SLURM step: their nodes, their ports and their GPUs.

TensorFlow is imported only in a step of several tasks, so that a launcher answers at
once.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping

from selfsup_tf.distribution.gpus import visible_gpus
from selfsup_tf.errors import InputError, check

_FIRST_PORT, _SLOTS, _PORTS_PER_SLOT = 10_000, 400, 50
_SLOTS_PER_JOB = 7

_SLURM_ADVICE = (
    "Start the workers by srun, which sets SLURM's variables for each task, or give "
    "every process its own TF_CONFIG."
)


def slurm_workers(environment: Mapping[str, str]) -> tuple[tuple[str, ...], int]:
    """The addresses of a step's tasks and which of them this is; none for one task.

    They are as SlurmClusterResolver sees them, its traps avoided.

    The resolver sorts nodes as text, n10 before n9, while SLURM counts tasks along its
    list: every node is handed over under a name that sorts by its place. It fails
    without GPUs: it is told of one a task then, and not to touch CUDA_VISIBLE_DEVICES.
    """
    if _slurm_number(environment, "SLURM_STEP_NUM_TASKS") < 2:
        return (), 0
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
    addresses = tuple(address.split()[1] for address in addresses)
    if rank < len(addresses):
        _check_own_node(addresses[rank], rank, environment)
    return addresses, rank


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
    """The first worker's port on every node; see `cluster.find_cluster`."""
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


def _check_own_node(address: str, rank: int, environment: Mapping[str, str]) -> None:
    """Refuses tasks dealt out in turn, whose addresses would be on other nodes."""
    node = environment.get("SLURMD_NODENAME")
    check(
        node in (None, address.rpartition(":")[0]),
        "the tasks of SLURM's step to fill one node after the other",
        f"task {rank} on {node}, where it is counted to {address}",
        "Start them with srun --distribution=block.",
    )
