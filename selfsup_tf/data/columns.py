"""A source with numbers beside each image, such as what a teacher says of it."""

import numpy as np
import tensorflow as tf

from selfsup_tf.data.order import ALL, Count, Share, on_host
from selfsup_tf.data.source import Source


class WithColumn(Source):
    """A source whose elements have one thing more, looked up by their index.

    Args:
        source: The images.
        name: What it is called in an element.
        values: (N, ...), in the order of the source's indices.
    """

    def __init__(self, source: Source, name: str, values: np.ndarray):
        self._source, self._column, self._numbers = source, name, values
        rows = np.zeros(source.indices[-1] + 1, np.int64)
        rows[source.indices] = np.arange(source.size)
        self._rows = on_host(rows, tf.int64)
        self._values = on_host(values, tf.as_dtype(values.dtype))
        self.name, self.indices = source.name, source.indices
        self.labelled, self.image_shape = source.labelled, source.image_shape
        self.channels = source.channels
        self.notes, self.streamed = source.notes, source.streamed

    class_names = property(lambda self: self._source.class_names)
    labels = property(lambda self: self._source.labels)
    paths = property(lambda self: self._source.paths)
    fingerprint = property(lambda self: self._source.fingerprint)
    contents = property(lambda self: self._source.contents)
    files = property(lambda self: self._source.files)
    skipped = property(lambda self: self._source.skipped)

    def select(self, indices: np.ndarray, name: str) -> Source:
        rows = np.searchsorted(self.indices, indices)
        part = self._source.select(indices, name)
        return WithColumn(part, self._column, self._numbers[rows])

    def check_readable(self, *, look: bool = False) -> int:
        return self._source.check_readable(look=look)

    def _with_column(self, images: tf.data.Dataset) -> tf.data.Dataset:
        def look_up(element: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            row = tf.gather(self._rows, element["index"])
            return {**element, self._column: tf.gather(self._values, row)}

        return images.map(look_up)

    def ordered(self, *, labels: bool = True) -> tf.data.Dataset:
        return self._with_column(self._source.ordered(labels=labels))

    def shuffled(
        self,
        *,
        seed: int,
        epoch: Count,
        start: Count = 0,
        labels: bool = True,
        share: Share = ALL,
    ) -> tf.data.Dataset:
        images = self._source.shuffled(
            seed=seed, epoch=epoch, start=start, labels=labels, share=share
        )
        return self._with_column(images)
