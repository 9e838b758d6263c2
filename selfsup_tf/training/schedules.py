"""How the learning rate changes over a run."""

import math

import keras
import tensorflow as tf


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
