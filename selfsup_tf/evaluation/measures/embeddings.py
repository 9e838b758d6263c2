"""Writes the representations of any number of images to a file, batch by batch.

Legend: N images, B images of a batch, D length of the representation h.
"""

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from selfsup_tf.data.sources import Source
from selfsup_tf.data.stored_vectors import readable
from selfsup_tf.errors import check
from selfsup_tf.evaluation.features import (
    compile_network,
    encoded_batches,
    image_size,
    open_images,
)
from selfsup_tf.evaluation.table_files import WRITERS, Rows, check_output, write_table
from selfsup_tf.evaluation.vectors import unit_vectors

VECTORS, INDEX, LABEL = "vectors", "index", "label"
CLASS_NAME, PATH = "class_name", "path"


@dataclasses.dataclass(frozen=True)
class EmbeddingsFile:
    """A file of vectors.

    Attributes:
        path: The file.
        count: N.
        size: D.
    """

    path: pathlib.Path
    count: int
    size: int


def embed(
    encoder: keras.Model,
    source: Any,
    output: str | pathlib.Path,
    *,
    batch_size: int = 256,
    normalise: bool = False,
    overwrite: bool = False,
) -> EmbeddingsFile:
    """Writes the representation of every image, in the source's order.

    The file holds `vectors` (N, D) float32, `index` (N,) int64, the number of an image
    in its source, and, where the source has them, `label` (N,) int64 with `class_name`
    (empty for labels below 0), and `path`. In .npz they are arrays; in .parquet
    columns, `vectors` one of lists of D, with a row group for each batch; in .csv
    columns, of which the vectors take D. No more than a few batches are in memory at a
    time.

    Args:
        encoder: float32 [0, 1] (N, S, S, 3) -> h (N, D).
        source: Anything `open_source` takes.
        output: The file to write, whole or not at all: .npz, .parquet or .csv.
        batch_size: B.
        normalise: Whether vectors are divided by their length, so that products of them
            are cosines; those of length 0 stay.
        overwrite: Whether a file that is there is replaced.

    Raises:
        InputError: The output can't be written, a vector is not finite, or the source
            holds another number of images than it says; nothing is left then.
    """
    output = pathlib.Path(output).expanduser()
    check_output(output, WRITERS, overwrite=overwrite)
    check(batch_size >= 1, "batch_size of 1 or more", batch_size, "Raise it.")
    source = open_images(encoder, source)
    check(source.size > 0, "at least one image", f"none in {source.name}", "Add some.")
    size = encoder.output_shape[-1]
    rows = _encode(encoder, source, batch_size, normalise)
    write_table(output, _columns(source, size), rows, source)
    return EmbeddingsFile(output, source.size, size)


def _encode(
    encoder: keras.Model, source: Source, batch_size: int, normalise: bool
) -> Iterator[Rows]:
    """The rows of the file, batch after batch."""
    encode, paths, first = compile_network(encoder), source.paths, 0
    names = np.array([*(source.class_names or ()), ""])
    for batch in encoded_batches(encode, source, image_size(encoder), batch_size):
        h = unit_vectors(batch["h"]) if normalise else batch["h"]
        rows = {VECTORS: h, INDEX: batch["index"]}
        if "label" in batch:
            rows[LABEL] = batch["label"]
            rows[CLASS_NAME] = names[np.maximum(rows[LABEL], -1)]
        if paths is not None:
            these = paths[first : first + len(h)]
            rows[PATH] = np.array([readable(path) for path in these])
        first += len(h)
        yield rows


def _columns(source: Source, size: int) -> dict[str, np.dtype]:
    """The type of a row in each column; strings as wide as the widest of all."""
    columns = {VECTORS: np.dtype((np.float32, (size,))), INDEX: np.dtype(np.int64)}
    if source.labelled:
        columns[LABEL] = np.dtype(np.int64)
        columns[CLASS_NAME] = np.array([*(source.class_names or ()), ""]).dtype
    if source.paths is not None:
        width = max(len(readable(path)) for path in source.paths)
        columns[PATH] = np.dtype(f"<U{width}")
    return columns
