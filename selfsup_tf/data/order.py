"""The order in which images are read, a pure function of a seed and an epoch."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

Count = int | tf.Tensor
"""An int, or an int64 scalar inside a tf.data function."""

_SPLIT_EPOCH = -1  # epochs count from 0, so a split shares its order with none of them


@dataclasses.dataclass(frozen=True)
class Share:
    """The part of a shuffled source that one worker reads.

    Of every `every` elements in their shuffled order it is the `count` from `first` on;
    what fills no `every` is left out.
    """

    first: int
    count: int
    every: int

    def size(self, elements: Count) -> Count:
        """The number of its own elements among so many."""
        return elements // self.every * self.count

    def positions(self, numbers: tf.Tensor) -> tf.Tensor:
        """The positions among all elements of its own elements number 0, 1, ..."""
        return numbers // self.count * self.every + self.first + numbers % self.count

    def contains(self, positions: tf.Tensor) -> tf.Tensor:
        """Whether the elements at these positions are its own."""
        place = positions % self.every
        return (place >= self.first) & (place < self.first + self.count)


ALL = Share(first=0, count=1, every=1)


def permutation(size: int, seed: int) -> np.ndarray:
    """The numbers 0 to size - 1, int64 (size,), in an order that follows from seed."""
    if not size:
        return np.zeros(0, np.int64)
    positions = tf.range(size, dtype=tf.int64)
    return shuffle(positions, size, (seed, _SPLIT_EPOCH)).numpy()


def shuffle(positions: tf.Tensor, size: int, key: tuple[int, Count]) -> tf.Tensor:
    """The elements at these positions, int64 (B,), of a shuffled range of `size`."""
    size = tf.constant(size, tf.int64)
    return tf.random.experimental.index_shuffle(positions, seed_pair(*key), size - 1)


def seed_pair(seed: int, epoch: Count) -> tf.Tensor:
    """Seed and epoch as TensorFlow's stateless ops take them, int64 (2,)."""
    return tf.stack([tf.constant(seed % 2**63, tf.int64), tf.cast(epoch, tf.int64)])


def on_host(values: Any, dtype: tf.DType) -> tf.Tensor:
    """A tensor in the host's memory; a graph refers to it and does not contain it."""
    with tf.init_scope(), tf.device("/CPU:0"):
        return tf.constant(values, dtype)


def counted(dataset: tf.data.Dataset, size: Count) -> tf.data.Dataset:
    """The dataset with its length set to `size`."""
    size = tf.maximum(tf.cast(size, tf.int64), 0)
    return dataset.apply(tf.data.experimental.assert_cardinality(size))
