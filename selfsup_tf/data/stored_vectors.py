"""Vectors of images that `eval.py embed` has written, matched with the images again."""

import dataclasses
import os
import pathlib
import zipfile
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from selfsup_tf.data.source import Source
from selfsup_tf.errors import InputError, check

SUFFIXES = (".npz", ".parquet")
WRITE_AGAIN = "Write it again: python eval.py embed --output=FILE"


@dataclasses.dataclass(frozen=True)
class StoredVectors:
    """A file of vectors.

    Attributes:
        file: Where they come from.
        vectors: (M, D) float32, all finite.
        index: (M,) int64, the number of each image in the source it was read from.
        paths: (M,) its file as text; None of images without files.
    """

    file: pathlib.Path
    vectors: np.ndarray
    index: np.ndarray
    paths: np.ndarray | None

    def of(self, source: Source) -> np.ndarray:
        """The vector of each image of a source, (N, D), in the order of its indices.

        Images are told by their files, which may have moved together, else by their
        numbers.

        Raises:
            InputError: Vectors are missing, or one image has several.
        """
        if self.paths is not None and source.paths is not None:
            ours = [readable(path) for path in source.paths]
            theirs = [str(path) for path in self.paths]
            if not set(ours).intersection(theirs):  # they lie elsewhere now
                ours, theirs = _below(ours), _below(theirs)
        else:
            ours, theirs = source.indices.tolist(), self.index.tolist()
        rows = {key: row for row, key in enumerate(theirs)}
        check(
            len(rows) == len(theirs),
            f"one vector of each image in {self.file}",
            f"{len(theirs) - len(rows)} that stand for an image again",
            WRITE_AGAIN,
        )
        missing = [key for key in ours if key not in rows]
        check(
            not missing,
            f"a vector of each of the {source.size} images of {source.name} in "
            f"{self.file}",
            f"none of {len(missing)}, such as {missing[0] if missing else ''}",
            "Write the file from these images: python eval.py embed --data=... "
            "--output=FILE",
        )
        return self.vectors[[rows[key] for key in ours]]


def read_vectors(file: str | pathlib.Path) -> StoredVectors:
    """Reads an .npz or .parquet file of vectors.

    Raises:
        InputError: There is no such file, or it holds something else.
    """
    file = pathlib.Path(file).expanduser()
    check(file.is_file(), f"a file of vectors at {file}", "no file", "Check the path.")
    try:
        columns = _READERS[file.suffix.lower()](file)
        vectors, index = columns["vectors"], columns["index"]
    except (OSError, EOFError, ValueError, KeyError, pyarrow.ArrowException,
            zipfile.BadZipFile) as error:  # fmt: skip
        raise InputError(
            f"vectors and index in {file}, as eval.py embed writes them",
            f"{type(error).__name__}: {error}",
            WRITE_AGAIN,
        ) from error
    check(
        vectors.ndim == 2 and len(vectors) == len(index) and np.isfinite(vectors).all(),
        f"finite vectors of one length in {file}",
        f"an array of shape {vectors.shape}",
        WRITE_AGAIN,
    )
    return StoredVectors(
        file, vectors.astype(np.float32), index.astype(np.int64), columns.get("path")
    )


def _read_npz(file: pathlib.Path) -> dict[str, np.ndarray]:
    with np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _read_parquet(file: pathlib.Path) -> dict[str, np.ndarray]:
    table = pyarrow.parquet.read_table(file)
    found: dict[str, Any] = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        if pyarrow.types.is_fixed_size_list(column.type):
            size = column.type.list_size
            found[name] = column.flatten().to_numpy().reshape(-1, size)
        else:
            found[name] = column.to_numpy(zero_copy_only=False)
    return found


_READERS = {".npz": _read_npz, ".parquet": _read_parquet}


def readable(path: str) -> str:
    r"""A path as text; bytes that are no UTF-8 become \xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _below(paths: list[str]) -> list[str]:
    """The files as they lie below the folder that all have in common."""
    top = os.path.commonpath([os.path.dirname(path) for path in paths])
    return [os.path.relpath(path, top) for path in paths]
