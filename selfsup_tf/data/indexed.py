"""A source whose images can be looked up in any order."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from selfsup_tf.data.lost import Lost
from selfsup_tf.data.order import ALL, Count, Share, counted, on_host, shuffle
from selfsup_tf.data.source import Source, fingerprint


class IndexedSource(Source):
    """A source whose images are looked up by their index, in any order, at equal cost.

    Args:
        name: For logs.
        total: N, the number of images.
        images_at: From indices, int64 (B,), to images, uint8 (B, H, W, C); where there
            is no block, from one index, int64 (), to (H, W, C).
        identify: From indices to a fingerprint of these images and their labels.
        labels: int64 (N,), or None.
        class_names: Of the labels.
        channels: C.
        image_shape: (H, W, C) where all images have one size, else None.
        block: B; None where an image is looked up by itself.
        paths: The files of all N images, if they have any.
        skipped: Unusable files, which are not among the paths.
        notes: What there is to say of the images.
        digest: Gives `contents`.
        lost: Knows of images that can't be read any longer; None where that can't be.
        files: See `Source.files`.
        reopen: From `files` of an earlier time to the source as it was.
    """

    def __init__(
        self,
        name: str,
        total: int,
        images_at: Callable[[tf.Tensor], tf.Tensor],
        identify: Callable[[np.ndarray], str],
        *,
        labels: np.ndarray | None,
        class_names: tuple[str, ...] | None,
        channels: int = 3,
        image_shape: tuple[int, int, int] | None,
        block: int | None = None,
        paths: Sequence[str] | None = None,
        skipped: tuple[str, ...] = (),
        notes: tuple[str, ...] = (),
        digest: Callable[[], str] | None = None,
        lost: Lost | None = None,
        files: dict[str, Any] | None = None,
        reopen: Callable[[dict[str, Any]], Source] | None = None,
    ):
        self._lost, self._files, self._reopen = lost, files, reopen
        self._images_at, self._identify = images_at, identify
        self._digest = digest
        self._all_labels, self._class_names = labels, class_names
        self._block, self._all_paths = block, paths
        self.name, self.indices = name, np.arange(total)
        self.labelled = labels is not None
        self.channels, self.image_shape = channels, image_shape
        self._skipped, self.notes = skipped, notes

    @property
    def class_names(self) -> tuple[str, ...] | None:
        return self._class_names if self.labelled else None

    @property
    def labels(self) -> np.ndarray | None:
        return self._all_labels[self.indices] if self.labelled else None

    @property
    def paths(self) -> tuple[str, ...] | None:
        if self._all_paths is None:
            return None
        return tuple(self._all_paths[index] for index in self.indices)

    @property
    def skipped(self) -> tuple[str, ...]:
        return self._skipped + (self._lost.lines() if self._lost else ())

    @property
    def fingerprint(self) -> str:
        found = self._identify(self.indices)
        put_aside = self._all_labels is not None and self.labels_put_aside
        return fingerprint(found, "without labels") if put_aside else found

    @property
    def contents(self) -> str | None:
        return self._digest and self._digest()

    @property
    def files(self) -> dict[str, Any] | None:
        return self._files

    def as_begun(self, files: dict[str, Any] | None) -> Source:
        if files is None or self._reopen is None or files == self._files:
            return self
        begun = self._reopen(files)
        return begun.without_labels() if self.labels_put_aside else begun

    def check_readable(self, *, look: bool = False) -> int:
        if self._lost is None:
            return 0
        self._lost.check(look=look)
        return len(self._lost.lines())

    def ordered(self, *, labels: bool = True) -> tf.data.Dataset:
        return self._read(labels)

    def shuffled(
        self,
        *,
        seed: int,
        epoch: Count,
        start: Count = 0,
        labels: bool = True,
        share: Share = ALL,
    ) -> tf.data.Dataset:
        """See `Source.shuffled`. What is left out costs nothing."""
        return self._read(labels, key=(seed, epoch), start=start, share=share)

    def _read(
        self,
        labels: bool,
        *,
        key: tuple[int, Count] | None = None,
        start: Count = 0,
        share: Share = ALL,
    ) -> tf.data.Dataset:
        """Reads the indices in the order of `key`, (seed, epoch), or as they are."""
        table = on_host(self.indices, tf.int64)
        label_table = None
        if labels and self.labelled:
            label_table = on_host(self._all_labels, tf.int64)

        def find(positions: tf.Tensor) -> tf.Tensor:
            positions = start + share.positions(positions)
            positions %= len(self.indices)  # beyond the end only where some are lost
            if key is not None:
                positions = shuffle(positions, len(self.indices), key)
            return tf.gather(table, positions)

        def look_up(indices: tf.Tensor) -> dict[str, tf.Tensor]:
            element = {"image": self._images_at(indices), "index": indices}
            if label_table is not None:
                element["label"] = tf.gather(label_table, indices)
            return element

        size = share.size(self.size - start)
        if self._lost is not None:
            # What follows the last costs nothing where none of them is lost.
            numbers = tf.data.Dataset.range(2 * size).batch(256)
            numbered = numbers.map(lambda n: (n, find(n))).unbatch()
            elements = numbered.map(
                lambda number, index: (number, look_up(index)),
                num_parallel_calls=tf.data.AUTOTUNE,
            )
            return counted(self._lost.fill(elements, size, find), size)
        # In blocks, since ops cost more than what they do for an index.
        elements = tf.data.Dataset.range(size).batch(self._block or 256).map(find)
        if self._block is None:
            elements = elements.unbatch()
        elements = elements.map(look_up, num_parallel_calls=tf.data.AUTOTUNE)
        if self._block is not None:
            elements = elements.unbatch()
        return counted(elements, size)
