"""The strategy of a run: over which devices, of which machines."""

import contextlib
import functools
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import tensorflow as tf

from selfsup_tf import config as configs
from selfsup_tf.config import Config, check_divisible
from selfsup_tf.distribution.cluster import (
    TOKEN,
    Cluster,
    find_cluster,
    split_address,
)
from selfsup_tf.distribution.determinism import make_deterministic
from selfsup_tf.distribution.roll_call import roll_call
from selfsup_tf.errors import InputError, check

logger = logging.getLogger("selfsup_tf")


def connect(config: Config) -> tf.distribute.Strategy:
    """The strategy that a config names, over the devices that TensorFlow sees.

    Where a run has several workers, it waits for the others and compares configs with
    them. In a program of several workers it has to come first, before any other use of
    TensorFlow: `selfsup_tf.train` begins with it. A process has one strategy of a kind,
    so that the loop asks again for what it runs on: a second call takes microseconds,
    returns the same strategy and compares nothing.

    Args:
        config: Its strategy, tpu, collectives, worker_timeout and deterministic.

    Raises:
        InputError: There is no such device, a worker is missing or has another config,
            or TensorFlow is in use already.
    """
    if config.deterministic:
        make_deterministic()
    name = config.strategy
    cluster = find_cluster()
    check(
        cluster is None or cluster.size == 1 or name not in ("one_device", "mirrored"),
        "--strategy=multi_worker, or none, where TF_CONFIG or SLURM names several "
        "workers",
        f"{name}, by which each of them would write the same run",
        "Leave --strategy out, or unset TF_CONFIG; where each task of SLURM is to be a "
        "run of its own, unset SLURM_STEP_NUM_TASKS.",
    )
    if name == "auto":
        name = _choose(config, cluster)
    check(
        name != "tpu" or config.precision in ("float32", "mixed_bfloat16"),
        "precision of float32 or mixed_bfloat16 on a TPU",
        config.precision,
        "Use --precision=mixed_bfloat16.",
    )
    if name == "multi_worker":
        return _connect_workers(cluster, config)
    if name == "tpu":
        return _connect_tpu(config.tpu or "local")
    return _local_strategy(name)


def _choose(config: Config, cluster: Cluster | None) -> str:
    if config.tpu is not None:
        return "tpu"
    if cluster is not None and cluster.size > 1:
        return "multi_worker"
    several = len(tf.config.list_logical_devices("GPU")) > 1
    return "mirrored" if several else "one_device"


@functools.cache
def _local_strategy(name: str) -> tf.distribute.Strategy:
    """All GPUs of this machine, or all logical CPUs where it has none; or the first."""
    gpus = tf.config.list_logical_devices("GPU")
    devices = [d.name for d in gpus or tf.config.list_logical_devices("CPU")]
    if name == "one_device":
        return tf.distribute.OneDeviceStrategy(devices[0])
    return tf.distribute.MirroredStrategy(devices)


_workers: list[tf.distribute.Strategy] = []


def _connect_workers(
    cluster: Cluster | None, config: Config
) -> tf.distribute.MultiWorkerMirroredStrategy:
    if _workers:
        return _workers[0]
    check(
        cluster is not None,
        "TF_CONFIG, or a SLURM step of several tasks, that names the workers",
        "neither",
        "docs/scaling.md has both; --local_workers=2 starts two on this machine.",
    )
    gpus = len(tf.config.list_physical_devices("GPU"))
    facts = {"devices": f"{gpus} GPUs" if gpus else "CPU", "TensorFlow": tf.__version__}
    roll_call(
        cluster,
        {**configs.to_dict(config), **facts},
        differences=configs.worker_differences,
        timeout=config.worker_timeout,
        token=os.environ.get(TOKEN, ""),
    )
    # Whatever host its address names: TensorFlow 2.21 binds none other.
    logger.info(
        "TensorFlow listens at port %d on all interfaces; whoever reaches it can read "
        "and write files as this user; docs/scaling.md says how to close it",
        split_address(cluster.address)[1],
    )
    # What SLURM told, and a chief among the workers, in the words TensorFlow reads.
    os.environ["TF_CONFIG"] = cluster.to_tf_config()
    communication = tf.distribute.experimental.CommunicationImplementation
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=communication[config.collectives.upper()]
    )
    try:
        with _at_most(config.worker_timeout):
            strategy = tf.distribute.MultiWorkerMirroredStrategy(
                communication_options=options
            )
    except tf.errors.OpError as error:
        raise WorkerLost(
            "The workers were all there, and then one could not be reached: "
            f"{error.message.partition('. ')[0]}. Its own messages say why; start all "
            "of them again."
        ) from error
    except RuntimeError as error:
        raise InputError(
            "the workers to be connected before anything else uses TensorFlow",
            str(error),
            "Call selfsup_tf.connect(config) first, before networks or tensors.",
        ) from error
    if threading.current_thread() is threading.main_thread():
        # TensorFlow notes the signal that ends a job, and goes on: a cluster's
        # scheduler would have to kill the process.
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
    _workers.append(strategy)
    return strategy


class WorkerLost(RuntimeError):
    """Another worker of the run has stopped or can't be reached."""


_WATCHDOG = """
import os, signal, sys, time
watched = os.getppid()
time.sleep(float(sys.argv[1]))
if os.getppid() == watched:
    sys.stderr.write(
        f"error: expected all workers, which were there, to connect within "
        f"{sys.argv[1]} s; received no word from one of them. Its own messages say "
        "why; start all of them again.\\n"
    )
    os.kill(watched, signal.SIGKILL)
"""


@contextlib.contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Ends the process if this lasts longer.

    TensorFlow waits without end for a worker that is lost while all connect, in a call
    that no thread or signal handler of Python's can interrupt: another process has to.
    """
    watchdog = subprocess.Popen([sys.executable, "-S", "-c", _WATCHDOG, f"{seconds:g}"])
    try:
        yield
    finally:
        watchdog.kill()
        watchdog.wait()


@functools.cache
def _connect_tpu(name: str) -> tf.distribute.TPUStrategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
        if name != "local":
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    # What is raised depends on where the search for a TPU ends.
    except (ValueError, RuntimeError, OSError, tf.errors.OpError) as error:
        raise InputError(
            f"a TPU called {name}",
            str(error).partition(". ")[0],
            "docs/scaling.md tells how a TPU VM is set up; --strategy=auto without "
            "--tpu takes what else there is.",
        ) from error
    return tf.distribute.TPUStrategy(resolver)


def has_workers(strategy: tf.distribute.Strategy) -> bool:
    """Whether the run has several processes, each of which runs this code."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes: the only one, or worker 0."""
    return not has_workers(strategy) or strategy.cluster_resolver.task_id == 0


def always_compiles(strategy: tf.distribute.Strategy) -> bool:
    """Whether XLA compiles what replicas do, asked or not."""
    return isinstance(strategy, tf.distribute.TPUStrategy)


def compiles_replicas(strategy: tf.distribute.Strategy) -> bool:
    """Whether XLA can compile a step in which replicas exchange values.

    TensorFlow can where all devices are GPUs; on a TPU it always does.
    """
    devices = strategy.extended.worker_devices
    return strategy.num_replicas_in_sync == 1 or all(
        tf.DeviceSpec.from_string(device).device_type in ("GPU", "TPU")
        for device in devices
    )


def check_devices(config: Config, strategy: tf.distribute.Strategy) -> None:
    """Raises InputError where a batch or its compilation does not suit the devices."""
    replicas = strategy.num_replicas_in_sync
    check_divisible(config.batch_size, replicas, config.accumulate)
    check(
        not config.jit_compile or compiles_replicas(strategy),
        "jit_compile on one device, on GPUs or on a TPU",
        f"{replicas} replicas on CPUs, whose exchanges XLA can't compile",
        "Use --jit_compile=False, or --strategy=one_device.",
    )
