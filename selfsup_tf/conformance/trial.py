"""Tiny runs of any method, in float64, on as many logical CPUs as are asked for.

    python -m selfsup_tf.conformance.trial TASK.json

One process has one set of devices, so that each topology is a process of its own. The
task is {"method", "recipe", "config", "replicas", "runs": [...], "output"}; the folder
`output` gets RUN.npz for each run: losses and weights.
"""

import contextlib
import dataclasses
import json
import pathlib
import sys
import tempfile
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from selfsup_tf.config import Config, EncoderConfig, OptimizerConfig, ViewConfig
from selfsup_tf.data.sources import open_source
from selfsup_tf.data.sources.shapes import make_shapes
from selfsup_tf.distribution.strategy import connect
from selfsup_tf.errors import check, check_one_of
from selfsup_tf.methods import Method, find_method
from selfsup_tf.models.copies import leaf_layers
from selfsup_tf.run import RunDirectory
from selfsup_tf.training import loop

STEPS = 4
_STOPPED = 2
"""Steps after which the run that is resumed was interrupted."""
_IMAGES = 64
_VIEW = ViewConfig(jitter=0.0, grayscale=0.0, blur=0.0)


class Interrupted(Exception):
    """Ends a run as a power cut would."""


def small_config(method: str, recipe: str | None = None, **overrides: Any) -> Config:
    """A run of a few steps, of the first recipe of a method unless one is named.

    Everything that says how large and how long is small; what is the method's own, such
    as the sizes of its heads, stays as the recipe has it.

    Raises:
        InputError: There is no such method, recipe or field.
    """
    package = find_method(method)
    config = package.recipe(recipe or next(iter(package.recipes)))()
    values: dict[str, Any] = {
        "data": "shapes",
        "image_size": 16,
        "pretrained": None,
        "encoder": EncoderConfig(name="resnet18", width=1 / 16, stem="small_stride2"),
        "optimizer": OptimizerConfig(
            name="lars",
            learning_rate=1.0,
            scaling="none",
            warmup_epochs=0.0,
            weight_decay=1e-2,
        ),
        "batch_size": 16,
        "accumulate": 1,
        "epochs": None,
        "steps": STEPS,
        "steps_per_call": 1,
        "held_out": 0,
        "precision": "float64",
        "strategy": "one_device",
    }
    if package.config_class.num_views:
        values["views"] = (_VIEW,) * package.config_class.num_views
    fields = {field.name for field in dataclasses.fields(config)}
    for name in overrides:
        check_one_of(name, fields, f"a field of the config of {method}")
    values = {name: value for name, value in values.items() if name in fields}
    return dataclasses.replace(config, **(values | overrides))


def small_method(config: Config) -> Method:
    """The method of a config on an encoder of two convolutions with BatchNorm."""
    keras.utils.set_random_seed(1)
    layers, size = keras.layers, config.image_size
    encoder = keras.Sequential(
        [
            keras.Input((size, size, config.channels or 3)),
            layers.Conv2D(8, 3, strides=2, use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.Conv2D(16, 3, strides=2, use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.GlobalAveragePooling2D(),
        ]
    )
    return find_method(config.method).load()(config, encoder=encoder)


def settle(method: Method, *, norms: bool) -> None:
    """Once the model is built, leaves out of it what no two ways have alike.

    Masks of a Dropout depend on the replicas and on XLA. A BatchNorm, unless `norms`,
    uses its running statistics: those of its batch are others in micro-batches, so that
    only without them accumulation is the whole batch to the last digit.
    """
    build = method.build

    def built():
        build()
        for layer in leaf_layers(method.model):
            if isinstance(layer, keras.layers.Dropout):
                layer.rate = 0.0
            if isinstance(layer, keras.layers.BatchNormalization) and not norms:
                layer.trainable = False

    method.build = built


def images() -> tuple[np.ndarray, np.ndarray]:
    """Drawn images, uint8 (N, H, W, 3), and labels."""
    return make_shapes("train", size=_IMAGES)


def train(
    config: Config, *, norms: bool = True, resumed: bool = False
) -> dict[str, np.ndarray]:
    """Losses and weights, all float64, of a run.

    Args:
        config: From `small_config`.
        norms: Whether BatchNorms use their batch's statistics.
        resumed: Whether the run is stopped on the way and begun again.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = {"run_dir": folder, "progress": False}

        def run(monitor):
            method = small_method(config)
            settle(method, norms=norms)
            source = open_source(images())
            return method, loop.train(method, source, monitor=monitor, **options)

        if resumed:
            with contextlib.suppress(Interrupted):
                run(_interrupt)
            check(
                any(RunDirectory(folder).checkpoints.iterdir()),
                "images for several steps of an epoch",
                f"batches of {config.batch_size}, and no checkpoint before the cut",
                "Leave batch_size out of --config.",
            )
        method, done = run(lambda networks: {})
        losses = [r["train/loss"] for r in done.log if "train/loss" in r]
    variables = enumerate(method.model.variables)
    weights = {f"{i} {variable.name}": variable.numpy() for i, variable in variables}
    state = {f"state {name}": value.numpy() for name, value in method.state.items()}
    return {"losses": np.array(losses), **weights, **state}


def _interrupt(networks):
    raise Interrupted


def hide_accelerators() -> None:
    """Leaves the CPU alone: in float64, and cut into as many as are asked for."""
    for kind in ("GPU", "TPU"):
        tf.config.set_visible_devices([], kind)


def run_task(task: dict[str, Any]) -> None:
    """Does the runs of a task, see the module."""
    replicas = task["replicas"]
    hide_accelerators()
    if replicas > 1:
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0],
            [tf.config.LogicalDeviceConfiguration()] * replicas,
        )
    strategy = "mirrored" if replicas > 1 else "one_device"
    epoch = _IMAGES // 16
    same = {"accumulate": 1, "jit_compile": False, "strategy": strategy}
    plans = {
        "plain": ({}, {}),
        "compiled": ({"jit_compile": True}, {}),
        "whole": ({}, {"norms": False}),
        "accumulated": ({"accumulate": 2}, {"norms": False}),
        # Looked at where it is stopped, with a checkpoint a step before.
        "resumed": (
            {"checkpoint_epochs": 1 / epoch, "knn_epochs": _STOPPED / epoch},
            {"resumed": True},
        ),
    }
    for name in task["runs"]:
        overrides, options = plans[name]
        config = small_config(
            task["method"],
            task["recipe"],
            **(task["config"] | same | overrides),
        )
        found = connect(config).num_replicas_in_sync
        check(found == replicas, f"{replicas} replicas", found, "Report this.")
        path = pathlib.Path(task["output"], f"{name}.npz")
        np.savez(path, **train(config, **options))


if __name__ == "__main__":
    run_task(json.loads(pathlib.Path(sys.argv[1]).read_text()))
