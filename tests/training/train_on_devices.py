"""Trains tiny runs on N logical CPUs of one process, or as a worker: N OUT TASKS.

Run by test_topologies.py; one process has one set of devices. TASKS is JSON, a list of
{"name", "method", "config", "run_dir", "stop"}: what to train, with which fields of the
config, where (a temporary place if null), and whether a power cut ends it. Of each, OUT
gets NAME.npz with losses, spreads and weights; of the one called float32, loss
and gradients of a first step. The chief of several workers writes them.
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

from selfsup_tf.config import OptimizerConfig, ViewConfig, make_plan
from selfsup_tf.data.sources import open_source
from selfsup_tf.data.sources.shapes import make_shapes
from selfsup_tf.distribution.replicas import sum_over_replicas
from selfsup_tf.distribution.strategy import connect
from selfsup_tf.methods import find_method
from selfsup_tf.training import loop
from selfsup_tf.training.optimizers import build_optimizer
from selfsup_tf.training.replica import Replica
from selfsup_tf.training.step import distributed_batches

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

IMAGES = make_shapes("train", size=64)


def make_config(method, **overrides):
    """float64, and one method of every augmentation: views cost the most to trace."""
    values = {
        "precision": "float64",
        "strategy": STRATEGY,
        "steps": 5,
        "steps_per_call": 2,
        "optimizer": OptimizerConfig(
            name="lars", learning_rate=1.0, warmup_epochs=0.0, weight_decay=1e-2
        ),
    }
    if method == "simclr":
        values["views"] = (VIEW, VIEW)
    values |= overrides
    if isinstance(values["optimizer"], dict):
        values["optimizer"] = OptimizerConfig(**values["optimizer"])
    if isinstance(values.get("views"), list):
        values["views"] = tuple(ViewConfig(**view) for view in values["views"])
    return conftest.make_tiny_config(method, **values)


def tiny_resnet(size):
    """Two residual blocks with BatchNorm, as traced in a moment."""
    layers = keras.layers

    def norm_relu(x):
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))

    images = keras.Input((size, size, 3))
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
    config = make_config(task["method"], **task.get("config", {}))
    connect(config)
    source = open_source(IMAGES)
    keras.utils.set_random_seed(1)
    encoder = tiny_resnet(config.image_size)
    method = find_method(config.method).load()(config, encoder=encoder)
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
    variables = [*method.model.variables, *method.state.values()]
    weights = {f"w{i}": v.numpy() for i, v in enumerate(variables)}
    records = [r for r in run.log if "train/loss" in r]
    curves = {
        "losses": np.array([r["train/loss"] for r in records]),
        "spreads": np.array([r["train/representation_std"] for r in records]),
    }
    for name in method.metric_names:
        curves[name.replace("/", "_")] = np.array([r[name] for r in records])
    return curves | weights if run.is_chief else {}


def differentiate(method_name):
    """Loss and gradients of a first step in float32, and those of permuted batches."""
    config = make_config(method_name, precision="float32", steps=1)
    strategy = connect(config)
    source = open_source(IMAGES)
    keras.utils.set_random_seed(1)
    encoder = tiny_resnet(config.image_size)
    plan = make_plan(config, source.size)
    with strategy.scope():
        keras.utils.set_random_seed(0)
        method = find_method(method_name).load()(config, encoder=encoder)
        method.build()
        optimizer = build_optimizer(config.optimizer, plan, method.trainable_variables)
        replica = Replica(method, optimizer)
        batch = next(distributed_batches(strategy, source, method, plan))

        @tf.function
        def run(batch, order):
            def on_replica(batch):
                batch = {n: tf.gather(v, order) for n, v in batch.items()}
                with tf.GradientTape() as tape:
                    outputs = replica.model(replica.inputs(batch), training=True)
                    loss = replica.share_of_loss(outputs)
                gradients = replica.gradients(tape, loss, replica.weights)
                return sum_over_replicas([loss, *gradients])

            return [
                strategy.experimental_local_results(value)[0]
                for value in strategy.run(on_replica, args=(batch,))
            ]

        size = config.batch_size // strategy.num_replicas_in_sync
        orders = [np.random.default_rng(i).permutation(size) for i in range(5)]
        found = {}
        for i, order in enumerate([np.arange(size), *orders]):
            loss, *gradients = run(batch, tf.constant(order))
            flat = [np.ravel(g.numpy()) for g in gradients]
            found |= {f"loss{i}": loss.numpy(), f"gradient{i}": np.concatenate(flat)}
    return found


for task in tasks:
    if task["name"] == "float32":
        np.savez(out / f"{task['name']}.npz", **differentiate(task["method"]))
        continue
    with tempfile.TemporaryDirectory() as folder:
        result = train(task, folder)
    if result:
        np.savez(out / f"{task['name']}.npz", **result)
