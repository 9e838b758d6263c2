"""How the learning rate, and what else has a schedule, changes over a run."""

import math
from collections.abc import Callable

import keras
import tensorflow as tf

from selfsup_tf.config import Plan, fitting_warmup


@keras.saving.register_keras_serializable(package="selfsup_tf")
class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """A linear rise from 0, then half a cosine down to 0, or a constant.

    Args:
        peak: The rate after the warm-up.
        warmup_steps: Steps of the warm-up; the first has a rate of 0.
        total_steps: Length of the run, warm-up included.
        decay: Whether the rate falls after the warm-up.
        dtype: What it computes in: "float32", which every accelerator takes, or
            "float64", for proofs.

    Reference: google-research/simclr, tf2/model.py; deepmind-research,
        byol/utils/schedules.py.
    """

    def __init__(
        self,
        peak: float,
        *,
        warmup_steps: int,
        total_steps: int,
        decay: bool = True,
        dtype: str = "float32",
    ):
        self.peak = peak
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.decay = decay
        self.dtype = dtype

    def __call__(self, step):
        """The rate of the update that comes after `step` updates, a scalar."""
        step = tf.cast(step, self.dtype)
        after = tf.ones((), self.dtype)
        if self.decay:
            length = max(1, self.total_steps - self.warmup_steps)
            share = tf.clip_by_value((step - self.warmup_steps) / length, 0.0, 1.0)
            after = (tf.cos(math.pi * share) + 1.0) / 2.0
        if self.warmup_steps:
            after = tf.where(step < self.warmup_steps, step / self.warmup_steps, after)
        return self.peak * after

    def get_config(self):
        """The arguments of the constructor."""
        return {
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "total_steps": self.total_steps,
            "decay": self.decay,
            "dtype": self.dtype,
        }


def late(rate: Callable, epochs: float, plan: Plan) -> Callable:
    """The rate, but 0 in the first epochs: for variables that start as they are.

    In a run that would end within them it is 0 for a tenth, as with a warm-up.
    """
    steps = round(fitting_warmup(epochs * plan.steps_per_epoch, plan.total_steps))

    def after(step):
        usual = tf.convert_to_tensor(rate(step))
        return tf.where(step < steps, tf.zeros_like(usual), usual)

    return after


def stair(
    epoch: tf.Tensor | int,
    epochs: int,
    start: float,
    end: float,
    *,
    dtype: str = "float32",
) -> tf.Tensor:
    """A value that goes from one to another by equal steps between epochs.

    It is `start` in epoch 0, and `end` from the last of `epochs` on and where these are
    0: facebookresearch/dino, main_dino.py, DINOLoss (numpy.linspace).
    """
    share = tf.cast(epoch, dtype) / max(epochs - 1, 1)
    share = tf.minimum(share, 1.0) if epochs else tf.ones_like(share)
    return start + (end - start) * share
