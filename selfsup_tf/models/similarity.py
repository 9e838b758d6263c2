"""Cosines between the outputs of two branches."""

import math
from typing import Any

import tensorflow as tf

from selfsup_tf.errors import check, check_pair


def check_temperature(temperature: Any) -> None:
    """Raises InputError unless it is above 0 and finite, where its value is known."""
    check(
        not isinstance(temperature, int | float) or 0 < temperature < math.inf,
        "a temperature above 0 and finite",
        temperature,
        "Values between 0.05 and 1 are usual.",
    )


def loss_dtype(values: tf.Tensor) -> tf.DType:
    """What a loss of these outputs computes in: float32, or float64 of float64."""
    return tf.float64 if values.dtype == tf.float64 else tf.float32


def cosine_to_fixed(values: tf.Tensor, fixed: tf.Tensor) -> tf.Tensor:
    """The cosine of each row with that of `fixed`, which no gradient flows into.

    Args:
        values: (N, P), float; normalised here.
        fixed: (N, P), of the same images.

    Returns:
        (N,) float32 in [-1, 1] (float64 for float64 values).

    Raises:
        InputError: The shapes differ.
    """
    check_pair(values, fixed)
    dtype = loss_dtype(values)
    one = tf.math.l2_normalize(tf.cast(values, dtype), axis=1)
    other = tf.math.l2_normalize(tf.cast(fixed, dtype), axis=1)
    return tf.reduce_sum(one * tf.stop_gradient(other), axis=1)
