"""Images that could be read when a source was opened, and can't be any longer."""

import os
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from selfsup_tf.data.decode import describe_error
from selfsup_tf.data.order import Count
from selfsup_tf.data.source import Source
from selfsup_tf.errors import InputError, check

_OF_FILES = re.compile(
    r"(?i)decod|invalid (jpeg|png|gif|bmp)|image (file )?format|no such file"
    r"|could not parse example|feature: image\b"
)
"""What TensorFlow says of images that are gone, or that it can't read."""
MAX_BAD_SHARE = 0.05  # beyond, something is wrong with the folder rather than a file


def check_read(error: tf.errors.OpError, source: Source) -> None:
    """Raises InputError where an error says that stored images can't be read.

    Such as a damaged file of prepared or TFDS data, or one that is gone.
    """
    said = describe_error(error)
    if isinstance(error, tf.errors.DataLossError) or _OF_FILES.search(said):
        raise InputError(
            f"images of {source.name} that can be read",
            said,
            "Bring them back, or prepare them again; what the run had kept is safe, "
            "and the same command goes on from there.",
        ) from error


class Lost:
    """Fills the places of images that can't be read, and knows which they are.

    Nothing of Python runs while images are read, so a table holds the indices.

    Args:
        paths: The file of every image of the source.
        why: From a path to the reason why it can't be read, in a few words.
        indices: Of those that are known to be lost from the start.
    """

    def __init__(
        self,
        paths: Sequence[str],
        why: Callable[[str], str],
        indices: Sequence[int] = (),
    ):
        self._paths, self._why = paths, why
        self._reasons: dict[int, str] = {}
        with tf.device("/CPU:0"):
            self._table = tf.lookup.experimental.MutableHashTable(
                tf.int64, tf.int64, default_value=0
            )
            self._note(tf.constant(np.array(indices, np.int64)))

    def _note(self, indices: tf.Tensor) -> tf.Operation:
        return self._table.insert(indices, tf.ones_like(indices))

    def lines(self) -> tuple[str, ...]:
        """The images that have been missed so far, each as "path: reason"."""
        for index in self._table.export()[0].numpy().tolist():
            if index not in self._reasons:
                self._reasons[index] = self._why(self._paths[index])
        return tuple(
            f"{self._paths[index]}: {reason}"
            for index, reason in sorted(self._reasons.items())
        )

    def check(self, *, look: bool = False) -> None:
        """Raises InputError where so many are lost that it is no matter of a few files.

        Args:
            look: Whether to look for every file first, after reading has failed.
        """
        if look:
            gone = [i for i, path in enumerate(self._paths) if not os.path.exists(path)]
            self._note(tf.constant(np.array(gone, np.int64)))
        lines, total = self.lines(), len(self._paths)
        check(
            len(lines) <= MAX_BAD_SHARE * total,
            f"the {total} images that there were at the start",
            f"{len(lines)} that can't be read any longer ({'; '.join(lines[:3])})",
            "Bring them back; the same command goes on. Up to 5 % would be skipped.",
        )

    def fill(
        self,
        elements: tf.data.Dataset,
        size: Count,
        index_of: Callable[[tf.Tensor], tf.Tensor],
    ) -> tf.data.Dataset:
        """Of numbered elements some of which raise, the first `size`, whole again.

        The next good element of the order stands in the place of one that raises, too.
        What comes before doesn't matter, so that a run that resumes gets the same.

        Args:
            elements: (number, element), numbers rising by 1 from 0 to beyond `size`,
                so that something follows the last.
            size: How many elements are wanted.
            index_of: From numbers, int64 (B,), to indices.
        """
        size = tf.cast(size, tf.int64)

        def fill_before(
            expected: tf.Tensor, numbered: tuple[tf.Tensor, Any]
        ) -> tuple[tf.Tensor, Any]:
            number, element = numbered
            missed = tf.range(expected, tf.minimum(number, size))
            with tf.control_dependencies([self._note_any(missed, index_of)]):
                count = tf.maximum(tf.minimum(number + 1, size) - expected, 0)
            filled = tf.nest.map_structure(
                lambda values: tf.repeat(values[tf.newaxis], count, axis=0), element
            )
            return number + 1, filled

        elements = elements.ignore_errors()
        return elements.scan(tf.constant(0, tf.int64), fill_before).unbatch().take(size)

    def _note_any(self, numbers, index_of):
        def note():
            with tf.control_dependencies([self._note(index_of(numbers))]):
                return tf.constant(True)

        return tf.cond(tf.size(numbers) > 0, note, lambda: tf.constant(False))
