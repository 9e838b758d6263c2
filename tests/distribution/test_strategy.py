"""Which devices a run takes, and what is said of those it can't have."""

import pytest
import tensorflow as tf

from selfsup_tf.distribution.replicas import sum_over_replicas
from selfsup_tf.distribution.strategy import (
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


def test_other_errors_of_one_process_stay_what_they_are(tiny_config):
    strategy = connect(tiny_config("simclr"))
    error = tf.errors.UnavailableError(None, None, "the bucket")
    with pytest.raises(tf.errors.UnavailableError):
        with watched_workers(strategy):
            raise error
    assert not isinstance(error, WorkerLost)
