"""What a number was made on: the devices, the processor, the versions."""

import os
import pathlib
import platform
from typing import Any

import keras
import numpy as np
import tensorflow as tf

_CPU_INFO = pathlib.Path("/proc/cpuinfo")


def hardware() -> dict[str, Any]:
    """The devices as TensorFlow names them, and the processors of this machine.

    Returns:
        {"devices": [{"name", "type", "model"}], "cpus": how many this process may use,
        "cpu": their model}. A model is None where the platform does not tell.
    """
    return {
        "devices": [
            {
                "name": device.name,
                "type": device.device_type,
                "model": _device_model(device),
            }
            for device in tf.config.list_physical_devices()
        ],
        "cpus": _cpu_count(),
        "cpu": cpu_model(),
    }


def versions() -> dict[str, str]:
    """Of Python and of the packages that all numbers depend on."""
    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
    }


def cpu_model() -> str | None:
    """Such as "Intel(R) Xeon(R) Processor @ 2.10GHz"; None where nobody tells."""
    try:
        lines = _CPU_INFO.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == "model name" and value.strip():
            return value.strip()
    return platform.processor() or None


def _cpu_count() -> int | None:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))  # a job often gets a part of a machine
    return os.cpu_count()


def _device_model(device: tf.config.PhysicalDevice) -> str | None:
    if device.device_type == "CPU":
        return cpu_model()
    details = tf.config.experimental.get_device_details(device)
    return details.get("device_name")
