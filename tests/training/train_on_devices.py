"""Trains tiny runs on N logical CPUs of one process, or as a worker: N OUT TASKS.

Run by test_topologies.py; one process has one set of devices. TASKS is JSON, a list of
{"name", "method", "config", "run_dir", "stop"}: what to train, with which fields of the
config, where (a temporary place if null), and whether a power cut ends it. Of each, OUT
gets NAME.npz with losses and weights. The chief of several workers writes them.
"""

import json
import os
import pathlib
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import conftest
import keras
import numpy as np
import tensorflow as tf

import selfsup_tf as selfsup
from selfsup_tf.config import OptimizerConfig, ViewConfig
from selfsup_tf.methods import find_method

replicas, out = int(sys.argv[1]), pathlib.Path(sys.argv[2])
tasks = json.loads(sys.argv[3])
workers = "TF_CONFIG" in os.environ
if replicas > 1:
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * replicas,
    )
STRATEGY = "multi_worker" if workers else "mirrored" if replicas > 1 else "one_device"
# Every kind of operation of a view, with its own draws for each image.
VIEW = ViewConfig(solarize=0.2, rotate90=0.2, rotation=10.0, blur_size=0.3)


def make_config(method, **overrides):
    """A tiny ResNet with BatchNorm, all augmentations, float64."""
    values = {
        "view_1": VIEW,
        "view_2": VIEW,
        "precision": "float64",
        "strategy": STRATEGY,
        "steps": 5,
        "steps_per_call": 2,
        "optimizer": OptimizerConfig(
            name="lars", learning_rate=1.0, warmup_epochs=0.0, weight_decay=1e-2
        ),
    }
    return conftest.make_tiny_config(method, **values | overrides)


def tiny_resnet():
    """Two residual blocks with BatchNorm, as traced in a moment."""
    layers = keras.layers

    def norm_relu(x):
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))

    images = keras.Input((16, 16, 3))
    x = norm_relu(layers.Conv2D(8, 3, 2, "same", use_bias=False)(images))
    for filters, stride in ((8, 1), (16, 2)):
        y = norm_relu(layers.Conv2D(filters, 3, stride, "same", use_bias=False)(x))
        y = layers.Conv2D(filters, 3, 1, "same", use_bias=False)(y)
        y = layers.BatchNormalization(momentum=0.9)(y)
        if stride > 1:
            x = layers.Conv2D(filters, 1, stride, use_bias=False)(x)
        x = layers.ReLU()(layers.Add()([x, y]))
    return keras.Model(images, layers.GlobalAveragePooling2D()(x))


class PowerCut(Exception):
    """Ends a run between two checkpoints."""


def cut(encoder):
    """A monitor that never returns."""
    raise PowerCut


def train(task, folder):
    """Losses, float64, and weights of a run."""
    from selfsup_tf.data.shapes import make_shapes
    from selfsup_tf.data.sources import open_source
    from selfsup_tf.training import loop

    config = make_config(task["method"], **task.get("config", {}))
    selfsup.connect(config)
    images, labels = make_shapes("train")
    source = open_source((images[:64], labels[:64]))
    keras.utils.set_random_seed(1)
    method = find_method(config.method).load()(config, encoder=tiny_resnet())
    try:
        run = loop.train(
            method,
            source,
            run_dir=task.get("run_dir") or folder,
            monitor=cut if task.get("stop") else None,
            progress=False,
        )
    except PowerCut:
        return {}
    weights = {f"w{i}": v.numpy() for i, v in enumerate(method.model.variables)}
    losses = [r["train/loss"] for r in run.log if "train/loss" in r]
    return {"losses": np.array(losses), **weights} if run.is_chief else {}


for task in tasks:
    with tempfile.TemporaryDirectory() as folder:
        result = train(task, folder)
    if result:
        np.savez(out / f"{task['name']}.npz", **result)
