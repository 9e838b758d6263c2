"""The training loop, in the order the data travels. It knows no method by name."""

import dataclasses
import logging
import math
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tqdm

from selfsup_tf.config import Config, make_plan
from selfsup_tf.data.pipeline import training_dataset
from selfsup_tf.data.sources import Source
from selfsup_tf.distribution.strategy import check_divisible, make_strategy
from selfsup_tf.errors import check
from selfsup_tf.methods import Method
from selfsup_tf.models.encoders import copy_network
from selfsup_tf.training.checkpoints import Checkpoints
from selfsup_tf.training.optimizers import (
    build_optimizer,
    build_schedule,
)
from selfsup_tf.training.reporting import announce, describe_run, name_skipped
from selfsup_tf.training.run_directory import RunDirectory, RunLog
from selfsup_tf.training.step import make_train_steps

logger = logging.getLogger("selfsup_tf")

COLLAPSED = 0.01
"""A spread of the representations below which they are all but equal."""

Monitor = Callable[[keras.Model], dict[str, float]]


class TrainingDiverged(RuntimeError):
    """The loss or a gradient is no longer a finite number."""


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        run_dir: Its directory.
        encoder: keras.Model from (N, S, S, 3) float32 in [0, 1] to (N, D) float32.
        config: What it was made with.
        log: The records of log.jsonl.
    """

    run_dir: pathlib.Path
    encoder: keras.Model
    config: Config
    log: list[dict[str, Any]]


def train(
    method: Method,
    source: Source,
    *,
    run_dir: str | pathlib.Path,
    monitor: Monitor | None = None,
    progress: bool = True,
) -> Run:
    """Trains the method's encoder on the source, or goes on where a run was stopped.

    Args:
        method: Holds the config; is built here, under the run's strategy.
        source: The images to learn from, as far as the method takes them.
        run_dir: Directory of the run. The same config again resumes it.
        monitor: Called with the encoder every config.knn_epochs; what it returns is
            logged. The encoder with the best "eval/knn_top_1" is kept as
            encoder_best.keras.
        progress: Whether to draw a progress bar.

    Raises:
        InputError: The config, the data and the devices do not fit together, or run_dir
            holds another run.
        TrainingDiverged: A loss or gradient is not finite; the last checkpoint stays.
    """
    config = method.config
    source = method.prepare(source)
    plan = make_plan(config, source.size)
    directory = RunDirectory(run_dir, config)
    strategy = make_strategy(config.strategy)
    replicas = strategy.num_replicas_in_sync
    check_divisible(config.batch_size, replicas)
    check(
        replicas == 1 or not config.jit_compile,
        "jit_compile on one device",
        f"{replicas} replicas",
        "Use --jit_compile=False, or --strategy=one_device.",
    )
    keras.utils.set_random_seed(config.seed)
    with strategy.scope():
        method.build()
        optimizer = build_optimizer(
            config.optimizer,
            plan,
            method.trainable_variables,
            method.unadapted_variables,
        )
        if config.precision == "mixed_float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
            optimizer.build(method.trainable_variables)
    kept = _KeptNetworks(method, directory)

    directory.begin(source.size)
    checkpoints = Checkpoints(directory.checkpoints, method.model, optimizer)
    step = checkpoints.restore()
    log = RunLog(directory, step)
    announce(method, source, plan, replicas=replicas, step=step)
    if not log.records:
        log.write(describe_run(method, source))
    if step < plan.total_steps:
        with strategy.scope():
            train_steps = make_train_steps(method, optimizer, config, plan)
        dataset = training_dataset(
            source,
            config,
            start_step=step,
            total_steps=plan.total_steps,
            inputs=method.model.input,
        )
        batches = iter(strategy.experimental_distribute_dataset(dataset))
        loop = _Loop(method, plan, directory, checkpoints, log, kept, monitor)
        with tqdm.tqdm(
            total=plan.total_steps,
            initial=step,
            unit="step",
            # Where nobody watches, a line at each checkpoint takes its place.
            disable=None if progress else True,
            dynamic_ncols=True,
            file=sys.stderr,
        ) as bar:
            with strategy.scope():
                loop.run(train_steps, batches, step, bar)
    log.close()
    kept.update()
    kept.save()
    name_skipped(source)
    return Run(directory.path, kept.encoder, config, log.records)


class _KeptNetworks:
    """Copies of the networks that outlast a run, fit for one device."""

    def __init__(self, method, directory):
        self._directory = directory
        self._originals = {"encoder": method.encoder, **method.networks}
        self._copies = {
            name: copy_network(network, synchronized=False)
            for name, network in self._originals.items()
        }
        self._class_names = method.class_names

    @property
    def encoder(self):
        return self._copies["encoder"]

    def update(self):
        """Takes over the weights of this moment."""
        for name, copy in self._copies.items():
            copy.set_weights(self._originals[name].get_weights())

    @property
    def finite(self):
        return all(
            np.isfinite(weight).all()
            for copy in self._copies.values()
            for weight in copy.get_weights()
        )

    def save(self):
        for name, copy in self._copies.items():
            self._directory.save_network(copy, name)
        if self._class_names is not None:
            self._directory.save_class_names(self._class_names)

    def save_best(self):
        self._directory.save_network(self.encoder, "encoder_best")


class _Loop:
    """Calls of the compiled steps, and what happens between them."""

    def __init__(self, method, plan, directory, checkpoints, log, kept, monitor):
        self.method, self.config, self.plan = method, method.config, plan
        self.directory, self.checkpoints, self.log = directory, checkpoints, log
        self.kept, self.monitor = kept, monitor
        self.rate = build_schedule(method.config.optimizer, plan)
        self.warned = False
        scores = [r["eval/knn_top_1"] for r in log.records if "eval/knn_top_1" in r]
        self.best = max(scores, default=-math.inf)

    def run(self, train_steps, batches, step, bar):
        """From `step` to the end of the plan."""
        plan = self.plan
        while step < plan.total_steps:
            count = self._steps_to_next_stop(step)
            start = time.perf_counter()
            values = train_steps(
                batches, tf.constant(step, tf.int64), tf.constant(count)
            )
            values = {name: value.numpy() for name, value in values.items()}
            seconds = time.perf_counter() - start
            self._check_finite(values, step)
            step += count
            record = self._record(values, step, count, seconds)
            ended = step == plan.total_steps
            if self.monitor and (ended or step % plan.knn_steps == 0):
                record |= self._evaluate()
            self.log.write(record)
            if ended or step % plan.checkpoint_steps == 0:
                self._save(step)
                if bar.disable:
                    self._tell(record)
            self._show(bar, record, count)

    def _steps_to_next_stop(self, step):
        """To the next multiple of any interval, whatever step a run resumes from."""
        intervals = [
            self.config.steps_per_call,
            self.plan.checkpoint_steps,
            self.plan.total_steps,
        ]
        if self.monitor:
            intervals.append(self.plan.knn_steps)
        return min(every - step % every for every in intervals)

    def _check_finite(self, values, step):
        bad = np.flatnonzero(values["finite"] < 1)
        if bad.size:
            where = step + int(bad[0]) + 1
            raise TrainingDiverged(
                f"step {where}: the loss is {values['train/loss'][bad[0]]:g} and it or "
                "its gradient is not finite. The last checkpoint in "
                f"{self.directory.checkpoints} is from before. Lower "
                "--optimizer.learning_rate, lengthen the warm-up or set "
                "--optimizer.clip_norm, in another run directory."
            )

    def _record(self, values, step, count, seconds):
        record = {"step": step, "epoch": round(step / self.plan.steps_per_epoch, 4)}
        for name in ("train/loss", "train/representation_std", *self.method.log_names):
            record[name] = float(values[name].mean(dtype=np.float64))
        record["train/learning_rate"] = float(self.rate(step - 1))
        images = count * self.config.batch_size
        record["train/images_per_second"] = round(images / seconds, 2)
        record["train/data_wait"] = round(float(values["wait"].sum()) / seconds, 4)
        if record["train/representation_std"] < COLLAPSED and not self.warned:
            self.warned = True
            logger.warning(
                "COLLAPSE: at step %d the representations of a batch are all but equal "
                "(spread %.4f of 1). What is learned from here on is worth little; "
                "lower --optimizer.learning_rate or raise the batch.",
                step,
                record["train/representation_std"],
            )
        return record

    def _evaluate(self):
        self.kept.update()
        scores = self.monitor(self.kept.encoder)
        if scores.get("eval/knn_top_1", -math.inf) > self.best:
            self.best = scores["eval/knn_top_1"]
            self.kept.save_best()
        return scores

    def _save(self, step):
        self.kept.update()
        if not self.kept.finite:
            raise TrainingDiverged(
                f"step {step}: a weight is not finite. No checkpoint of this state is "
                f"written; those in {self.directory.checkpoints} are from before. "
                "Lower --optimizer.learning_rate, in another run directory."
            )
        # In this order a run that is killed in between resumes and writes it again.
        self.kept.save()
        self.checkpoints.save(step)

    def _tell(self, record):
        score = ""
        if "eval/knn_top_1" in record:
            score = f", k-NN {record['eval/knn_top_1']:.1%}"
        logger.info(
            "step %d of %d: loss %.4f, %.0f images/s%s",
            record["step"],
            self.plan.total_steps,
            record["train/loss"],
            record["train/images_per_second"],
            score,
        )

    def _show(self, bar, record, count):
        shown = {
            "loss": f"{record['train/loss']:.3f}",
            "images/s": f"{record['train/images_per_second']:.0f}",
            "wait": f"{record['train/data_wait']:.0%}",
        }
        if self.best > -math.inf:
            shown["best k-NN"] = f"{self.best:.1%}"
        bar.set_postfix(shown, refresh=False)
        bar.update(count)
