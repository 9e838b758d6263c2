"""The exponential moving average by which a target follows an online network."""

import math
from collections.abc import Sequence

import keras
import tensorflow as tf


def target_tau(
    step: tf.Tensor,
    total_steps: int,
    base_tau: float,
    final_tau: float = 1.0,
    *,
    dtype: str = "float32",
) -> tf.Tensor:
    """The target's decay final - (final - base) (cos(pi k / K) + 1) / 2.

    Args:
        step: Updates done before this one, k.
        total_steps: Length of the run, K.
        base_tau: tau at the start.
        final_tau: tau at the end, 1 in the paper.
        dtype: What it computes in: that of the target's variables.

    Reference: Grill et al. 2020, "Bootstrap your own latent", section 3.3.
    """
    share = tf.cast(step, dtype) / total_steps
    rise = (final_tau - base_tau) * (tf.cos(math.pi * share) + 1.0) / 2.0
    return final_tau - rise


def update_target(
    target: Sequence[keras.Variable], online: Sequence[keras.Variable], tau: tf.Tensor
) -> None:
    """Moves the target to target + (1 - tau) (online - target), variable by variable.

    Belongs inside a `tf.function` and outside `strategy.run`. Every device updates its
    own copy from its own copies; nothing travels between them.
    """
    extended = tf.distribute.get_strategy().extended

    def move(theirs, ours, tau):
        theirs.assign(theirs + tf.cast(1.0 - tau, theirs.dtype) * (ours - theirs))

    for theirs, ours in zip(target, online, strict=True):
        extended.update(theirs.value, move, args=(ours.value, tau))
