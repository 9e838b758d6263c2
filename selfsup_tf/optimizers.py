"""Optimizers of the papers for any Keras program, beside those that Keras has."""

from selfsup_tf.training.lars import LARS

__all__ = ["LARS"]
