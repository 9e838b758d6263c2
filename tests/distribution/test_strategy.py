"""Which devices a run takes, and what is said of those it can't have."""

import json
import signal
import types

import pytest
import tensorflow as tf

from selfsup_tf.distribution import strategy as strategies
from selfsup_tf.distribution.replicas import sum_over_replicas
from selfsup_tf.distribution.strategy import (
    check_devices,
    compiles_replicas,
    connect,
    has_workers,
    is_chief,
)
from selfsup_tf.distribution.workers import WorkerLost, watched_workers
from selfsup_tf.errors import InputError


def test_auto_takes_one_device_where_there_is_one(tiny_config):
    strategy = connect(tiny_config("simclr"))
    assert strategy.num_replicas_in_sync == 1
    assert connect(tiny_config("simclr", seed=5)) is strategy
    assert is_chief(strategy) and not has_workers(strategy)
    assert compiles_replicas(strategy)
    assert sum_over_replicas([1, 2]) == [1, 2]


def test_workers_that_nothing_names_are_refused(tiny_config):
    with pytest.raises(InputError, match=r"received neither.*--local_workers=2"):
        connect(tiny_config("simclr", strategy="multi_worker"))


@pytest.mark.parametrize("precision", ["mixed_float16", "float64"])
def test_a_tpu_takes_what_it_computes_in(precision, tiny_config):
    with pytest.raises(InputError, match="--precision=mixed_bfloat16"):
        connect(tiny_config("simclr", tpu="local", precision=precision))


def test_a_tpu_beside_another_strategy_is_refused(tiny_config):
    with pytest.raises(InputError, match="no --tpu beside --strategy=mirrored"):
        tiny_config("simclr", tpu="local", strategy="mirrored")


def test_a_tpu_that_is_not_there_is_refused(run_program, tmp_path):
    """In a process of its own: the search for one resets TensorFlow."""
    run_dir = tmp_path / "run"
    done = run_program(
        "train.py",
        "simclr",
        "shapes",
        f"--run_dir={run_dir}",
        "--tpu=local",
        check=False,
    )
    assert done.returncode == 2
    assert "error: expected a TPU called local; received" in done.stderr
    assert not run_dir.exists()


def test_replicas_share_the_batch_and_cpus_compile_alone(tiny_config):
    extended = types.SimpleNamespace(worker_devices=["/device:CPU:0"] * 3)
    three = types.SimpleNamespace(num_replicas_in_sync=3, extended=extended)
    with pytest.raises(InputError, match="The nearest that are: 15 and 18"):
        check_devices(tiny_config("simclr"), three)
    with pytest.raises(InputError, match="3 replicas on CPUs"):
        check_devices(tiny_config("simclr", batch_size=15, jit_compile=True), three)
    check_devices(tiny_config("simclr", batch_size=15), three)


def test_other_errors_of_one_process_stay_what_they_are(tiny_config):
    strategy = connect(tiny_config("simclr"))
    error = tf.errors.UnavailableError(None, None, "the bucket")
    with pytest.raises(tf.errors.UnavailableError):
        with watched_workers(strategy):
            raise error
    assert not isinstance(error, WorkerLost)


CLUSTER = json.dumps(
    {
        "cluster": {"worker": ["127.0.0.1:1", "127.0.0.1:2"]},
        "task": {"type": "worker", "index": 1},
    }
)


def test_one_device_in_a_cluster_is_refused(tiny_config, monkeypatch):
    """Every worker would train alone, and all of them write one directory."""
    monkeypatch.setenv("TF_CONFIG", CLUSTER)
    with pytest.raises(InputError, match=r"received one_device.*Leave --strategy out"):
        connect(tiny_config("simclr", strategy="one_device"))


@pytest.mark.slow  # a watchdog process looks on
def test_workers_meet_before_they_connect(tiny_config, monkeypatch, caplog):
    """The roll call has the timeout and the config, TensorFlow the collectives."""
    told = {}

    def meet(cluster, facts, *, differences, timeout, token):
        told.update(facts=facts, timeout=timeout, size=cluster.size, token=token)

    def connected(*, communication_options):
        told["collectives"] = communication_options.implementation
        raise RuntimeError("Collective ops must be configured at program startup")

    monkeypatch.setenv("TF_CONFIG", CLUSTER)
    monkeypatch.setenv("SELFSUP_TOKEN", "of the run")
    monkeypatch.setattr(strategies, "roll_call", meet)
    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", connected)
    config = tiny_config("simclr", collectives="ring", worker_timeout=7.0)
    with (
        caplog.at_level("INFO", logger="selfsup_tf"),
        pytest.raises(InputError, match=r"Call selfsup_tf\.connect\(config\) first"),
    ):
        connect(config)
    (said,) = caplog.messages
    assert "on all interfaces; whoever reaches it can read and write files" in said
    assert told["token"] == "of the run"
    assert told["timeout"] == 7 and told["size"] == 2
    assert told["facts"]["batch_size"] == 16 and told["facts"]["devices"] == "CPU"
    ring = tf.distribute.experimental.CommunicationImplementation.RING
    assert told["collectives"] == ring


def test_a_worker_lost_while_all_connect_ends_the_others(free_addresses, start_python):
    """It answers the roll call and is gone; TensorFlow would wait without end."""
    cluster = free_addresses(2)
    common = (
        "from selfsup_tf.distribution import strategy\n"
        "from simclr_tf.recipes import shapes\n"
        "config = shapes(worker_timeout=8.0)\n"
    )
    gone = "strategy.tf.distribute.MultiWorkerMirroredStrategy = lambda **_: exit(3)\n"
    call = "strategy.connect(config)"
    waits = start_python("-c", common + call, cluster=cluster)
    leaves = start_python("-c", common + gone + call, cluster=cluster, worker=1)
    assert leaves.wait(timeout=100) == 3
    _, errors = waits.communicate(timeout=100)
    assert waits.returncode == -signal.SIGKILL
    assert "error: expected all workers, which were there, to connect within" in errors
