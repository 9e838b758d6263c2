"""Which processes a run is made of: TF_CONFIG, SLURM, and every way they don't fit."""

import json
import os

import pytest

from selfsup_tf.distribution.cluster import Cluster, find_cluster
from selfsup_tf.distribution.gpus import visible_gpus
from selfsup_tf.errors import InputError

HOSTS = ["a:2222", "b:2222", "10.0.0.3:1"]
STEP = {
    "SLURM_JOB_ID": "1234",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "2",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_NODELIST": "n[9-10]",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
}


def tf_config(cluster=None, task=None):
    return {
        "TF_CONFIG": json.dumps(
            {
                "cluster": {"worker": HOSTS} if cluster is None else cluster,
                "task": {"type": "worker", "index": 1} if task is None else task,
            }
        )
    }


def refusal(environment):
    with pytest.raises(InputError) as caught:
        find_cluster(environment)
    return str(caught.value)


def test_workers_of_tf_config():
    cluster = find_cluster(tf_config())
    assert cluster == Cluster(tuple(HOSTS), 1)
    assert (cluster.size, cluster.address, cluster.is_chief) == (3, "b:2222", False)


@pytest.mark.parametrize(
    "task, index",
    [
        ({"type": "chief", "index": 0}, 0),
        ({"type": "worker", "index": 0}, 1),
        ({"type": "worker", "index": 2}, 3),
    ],
)
def test_a_chief_of_its_own_comes_before_the_workers(task, index):
    cluster = find_cluster(
        tf_config({"worker": HOSTS, "chief": ["boss:1"], "ps": []}, task)
    )
    assert cluster == Cluster(("boss:1", *HOSTS), index)
    assert cluster.is_chief == (index == 0)


def test_what_tensorflow_is_told_describes_the_same_cluster():
    cluster = Cluster(("boss:1", *HOSTS), 0)
    assert find_cluster({"TF_CONFIG": cluster.to_tf_config()}) == cluster
    assert json.loads(cluster.to_tf_config())["task"] == {"type": "worker", "index": 0}


@pytest.mark.parametrize(
    "environment",
    [{}, {"TF_CONFIG": ""}, {"TF_CONFIG": " {} "}, {"SLURM_NTASKS": "4"}],
)
def test_no_cluster(environment):
    assert find_cluster(environment) is None


def test_this_process_by_default(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", tf_config()["TF_CONFIG"])
    assert find_cluster().index == 1


@pytest.mark.parametrize(
    "text, message",
    [
        ("{'cluster': 1}", "expected JSON in TF_CONFIG; received \"{'cluster': 1}\""),
        ("[" * 100_000, "expected JSON in TF_CONFIG"),
        ("[1]", "expected an object in TF_CONFIG; received [1]"),
        ("null", "expected an object in TF_CONFIG; received None"),
    ],
)
def test_tf_config_that_is_no_object(text, message):
    assert message in refusal({"TF_CONFIG": text})


@pytest.mark.parametrize(
    "cluster, task, message",
    [
        ({}, None, "lists of addresses in TF_CONFIG's cluster"),
        (["a:1"], None, "lists of addresses in TF_CONFIG's cluster"),
        ({"worker": []}, None, "lists of addresses in TF_CONFIG's cluster"),
        ({"worker": {"0": "a:1"}}, None, "lists of addresses in TF_CONFIG's cluster"),
        ({"worker": HOSTS, "ps": ["c:1"]}, None, "received the job ps."),
        ({"worker": HOSTS, "evaluator": ["c:1"]}, None, "received the job evaluator."),
        ({"worker": HOSTS, "chief": ["c:1", "d:1"]}, None, "expected one chief"),
        ({"worker": ["a:1", "b:1", "a:1"]}, None, "received a:1 more than once"),
        (None, {"type": "evaluator", "index": 0}, "a task of type worker"),
        (None, {"type": "ps", "index": 0}, "a task of type worker"),
        (None, "worker", "a task of type worker"),
        (None, {"type": "chief", "index": 0}, "a task of type worker"),
        (None, {"type": "worker"}, "a task index from 0 to 2; received None"),
        (None, {"type": "worker", "index": 3}, "from 0 to 2; received 3"),
        (None, {"type": "worker", "index": -1}, "from 0 to 2; received -1"),
        (None, {"type": "worker", "index": "1"}, "from 0 to 2; received '1'"),
        (None, {"type": "worker", "index": True}, "from 0 to 2; received True"),
    ],
)
def test_tf_config_that_fits_no_run(cluster, task, message):
    said = refusal(tf_config(cluster, task))
    assert message in said
    assert said.startswith("expected ") and said.count("expected") == 1


@pytest.mark.parametrize(
    "address",
    ["a", "a:", ":1", "a:0", "a:65536", "a:x", "http://a:1", "a b:1", "::1:5", 7, None],
)
def test_addresses_are_host_and_port(address):
    said = refusal(tf_config({"worker": ["a:1", address]}))
    assert f"host:port, the port from 1 to 65535; received {address!r}" in said


@pytest.mark.parametrize("address", ["a:1", "a-b.c_d:65535", "10.0.0.1:80", "[::1]:5"])
def test_addresses_of_every_kind_of_host(address):
    assert Cluster((address,), 0).address == address


@pytest.mark.parametrize(
    "nodes, tasks, addresses",
    [
        # In SLURM's order, by which it counts its tasks: n9 goes before n10.
        ("n[9-10]", "2(x2)", "n9:0 n9:1 n10:0 n10:1"),
        ("n[09-10],m5", "1,2,1", "n09:0 n10:0 n10:1 m5:0"),
        ("b,a[1,3]-ib", "2,1(x2)", "b:0 b:1 a1-ib:0 a3-ib:0"),
        ("r[1-2]n[1-2]", "1(x4)", "r1n1:0 r1n2:0 r2n1:0 r2n2:0"),
        ("alone", "4", "alone:0 alone:1 alone:2 alone:3"),
    ],
)
def test_tasks_of_slurm(nodes, tasks, addresses):
    step = {"SLURM_STEP_NODELIST": nodes, "SLURM_STEP_TASKS_PER_NODE": tasks}
    cluster = find_cluster(STEP | step)
    base = 10_000 + 50 * (7 * 1234 % 400)
    pairs = (address.split(":") for address in addresses.split())
    assert cluster.workers == tuple(f"{n}:{base + int(p)}" for n, p in pairs)
    assert cluster.index == 2
    assert "SLURM_PROCID" not in os.environ


def test_jobs_of_slurm_that_share_a_node_share_no_port():
    def ports(job, step):
        ids = {"SLURM_JOB_ID": str(job), "SLURM_STEP_ID": str(step)}
        workers = find_cluster(STEP | ids).workers
        return {int(worker.split(":")[1]) for worker in workers}

    seen = [ports(job, step) for job in range(1000, 1020) for step in range(3)]
    assert sum(map(len, seen)) == len(set.union(*seen))
    assert max(map(max, seen)) < 32768


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"SLURM_PROCID": None}, "expected SLURM to set SLURM_PROCID; received none"),
        ({"SLURM_PROCID": "4"}, "a task index from 0 to 3; received 4"),
        ({"SLURM_STEP_NODELIST": None}, "SLURM to set SLURM_STEP_NODELIST"),
        ({"SLURM_STEP_NODELIST": "n[a-b]"}, "lists of SLURM's, as long as each other"),
        ({"SLURM_STEP_NODELIST": "n9"}, "lists of SLURM's, as long as each other"),
        ({"SLURM_STEP_TASKS_PER_NODE": "x"}, "lists of SLURM's, as long as each other"),
        ({"SLURM_STEP_NUM_TASKS": "x"}, "a number in SLURM_STEP_NUM_TASKS"),
        ({"SLURM_STEP_NUM_TASKS": "5"}, "expected 5 tasks on the nodes of SLURM's"),
        (
            {"SLURMD_NODENAME": "n9"},
            "received task 2 on n9, where it is counted to n10",
        ),
    ],
)
def test_slurm_that_fits_no_run(changes, message):
    environment = {k: v for k, v in (STEP | changes).items() if v is not None}
    assert message in refusal(environment)


def test_one_task_of_slurm_is_no_cluster():
    assert find_cluster(STEP | {"SLURM_STEP_NUM_TASKS": "1"}) is None
    assert find_cluster(STEP | tf_config()).workers == tuple(HOSTS)


@pytest.mark.parametrize(
    "before, after",
    [
        ("4,5,6,7", "4,5"),  # task 2 is the first of its node
        ("GPU-a,GPU-b,GPU-c", "GPU-a"),
        ("3", "3"),  # bound by SLURM
        ("", ""),
    ],
)
def test_tasks_of_slurm_share_the_gpus_they_see_once(monkeypatch, before, after):
    for name, value in (STEP | {"CUDA_VISIBLE_DEVICES": before}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.setenv("SLURM_GPUS_PER_TASK", "")
    monkeypatch.delenv("SLURM_GPUS_PER_TASK")
    assert find_cluster() == find_cluster()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == after


@pytest.mark.parametrize(
    "value, gpus",
    [
        ("0,2", ["0", "2"]),
        ("GPU-8a, 1", ["GPU-8a", "1"]),
        ("0,-1,2", ["0"]),
        ("", []),
        ("NoDevFiles", []),
    ],
)
def test_visible_gpus(value, gpus):
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": value}) == gpus


def test_gpus_are_counted_by_nvidia_smi(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus({}) == []
    program.write_text(
        "#!/bin/sh\necho 'GPU 0: H200 (UUID: GPU-1)'\necho '  MIG 1g.18gb'\n"
        "echo 'GPU 1: H200 (UUID: GPU-2)'\n"
    )
    program.chmod(0o755)
    assert visible_gpus({}) == ["0", "1"]


def test_launching_needs_no_tensorflow(run_program):
    code = (
        "import sys\n"
        "from selfsup_tf.distribution import cluster, local_workers, roll_call\n"
        "cluster.find_cluster({})\n"
        "sys.exit('tensorflow' in sys.modules)"
    )
    run_program("-c", code)
