"""What every source of images has in common."""

import abc
import dataclasses
import hashlib
from typing import Any

import numpy as np
import tensorflow as tf

from selfsup_tf.errors import check

Count = int | tf.Tensor
"""A number, or inside a tf.data function an int64 scalar."""

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
        """How many of so many elements are its own."""
        return elements // self.every * self.count

    def positions(self, numbers: tf.Tensor) -> tf.Tensor:
        """Where its own elements number 0, 1, ... lie among all."""
        return numbers // self.count * self.every + self.first + numbers % self.count

    def contains(self, positions: tf.Tensor) -> tf.Tensor:
        """Whether the elements at these positions are its own."""
        place = positions % self.every
        return (place >= self.first) & (place < self.first + self.count)


class Source(abc.ABC):
    """Images that can be read in order, in a shuffled order, and in parts.

    An element of its datasets is
    `{"image": uint8 (H, W, 3), "label": int64 (), "index": int64 ()}`; "label" is there
    only where the source is labelled and labels are asked for. The index is the
    position of an element in the whole source, and stays with it in a part of it.

    Attributes:
        name: For logs, such as "cifar10:train".
        indices: int64 (size,), rising: the indices of the elements.
        labelled: Whether elements have labels; costs nothing to ask.
        class_names: The names of labels 0, 1, ...; None where there are no labels.
        image_shape: (H, W, 3) where all images have one size, else None.
        skipped: The unusable files, each as "path: reason".
        streamed: Whether it is read from one end to the other for any part of it.
    """

    name: str
    indices: np.ndarray
    labelled: bool
    image_shape: tuple[int, int, int] | None
    skipped: tuple[str, ...] = ()
    streamed: bool = False

    @property
    def size(self) -> int:
        """Number of images."""
        return len(self.indices)

    @property
    @abc.abstractmethod
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the classes, or None. May take a pass over a streamed source."""

    @property
    @abc.abstractmethod
    def labels(self) -> np.ndarray | None:
        """Labels, int64 (size,), in the order of the indices; None where unlabelled.

        May take a pass over a streamed source, once.
        """

    @property
    def paths(self) -> tuple[str, ...] | None:
        """The file of each image, in the order of the indices; None without files."""
        return None

    @property
    def fingerprint(self) -> str | None:
        """Tells these images and labels from all others; None where nothing can.

        Equal fingerprints stand for equal elements, in other processes too.
        """
        return None

    @abc.abstractmethod
    def ordered(self, *, labels: bool = True) -> tf.data.Dataset:
        """Each element once, in the order of the indices.

        Args:
            labels: Whether the labels are read.
        """

    @abc.abstractmethod
    def shuffled(
        self,
        *,
        seed: int,
        epoch: Count,
        start: Count = 0,
        labels: bool = True,
        share: Share | None = None,
    ) -> tf.data.Dataset:
        """Each element once, in an order that is a pure function of (seed, epoch).

        Args:
            seed: Of the run.
            epoch: Counts from 0; an int64 scalar tensor inside tf.data.
            start: How many elements at the beginning are left out, when a run resumes.
            labels: Whether the labels are read.
            share: The part, counted from `start`, that is read; None for all.
        """

    @abc.abstractmethod
    def select(self, indices: np.ndarray, name: str) -> "Source":
        """The part of this source with these indices, under a name of its own.

        Args:
            indices: int64 (M,), rising, all among the source's own.
            name: For logs.
        """

    def split(self, held_out: int, *, seed: int = 0) -> tuple["Source", "Source"]:
        """The source without `held_out` random images, and those images.

        Args:
            held_out: How many; below the source's size.
            seed: Chooses which.

        Raises:
            InputError: As many images are held out as there are, or more.
        """
        check(
            0 <= held_out < self.size,
            f"fewer images held out than the {self.size} of {self.name}",
            held_out,
            "Lower --held_out, so that images remain to learn from.",
        )
        order = permutation(self.size, seed)
        rest = self.select(np.sort(self.indices[order[held_out:]]), f"{self.name}:rest")
        part = self.select(
            np.sort(self.indices[order[:held_out]]), f"{self.name}:held_out"
        )
        return rest, part


def fingerprint(*parts: Any) -> str:
    """The SHA-256 of arrays, by their bytes, and of strings and numbers."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype} {part.shape};".encode())
            digest.update(np.ascontiguousarray(part).data)
        else:
            digest.update(f"{part!r};".encode())
    return digest.hexdigest()


def permutation(size: int, seed: int) -> np.ndarray:
    """The numbers 0 to size - 1, int64 (size,), in an order that follows from seed."""
    if not size:
        return np.zeros(0, np.int64)
    positions = tf.range(size, dtype=tf.int64)
    return _shuffle(positions, size, (seed, _SPLIT_EPOCH)).numpy()


def _shuffle(positions: tf.Tensor, size: int, key: tuple[int, Count]) -> tf.Tensor:
    """Where the elements at these positions, int64 (B,), lie before the shuffle."""
    key = tf.stack([tf.constant(key[0] % 2**63, tf.int64), tf.cast(key[1], tf.int64)])
    size = tf.constant(size, tf.int64)
    return tf.random.experimental.index_shuffle(positions, key, size - 1)


def on_host(values: Any, dtype: tf.DType) -> tf.Tensor:
    """A tensor in the host's memory that graphs refer to and none of them contains."""
    with tf.init_scope(), tf.device("/CPU:0"):
        return tf.constant(values, dtype)


def index_blocks(
    indices: np.ndarray,
    *,
    block: int = 256,
    key: tuple[int, Count] | None = None,
    start: Count = 0,
    share: Share | None = None,
) -> tf.data.Dataset:
    """The indices in blocks, int64 (B,), for sources with random access.

    Args:
        indices: int64 (size,).
        block: B; more than one, since ops cost more than what they do for an index.
        key: (seed, epoch) of the order; None for the order given.
        start: How many are left out at the beginning, at no cost.
        share: The part that is looked up; what else there is costs nothing.
    """
    size = len(indices)
    table = on_host(indices, tf.int64)

    def look_up(positions: tf.Tensor) -> tf.Tensor:
        positions = start + (share.positions(positions) if share else positions)
        if key is not None:
            positions = _shuffle(positions, size, key)
        return tf.gather(table, positions)

    return tf.data.Dataset.range(left(size, start, share)).batch(block).map(look_up)


def left(size: int, start: Count, share: Share | None) -> Count:
    """How many elements are read of `size`, from `start` on, in a share."""
    return share.size(size - start) if share else size - start


def counted(dataset: tf.data.Dataset, size: Count) -> tf.data.Dataset:
    """The dataset, with its length known to those who ask."""
    size = tf.maximum(tf.cast(size, tf.int64), 0)
    return dataset.apply(tf.data.experimental.assert_cardinality(size))
