"""A queue of vectors of past images, to compare those of a batch with."""

import keras
import tensorflow as tf


def new_queue(size: int, dimension: int, *, dtype: str, seed: int) -> keras.Variable:
    """A queue (size, dimension) of random vectors of length 1, to be pushed out.

    Reference: He et al. 2020, "Momentum contrast", section 3.2.
    """
    vectors = keras.random.normal((size, dimension), dtype=dtype, seed=seed)
    vectors = tf.math.l2_normalize(vectors, axis=1)
    return keras.Variable(vectors, trainable=False, dtype=dtype, name="queue")


def push(queue: keras.Variable, vectors: tf.Tensor) -> None:
    """Puts vectors (N, dimension), normalised here, in the place of the oldest."""
    new = tf.math.l2_normalize(tf.cast(vectors, queue.dtype), axis=1)
    queue.assign(tf.concat([new, queue.value], axis=0)[: queue.shape[0]])
