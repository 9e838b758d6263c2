"""The strategy of a run: over which devices, of which machines."""

import tensorflow as tf

from selfsup_tf.errors import InputError, check


def make_strategy(name: str = "auto") -> tf.distribute.Strategy:
    """The strategy of that name over the devices that TensorFlow sees.

    Args:
        name: "one_device", "mirrored" (all GPUs, or all logical CPUs where there is no
            GPU), or "auto" (mirrored where there are several GPUs).

    Raises:
        InputError: The name is unknown.
    """
    gpus = tf.config.list_logical_devices("GPU")
    devices = [d.name for d in gpus or tf.config.list_logical_devices("CPU")]
    if name == "auto":
        name = "mirrored" if len(gpus) > 1 else "one_device"
    if name == "one_device":
        return tf.distribute.OneDeviceStrategy(devices[0])
    if name == "mirrored":
        return tf.distribute.MirroredStrategy(devices)
    raise InputError(
        "a strategy of auto, one_device, mirrored",
        repr(name),
        "Leave --strategy out to have one chosen.",
    )


def check_divisible(batch_size: int, num_replicas: int) -> None:
    """Raises InputError unless the global batch is the same on every replica."""
    below = batch_size // num_replicas * num_replicas
    check(
        batch_size % num_replicas == 0,
        f"a batch_size divisible by the {num_replicas} replicas",
        batch_size,
        f"The nearest that are: {below or num_replicas} and {below + num_replicas}.",
    )
