"""The training loop, in the order the data travels. It knows no method by name."""

import contextlib
import dataclasses
import logging
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from selfsup_tf.config import Config, make_plan
from selfsup_tf.data.lost import check_read
from selfsup_tf.data.sources import Source
from selfsup_tf.data.views import check_views
from selfsup_tf.distribution.strategy import check_devices, connect, is_chief
from selfsup_tf.distribution.workers import (
    check_same_images,
    go_on_together,
    wait_for_all,
    watched_workers,
)
from selfsup_tf.methods import Method
from selfsup_tf.models.copies import copy_network
from selfsup_tf.run import RunDirectory
from selfsup_tf.training.archive import Archive
from selfsup_tf.training.beginning import check_config
from selfsup_tf.training.compilation import call_steps
from selfsup_tf.training.fitting import fit_to_images
from selfsup_tf.training.optimizers import build_schedule
from selfsup_tf.training.reporting import (
    announce,
    brief_run,
    compare_with_start,
    name_skipped,
    progress_bar,
    tell_step,
)
from selfsup_tf.training.spread import COLLAPSED
from selfsup_tf.training.step import build, distributed_batches, make_train_steps
from selfsup_tf.training.wandb_log import check_wandb

logger = logging.getLogger("selfsup_tf")

Monitor = Callable[[Mapping[str, keras.Model]], dict[str, float]]
"""From the networks that a run keeps, "encoder" among them, to numbers for the log."""


class TrainingDiverged(RuntimeError):
    """The loss or a gradient is no longer a finite number."""


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        run_dir: Its directory.
        encoder: keras.Model from (N, S, S, 3) float32 in [0, 1] to (N, D) float32.
        config: What it was made with.
        log: The records of log.jsonl; empty on a worker that is not the chief.
        is_chief: Whether this process wrote the directory.
    """

    run_dir: pathlib.Path
    encoder: keras.Model
    config: Config
    log: list[dict[str, Any]]
    is_chief: bool = True

    __repr__ = brief_run


def train(
    method: Method,
    source: Source,
    *,
    run_dir: str | pathlib.Path,
    monitor: Monitor | None = None,
    progress: bool = True,
    recorded: Config | None = None,
) -> Run:
    """Trains the method's encoder on the source, or goes on where a run was stopped.

    Every worker of a run calls it with the same config, images and monitor; the chief
    alone reads and writes the directory, and calls the monitor.

    Args:
        method: Holds the config; is built here, under the run's strategy.
        source: The images to learn from, as far as the method takes them.
        run_dir: Directory of the run. The same config again resumes it, on as many
            devices as there are, if they can part its batch.
        monitor: Called with the kept networks every config.knn_epochs; what it returns
            is logged. The encoder with the best "eval/knn_top_1", or without labels
            "health/rank_me", is kept as encoder_best.keras.
        progress: Whether to draw a progress bar.
        recorded: The config that the directory holds, where it says more than the
            method's of what was given in Python.

    Raises:
        InputError: The config, the data and the devices do not fit together, or run_dir
            holds another run.
        TrainingDiverged: A loss or gradient is not finite; the last checkpoint stays.
        WorkerLost: Another worker has stopped; the last checkpoint stays.
    """
    config, recorded = method.config, recorded or method.config
    strategy = connect(config)
    chief = is_chief(strategy)
    check_views(config.drawn_views, source.channels)
    directory = RunDirectory(run_dir)
    method.cache = directory.features
    with contextlib.ExitStack() as whole:
        if chief:
            check_wandb(config)
            check_config(directory, recorded)
            whole.enter_context(directory.locked())
            check_config(directory, recorded)  # another run may have come and gone
        source = method.prepare(source)  # which may take an hour
        config = fit_to_images(method, source, strategy)
        plan = make_plan(config, source.size)
        check_devices(config, strategy)
        whole.enter_context(watched_workers(strategy))
        check_same_images(strategy, source.size)
        keras.utils.set_random_seed(config.seed)
        with strategy.scope():
            optimizer = build(method, plan)
        archive = Archive(directory, recorded, method, optimizer) if chief else None
        step = archive.open(source) if chief else 0
        variables = [*method.model.variables, *optimizer.variables]
        variables += method.state.values()
        step = go_on_together(strategy, step, variables)
        if chief:
            replicas = strategy.num_replicas_in_sync
            announce(method, source, plan, replicas=replicas, step=step)
        if step < plan.total_steps:
            with strategy.scope():
                train_steps = make_train_steps(method, optimizer, plan)
            batches = distributed_batches(strategy, source, method, plan, step)
            loop = _Loop(method, plan, optimizer, archive, monitor, strategy, source)
            with progress_bar(plan.total_steps, step, shown=progress and chief) as bar:
                loop.look_at_start(step)
                loop.run(train_steps, batches, step, bar)
        if not chief:
            wait_for_all(strategy)
            encoder = copy_network(method.encoder, synchronized=False)
            return Run(directory.path, encoder, recorded, log=[], is_chief=False)
        archive.close()
        wait_for_all(strategy)
    if method.start is not None:
        compare_with_start(archive.records, archive.best_by)
    name_skipped(source)
    return Run(directory.path, archive.encoder, recorded, archive.records)


LEAST_SCALE = 1e-4
"""Of a loss in float16. A gradient that overflows at less is not to be saved."""


class _Loop:
    """Calls of the compiled steps, and what happens between them."""

    def __init__(self, method, plan, optimizer, archive, monitor, strategy, source):
        self.method, self.config, self.plan = method, method.config, plan
        self.optimizer, self.archive, self.monitor = optimizer, archive, monitor
        self.strategy, self.source = strategy, source
        self.lost = source.check_readable()
        self.rate = build_schedule(method.config.optimizer, plan)
        self.scaled, self.taken = self.config.precision == "mixed_float16", -1
        self.warned = False

    def run(self, train_steps, batches, step, bar):
        """From `step` to the end of the plan."""
        while step < self.plan.total_steps:
            count = self._steps_to_next_stop(step)
            start = time.perf_counter()
            try:
                values = call_steps(
                    train_steps,
                    batches,
                    step,
                    count,
                    method=self.method,
                    strategy=self.strategy,
                )
            except tf.errors.OpError as error:
                self.source.check_readable(look=True)
                check_read(error, self.source)
                raise
            seconds = time.perf_counter() - start
            self._check_finite(values, step)
            step += count
            if self.archive:
                self._keep(self._record(values, step, count, seconds), step, bar)
            bar.update(count)

    def look_at_start(self, step):
        """Measures the encoder that the run goes on from, as its best so far."""
        if self.method.start is None or not (self.archive and self.monitor):
            return
        if step == 0 and self.archive.best_by is None:
            self.archive.write({"step": 0, "epoch": 0.0} | self._evaluate(0))

    def _keep(self, record, step, bar):
        """Log, scores, states: what the chief does for all."""
        ended = step == self.plan.total_steps
        if self.monitor and (ended or step % self.plan.knn_steps == 0):
            record |= self._evaluate(step)
        if lost := self._name_lost():
            record["train/lost_images"] = lost
        self.archive.write(record)
        if ended or step % self.plan.checkpoint_steps == 0:
            self._save(step)
            if bar.disable:
                tell_step(record, self.plan.total_steps)
        self._show(bar, record)

    def _name_lost(self):
        """Names the images that have become unreadable; returns how many there are."""
        lost, known = self.source.check_readable(), self.lost
        if lost > known:
            logger.warning(
                "%d more can't be read any longer; others stand in their places.",
                lost - known,
            )
            name_skipped(self.source)
        self.lost = lost
        return lost

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
                "its gradient is not finite. The last checkpoint of the run, if there "
                "is one, is from before. Lower "
                "--optimizer.learning_rate, lengthen the warm-up or set "
                "--optimizer.clip_norm, in another run directory."
            )
        before, self.taken = self.taken, self._updates(step + len(values["finite"]))
        if not self.scaled or self.taken > before:
            return
        if float(self.optimizer.dynamic_scale.numpy()) < LEAST_SCALE:
            raise TrainingDiverged(
                f"step {step + 1}: float16 does not hold the gradient, however little "
                "the loss is scaled, so that nothing is learned. Lower "
                "--optimizer.learning_rate, or use --precision=mixed_bfloat16, in "
                "another run directory."
            )

    def _updates(self, step):
        """How many steps have changed the weights; an overflow of float16 skips one."""
        if not self.scaled:
            return step
        return int(self.optimizer.inner_optimizer.iterations.numpy())

    def _record(self, values, step, count, seconds):
        record = {"step": step, "epoch": round(step / self.plan.steps_per_epoch, 4)}
        names = (*self.method.metric_names, *self.method.log_names)
        for name in ("train/loss", "train/representation_std", *names):
            record[name] = float(values[name].mean(dtype=np.float64))
        taken = self._updates(step)
        record["train/learning_rate"] = float(self.rate(max(0, taken - 1)))
        images = count * self.config.batch_size
        record["train/images_per_second"] = round(images / seconds, 2)
        if "wait" in values:
            record["train/data_wait"] = round(float(values["wait"].sum()) / seconds, 4)
        if self.scaled:
            record["train/skipped_steps"] = step - taken
            record["train/loss_scale"] = float(self.optimizer.dynamic_scale.numpy())
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

    def _evaluate(self, step):
        self.archive.update()
        scores = self.monitor(self.archive.networks)
        self.archive.keep_if_best(scores, step)
        return scores

    def _save(self, step):
        try:
            self.archive.save(step)
        except FloatingPointError as error:
            raise TrainingDiverged(
                f"step {step}: a weight is not finite. No checkpoint of this state is "
                f"written; those in {error} are from before. "
                "Lower --optimizer.learning_rate, in another run directory."
            ) from error

    def _show(self, bar, record):
        shown = {
            "loss": f"{record['train/loss']:.3f}",
            "images/s": f"{record['train/images_per_second']:.0f}",
        }
        if "train/data_wait" in record:
            shown["wait"] = f"{record['train/data_wait']:.0%}"
        if self.archive.best_by == "eval/knn_top_1":
            shown["best k-NN"] = f"{self.archive.best:.1%}"
        elif self.archive.best_by is not None:
            shown["best rank"] = f"{self.archive.best:.1f}"
        bar.set_postfix(shown, refresh=False)
