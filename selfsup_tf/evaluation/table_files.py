"""Tables on disk that are written batch by batch: .npz, .parquet and .csv.

A column is a NumPy type: of numbers, of strings as wide as the widest, or, for vectors
of D numbers, np.dtype((np.float32, (D,))).
"""

import contextlib
import csv
import pathlib
import shlex
import tempfile
import zipfile
from collections.abc import Collection, Iterable, Mapping

import numpy as np
import pyarrow
import pyarrow.parquet
import tqdm

from selfsup_tf.data.source import Source
from selfsup_tf.errors import check
from selfsup_tf.files import whole_file

Rows = dict[str, np.ndarray]


def check_output(
    output: pathlib.Path, suffixes: Collection[str], *, overwrite: bool
) -> None:
    """Raises InputError where a table can't be written, before an image is read.

    Args:
        output: The file to write.
        suffixes: What it may end in, of WRITERS.
        overwrite: Whether one that is there is replaced.
    """
    such = output / f"table{next(iter(suffixes))}" if output.is_dir() else "a.csv"
    check(
        not output.is_dir() and output.suffix.lower() in suffixes,
        f"a file that ends in {' or '.join(suffixes)}",
        f"the directory {output}" if output.is_dir() else str(output),
        f"Such as --output={shlex.quote(str(such))}",
    )
    check(
        overwrite or not output.exists(),
        "a new file to write",
        f"{output}, which is there",
        "Name another, or add --overwrite=True.",
    )


def write_table(
    output: pathlib.Path,
    columns: Mapping[str, np.dtype],
    batches: Iterable[Rows],
    source: Source,
) -> None:
    """Writes a table with a row for each image of a source, whole or not at all.

    Raises:
        InputError: The source holds another number of images than it says.
    """
    count, make_writer = 0, WRITERS[output.suffix.lower()]
    with (
        whole_file(output) as beside,
        tqdm.tqdm(total=source.size, unit="image", disable=None) as bar,
        make_writer(beside, source.size, columns) as writer,
    ):
        for rows in batches:
            writer.write(rows)
            size = len(next(iter(rows.values())))
            bar.update(size)
            count += size
        # Before the file is closed: an .npz has said at its top how many follow.
        check(
            count == source.size,
            f"the {source.size} images that {source.name} says it has",
            f"{count} of them",
            "They have changed since they were counted; start again.",
        )


class NpzWriter:
    """An .npz, which np.load reads, filled row by row.

    A zip takes one entry at a time, so the first column, of vectors, goes straight into
    it, and the narrow ones wait in temporary files.
    """

    def __init__(self, path: pathlib.Path, count: int, columns: dict[str, np.dtype]):
        self._count, self._columns = count, columns
        self._stack = contextlib.ExitStack()
        self._archive = self._stack.enter_context(zipfile.ZipFile(path, "w"))
        self._waiting = {}
        for name in list(columns)[1:]:
            file = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115, on the stack
            self._waiting[name] = self._stack.enter_context(file)
        self._first = next(iter(columns))
        self._vectors = self._stack.enter_context(self._open(self._first))

    def __enter__(self) -> "NpzWriter":
        return self

    def write(self, rows: Rows) -> None:
        """Appends the rows of a batch."""
        self._vectors.write(np.ascontiguousarray(rows[self._first]).data)
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
        if name != self._first:
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


class ParquetWriter:
    """A Parquet file, with a row group for each batch."""

    def __init__(self, path: pathlib.Path, count: int, columns: dict[str, np.dtype]):
        del count  # which a Parquet file says at its end
        self._schema = pyarrow.schema(
            [(name, _arrow_type(dtype)) for name, dtype in columns.items()]
        )
        self._writer = pyarrow.parquet.ParquetWriter(
            path,
            self._schema,
            use_dictionary=[
                name
                for name, dtype in columns.items()
                if dtype.kind == "U" and name != "path"
            ],
        )

    def __enter__(self) -> "ParquetWriter":
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


class CsvWriter:
    """A CSV file with a head, in UTF-8; a vector takes a column for each number."""

    def __init__(self, path: pathlib.Path, count: int, columns: dict[str, np.dtype]):
        del count
        self._columns = columns
        self._file = open(path, "w", encoding="utf-8", newline="")  # noqa: SIM115
        self._csv = csv.writer(self._file)
        heads = []
        for name, dtype in columns.items():
            numbered = [
                f"{name}_{n}" for n in range(dtype.shape[0] if dtype.shape else 0)
            ]
            heads += numbered or [name]
        self._csv.writerow(heads)

    def __enter__(self) -> "CsvWriter":
        return self

    def write(self, rows: Rows) -> None:
        """Appends the rows of a batch; float32 with the nine digits that tell it."""
        parts = []
        for name in self._columns:
            values = rows[name]
            if values.dtype.kind == "f":
                values = np.char.mod("%.9g", values)
            parts.append(values.reshape(len(values), -1))
        for row in zip(*parts, strict=True):
            self._csv.writerow([cell for part in row for cell in part])

    def __exit__(self, *_) -> None:
        self._file.close()


WRITERS = {".npz": NpzWriter, ".parquet": ParquetWriter, ".csv": CsvWriter}
