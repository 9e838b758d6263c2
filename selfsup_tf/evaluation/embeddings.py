"""Writes the representations of any number of images to a file, batch by batch.

Legend: N images, B images of a batch, D length of the representation h.
"""

import contextlib
import dataclasses
import pathlib
import shlex
import tempfile
import zipfile
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pyarrow
import pyarrow.parquet
import tqdm

from selfsup_tf.data.sources import Source, open_source
from selfsup_tf.data.stored_vectors import readable
from selfsup_tf.errors import check
from selfsup_tf.evaluation.features import (
    compile_network,
    encoded_batches,
    image_size,
)
from selfsup_tf.evaluation.vectors import unit_vectors
from selfsup_tf.files import whole_file

VECTORS, INDEX, LABEL = "vectors", "index", "label"
CLASS_NAME, PATH = "class_name", "path"

Rows = dict[str, np.ndarray]


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
    columns, `vectors` one of lists of D, with a row group for each batch. No more than
    a few batches are in memory at a time.

    Args:
        encoder: float32 [0, 1] (N, S, S, 3) -> h (N, D).
        source: Anything `open_source` takes.
        output: The file to write, whole or not at all: .npz or .parquet.
        batch_size: B.
        normalise: Whether vectors are divided by their length, so that products of them
            are cosines; those of length 0 stay.
        overwrite: Whether a file that is there is replaced.

    Raises:
        InputError: The output can't be written, a vector is not finite, or the source
            holds another number of images than it says; nothing is left then.
    """
    output = pathlib.Path(output).expanduser()
    _check_output(output, overwrite)
    check(batch_size >= 1, "batch_size of 1 or more", batch_size, "Raise it.")
    source = open_source(source)
    check(source.size > 0, "at least one image", f"none in {source.name}", "Add some.")
    count = 0
    size = encoder.output_shape[-1]
    make_writer, columns = WRITERS[output.suffix.lower()], _columns(source, size)
    with (
        whole_file(output) as beside,
        tqdm.tqdm(total=source.size, unit="image", disable=None) as bar,
        make_writer(beside, source.size, columns) as writer,
    ):
        for rows in _encode(encoder, source, batch_size, normalise):
            writer.write(rows)
            bar.update(len(rows[INDEX]))
            count += len(rows[INDEX])
        # Before the file is closed: an .npz has said at its top how many follow.
        check(
            count == source.size,
            f"the {source.size} images that {source.name} says it has",
            f"{count} of them",
            "They have changed since they were counted; start again.",
        )
    return EmbeddingsFile(output, count, size)


def _check_output(output, overwrite):
    such = output / "vectors.npz" if output.is_dir() else "a.npz"
    check(
        not output.is_dir() and output.suffix.lower() in WRITERS,
        f"a file that ends in {' or '.join(WRITERS)}",
        f"the directory {output}" if output.is_dir() else str(output),
        f"Such as --output={shlex.quote(str(such))}",
    )
    check(
        overwrite or not output.exists(),
        "a new file to write",
        f"{output}, which is there",
        "Name another, or add --overwrite=True.",
    )


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


class _NpzWriter:
    """An .npz, which np.load reads, filled row by row.

    A zip takes one entry at a time, so the vectors go straight into it, and the narrow
    columns wait in temporary files.
    """

    def __init__(self, path: pathlib.Path, count: int, columns: dict[str, np.dtype]):
        self._count, self._columns = count, columns
        self._stack = contextlib.ExitStack()
        self._archive = self._stack.enter_context(zipfile.ZipFile(path, "w"))
        self._waiting = {}
        for name in list(columns)[1:]:
            file = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115, on the stack
            self._waiting[name] = self._stack.enter_context(file)
        self._vectors = self._stack.enter_context(self._open(VECTORS))

    def __enter__(self) -> "_NpzWriter":
        return self

    def write(self, rows: Rows) -> None:
        """Appends the rows of a batch."""
        self._vectors.write(np.ascontiguousarray(rows[VECTORS]).data)
        for name, file in self._waiting.items():
            file.write(rows[name].astype(self._columns[name]).tobytes())

    def __exit__(self, kind, *_) -> None:
        with self._stack:
            self._vectors.close()
            if kind is not None:
                return
            for name, file in self._waiting.items():
                file.seek(0)
                with self._open(name) as entry:
                    while block := file.read(2**20):
                        entry.write(block)

    @contextlib.contextmanager
    def _open(self, name):
        """An entry of the archive, its header written."""
        entry = zipfile.ZipInfo(f"{name}.npy")
        if name != VECTORS:
            entry.compress_type = zipfile.ZIP_DEFLATED  # strings are mostly zeros
        dtype = self._columns[name]
        header = {
            "descr": np.lib.format.dtype_to_descr(dtype.base),
            "fortran_order": False,
            "shape": (self._count, *dtype.shape),
        }
        with self._archive.open(entry, "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(file, header)
            yield file


class _ParquetWriter:
    """A Parquet file, with a row group for each batch."""

    def __init__(self, path: pathlib.Path, count: int, columns: dict[str, np.dtype]):
        self._schema = pyarrow.schema(
            [(name, _arrow_type(dtype)) for name, dtype in columns.items()]
        )
        self._writer = pyarrow.parquet.ParquetWriter(
            path, self._schema, use_dictionary=[CLASS_NAME]
        )

    def __enter__(self) -> "_ParquetWriter":
        return self

    def write(self, rows: Rows) -> None:
        """Appends the rows of a batch."""
        arrays = []
        for field in self._schema:
            values = rows[field.name]
            if values.ndim == 2:
                flat = pyarrow.array(values.ravel())
                array = pyarrow.FixedSizeListArray.from_arrays(flat, values.shape[1])
            else:
                array = pyarrow.array(values, field.type)
            arrays.append(array)
        batch = pyarrow.record_batch(arrays, schema=self._schema)
        self._writer.write_batch(batch)

    def __exit__(self, *_) -> None:
        self._writer.close()


def _arrow_type(dtype):
    if dtype.shape:
        return pyarrow.list_(pyarrow.float32(), dtype.shape[0])
    return pyarrow.string() if dtype.kind == "U" else pyarrow.from_numpy_dtype(dtype)


WRITERS = {".npz": _NpzWriter, ".parquet": _ParquetWriter}
