"""A source whose images come as a stream, always in one order."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from selfsup_tf.data.order import ALL, Count, Share, counted, on_host, seed_pair
from selfsup_tf.data.source import Source, fingerprint

BUFFER_BYTES = 2**29  # of undecoded images, out of which a shuffle draws
_LEAST_BUFFER = 1024  # images: fewer would hardly be shuffled

Read = Callable[[bool, bool], tf.data.Dataset]
Decode = Callable[[tf.Tensor], tf.Tensor]


class StreamSource(Source):
    """Images that are streamed, always in one order, without random access.

    A shuffle draws from a buffer over the images before they are decoded, so images
    that are far apart in the stream stay roughly in its order.

    Args:
        name: For logs.
        read: From whether images and whether labels are wanted to a dataset of
            {"image": undecoded, "label": int64 ()} with only these keys.
        decode: From an undecoded image to uint8 (H, W, C).
        total: Number of elements that `read` gives.
        buffer: Elements in the buffer of a shuffle.
        labelled: Whether `read` can give labels.
        class_names: Of the labels; None where they follow from the labels or there
            are none.
        channels: C.
        image_shape: (H, W, C) where all images have one size, else None.
        identity: What tells the whole dataset from all others, if anything does.
        contents: See `Source.contents`.
    """

    streamed = True

    def __init__(
        self,
        name: str,
        read: Read,
        decode: Decode,
        *,
        total: int,
        buffer: int,
        labelled: bool,
        class_names: tuple[str, ...] | None = None,
        channels: int = 3,
        image_shape: tuple[int, int, int] | None = None,
        identity: str | None = None,
        contents: str | None = None,
    ):
        self._read, self._decode = read, decode
        self._total, self._buffer = total, buffer
        self._class_names, self._identity = class_names, identity
        self._contents = contents
        self._all_labels: list[np.ndarray] = []  # shared with the parts, once read
        self.name, self.indices = name, np.arange(total)
        self.labelled = labelled
        self.channels, self.image_shape = channels, image_shape

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the classes, or None. Numbers are named after a pass."""
        if self._class_names is None and self.labelled:
            count = int(self._labels_of_all().max()) + 1
            self._class_names = tuple(map(str, range(max(0, count))))
        return self._class_names if self.labelled else None

    @property
    def labels(self) -> np.ndarray | None:
        return self._labels_of_all()[self.indices] if self.labelled else None

    @property
    def fingerprint(self) -> str | None:
        if self._identity is None:
            return None
        other = [] if self.channels == 3 else [self.channels]
        return fingerprint(self._identity, self.indices, self.labelled, *other)

    @property
    def contents(self) -> str | None:
        return self._contents

    def _labels_of_all(self) -> np.ndarray:
        if not self._all_labels:
            batches = self._read(False, True).batch(1024).as_numpy_iterator()
            labels = np.concatenate([batch["label"] for batch in batches])
            self._all_labels.append(labels.astype(np.int64))
        return self._all_labels[0]

    def ordered(self, *, labels: bool = True) -> tf.data.Dataset:
        return self._decoded(self._undecoded(labels), self.size)

    def shuffled(
        self,
        *,
        seed: int,
        epoch: Count,
        start: Count = 0,
        labels: bool = True,
        share: Share = ALL,
    ) -> tf.data.Dataset:
        """See `Source.shuffled`. What is left out is read, not decoded."""
        undecoded = self._undecoded(labels)
        pair = seed_pair(seed, epoch)
        key = tf.random.stateless_uniform([], pair, 0, 2**31 - 1, tf.int64)

        def shuffle(_: tf.Tensor) -> tf.data.Dataset:
            # Within this graph, so that tf.random.set_seed outside has no say.
            tf.random.set_seed(1)
            return undecoded.shuffle(
                self._buffer, seed=key, reshuffle_each_iteration=False
            )

        shuffled = tf.data.Dataset.from_tensors(0).flat_map(shuffle)
        remaining, size = shuffled.skip(start), share.size(self.size - start)
        if share.count < share.every:
            numbered = remaining.enumerate()
            own = numbered.filter(lambda number, element: share.contains(number))
            remaining = own.map(lambda number, element: element).take(size)
        return self._decoded(remaining, size)

    def _undecoded(self, labels: bool) -> tf.data.Dataset:
        elements = self._read(True, labels and self.labelled).enumerate()
        elements = elements.map(lambda index, element: {**element, "index": index})
        if self.size == self._total:
            return elements
        chosen = np.zeros(self._total, bool)
        chosen[self.indices] = True
        chosen = on_host(chosen, tf.bool)
        return elements.filter(lambda element: tf.gather(chosen, element["index"]))

    def _decoded(self, undecoded: tf.data.Dataset, size: int) -> tf.data.Dataset:
        def decode(element: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            image = self._decode(element["image"])
            shape = self.image_shape or (None, None, self.channels)
            image = tf.ensure_shape(image, shape)
            return {**element, "image": image}

        elements = undecoded.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
        return counted(elements, size)


def buffer_size(image_bytes: float) -> int:
    """The number of images in a shuffle's buffer, for undecoded images of this size."""
    return max(_LEAST_BUFFER, int(BUFFER_BYTES / max(1.0, image_bytes)))
