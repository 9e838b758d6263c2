"""Methods that learn beside a target, a slow moving average of their own network."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from selfsup_tf.methods.method import Method
from selfsup_tf.models.ema import target_tau, update_target


class MomentumMethod(Method):
    """A method with an online network, which learns, and a target, which follows it.

    Its config says how fast: base_tau, and final_tau, where it has one, to which tau
    rises; 1 without.
    """

    log_names = ("train/tau",)

    def follow(
        self, online: Sequence[keras.Model], target: Sequence[keras.Model]
    ) -> None:
        """Starts the networks of the target as copies of the online ones; in `build`.

        BYOL's reference starts its target from another random key, and most other
        implementations copy.
        """
        self.online, self.target = [], []
        for ours, theirs in zip(online, target, strict=True):
            theirs.set_weights(ours.get_weights())
            self.online += ours.trainable_variables
            self.target += theirs.trainable_variables

    @property
    def trainable_variables(self):
        """The online network's and, after them, those of what follows on it.

        The target's layers stay trainable as Keras means it, since a frozen BatchNorm
        would stop using the statistics of its batch.
        """
        known = {id(variable) for variable in (*self.online, *self.target)}
        further = [v for v in self.model.trainable_variables if id(v) not in known]
        return self.online + further

    def after_update(self, step, plan, outputs):
        """Moves the target towards the online network, parameters only."""
        final = getattr(self.config, "final_tau", 1.0)
        base, dtype = self.config.base_tau, self.target[0].dtype
        tau = target_tau(step, plan.total_steps, base, final, dtype=dtype)
        update_target(self.target, self.online, tau)
        return {"train/tau": tf.cast(tau, tf.float32)}
