"""Optimizers of the papers for any Keras program, beside those that Keras has."""

from selfsup_tf.training.optimizers import LARS

__all__ = ["LARS"]
