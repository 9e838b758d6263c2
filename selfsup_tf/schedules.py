"""Learning rates of the papers for any Keras optimizer."""

from selfsup_tf.training.schedules import WarmupCosine

__all__ = ["WarmupCosine"]
