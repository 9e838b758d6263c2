"""A learning-rate range test: which rate to begin with, from a few steps.

Reference: Smith 2017, "Cyclical learning rates for training neural networks", section
3.3.
"""

import dataclasses
import logging
import math
import pathlib

import keras
import numpy as np

from selfsup_tf.config import make_plan
from selfsup_tf.data.sources import Source
from selfsup_tf.data.views import check_views
from selfsup_tf.distribution.strategy import check_devices, connect, is_chief
from selfsup_tf.distribution.workers import check_same_images, watched_workers
from selfsup_tf.errors import check
from selfsup_tf.files import check_writable, write_json
from selfsup_tf.methods import Method
from selfsup_tf.run import RunDirectory
from selfsup_tf.training.beginning import check_place
from selfsup_tf.training.compilation import call_steps
from selfsup_tf.training.fitting import fit_to_images
from selfsup_tf.training.lr_curve import LearningRates, read_curve, say_diverged
from selfsup_tf.training.reporting import progress_bar
from selfsup_tf.training.step import build, distributed_batches, make_train_steps

logger = logging.getLogger("selfsup_tf")

LEAST_STEPS = 10

_NOT_FINITE = "the loss or its gradient is not finite"


def lr_find(
    method: Method,
    source: Source,
    *,
    path: str | pathlib.Path | None = None,
    lowest: float = 1e-4,
    highest: float = 10.0,
    steps: int = 200,
) -> LearningRates:
    """Trains for a few steps while the rate rises exponentially, and looks at the loss.

    The steps are those of the run that the config describes: its seed, its first
    images in its order, its optimizer, strategy and precision, without the warm-up. The
    method is worn out afterwards: make another one to train. Every worker of a run
    calls it with the same arguments.

    Args:
        method: Holds the config; is built here.
        source: The images that the run would learn from.
        path: A directory for lr_find.json and lr_find.png, such as that of the run to
            come; None writes nothing.
        lowest: The first rate, per 256 images.
        highest: The last one.
        steps: Updates, unless the loss diverges before.

    Raises:
        InputError: The arguments make no sense, the config, the data and the devices
            do not fit together, or the directory holds other files than a run's.
    """
    check(
        0 < lowest < highest < math.inf,
        "a lowest rate above 0 and a highest above it",
        f"lowest={lowest}, highest={highest}",
        "The defaults, 0.0001 and 10, suit most optimizers.",
    )
    check(
        steps >= LEAST_STEPS,
        f"steps of {LEAST_STEPS} or more, to see a curve",
        steps,
        "200 are enough.",
    )
    config = method.config
    strategy = connect(config)
    check_views(config.drawn_views, source.channels)
    if path is not None and is_chief(strategy):
        run = RunDirectory(path)
        if not run.config.exists():
            check_place(run)
        check_writable(path)
    source = method.prepare(source)
    config = fit_to_images(method, source, strategy)
    # A base rate of 1 without warm-up: the plan's rate is then the batch's scale.
    unscaled = dataclasses.replace(
        config.optimizer, learning_rate=1.0, warmup_epochs=0.0
    )
    plan = make_plan(dataclasses.replace(config, optimizer=unscaled), source.size)
    scale = plan.learning_rate
    # What else follows a schedule, such as BYOL's tau, takes that of the run.
    plan = dataclasses.replace(plan, total_steps=max(steps, plan.total_steps))
    check_devices(config, strategy)
    logger.info(
        "A range test of %s on %s: %d steps of %d images, rates from %.3g to %.3g.",
        *(type(method).__name__, source.name, steps, config.batch_size),
        *(lowest, highest),
    )
    # Rising, since its "decay" is above 1.
    rate = keras.optimizers.schedules.ExponentialDecay(
        lowest * scale, steps - 1, highest / lowest
    )
    with watched_workers(strategy):
        check_same_images(strategy, source.size)
        keras.utils.set_random_seed(config.seed)
        taken, losses, reason = _sweep(method, source, plan, rate, steps, strategy)
    rates = lowest * (highest / lowest) ** (np.array(taken) / (steps - 1))
    result = read_curve(rates, losses, steps=steps, reason=reason)
    if path is not None and is_chief(strategy):
        write_json(run.rate_test, result.to_dict())
        result.draw(run.rate_curve)
    return result


def _sweep(method, source, plan, rate, steps, strategy):
    """Updates done before each step, the finite losses, and why there are no more."""
    config = method.config
    scaled = config.precision == "mixed_float16"
    with strategy.scope():
        optimizer = build(method, plan, rate)
        train_steps = make_train_steps(method, optimizer, plan)
    batches = distributed_batches(strategy, source, method, plan)
    inner = optimizer.inner_optimizer if scaled else optimizer
    taken, losses = [], []
    with progress_bar(steps, shown=is_chief(strategy)) as bar:
        while len(taken) < steps:
            # A step that an overflow of float16 skips does not raise the rate.
            count = 1 if scaled else min(config.steps_per_call, steps - len(taken))
            done = int(inner.iterations.numpy())
            values = call_steps(
                train_steps,
                batches,
                len(taken),
                count,
                method=method,
                strategy=strategy,
            )
            bar.update(count)
            for i in range(count):
                taken.append(done + i)
                loss, finite = values["train/loss"][i], values["finite"][i] >= 1
                if np.isfinite(loss):
                    losses.append(float(loss))
                reason = say_diverged(losses, steps=steps) if finite else _NOT_FINITE
                if reason:
                    return taken, losses, reason
    return taken, losses, None
