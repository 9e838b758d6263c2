"""Vectors of images that `eval.py embed` has written, matched with the images again."""

import dataclasses
import functools
import hashlib
import os
import pathlib
import zipfile
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from selfsup_tf.commands import spelled
from selfsup_tf.data.source import Source
from selfsup_tf.errors import InputError, check

WRITE_AGAIN = f"Write it again: {spelled('eval')} embed --output=FILE"


@dataclasses.dataclass(frozen=True)
class StoredVectors:
    """A file of vectors.

    Attributes:
        name: As the user named it.
        files: Where they come from.
        vectors: (M, D) float32, all finite.
        index: (M,) int64, the number of each image in the source it was read from.
        paths: (M,) its file as text; None of images without files.
    """

    name: str
    files: tuple[pathlib.Path, ...]
    vectors: np.ndarray
    index: np.ndarray
    paths: np.ndarray | None

    @functools.cached_property
    def digest(self) -> str:
        """The SHA-256 of the files, one after the other."""
        contents = b"".join(file.read_bytes() for file in self.files)
        return hashlib.sha256(contents).hexdigest()

    @property
    def described(self) -> tuple[str, ...]:
        """What there is to say of it, in a sentence."""
        count, size = self.vectors.shape
        return (f"{self.name}: {count} vectors of {size} numbers, {self.digest[:12]}.",)

    def of(self, source: Source, *, by_path: bool = False) -> np.ndarray:
        """The vector of each image of a source, (N, D), in the order of its indices.

        Images are told by their files, which may have moved together, else by their
        numbers.

        Args:
            source: The images.
            by_path: Whether nothing but the same path will do, as two parts of the data
                share numbers, and often names.

        Raises:
            InputError: Vectors are missing, or one image has several.
        """
        known = self.paths is not None and source.paths is not None
        check(
            known or not by_path,
            f"the path of each image in {self.name} and in {source.name}",
            "numbers alone, which a training and a test image can share",
            "Name a folder of images, and vectors that embed wrote of it.",
        )
        if known:
            ours = [readable(path) for path in source.paths]
            theirs = [str(path) for path in self.paths]
            # They lie elsewhere now; train/a/1.jpg must not be taken for test/a/1.jpg.
            if not by_path and not set(ours).intersection(theirs):
                ours, theirs = _below(ours), _below(theirs)
        else:
            ours, theirs = source.indices.tolist(), self.index.tolist()
        rows = {key: row for row, key in enumerate(theirs)}
        check(
            len(rows) == len(theirs),
            f"one vector of each image in {self.name}",
            f"{len(theirs) - len(rows)} that stand for an image again",
            WRITE_AGAIN,
        )
        missing = [key for key in ours if key not in rows]
        check(
            not missing,
            f"a vector of each of the {source.size} images of {source.name} in "
            f"{self.name}",
            f"none of {len(missing)}, such as {missing[0] if missing else ''}",
            f"Write the file from these images: {spelled('eval')} embed --data=... "
            "--output=FILE",
        )
        return self.vectors[[rows[key] for key in ours]]


def read_vectors(name: str | pathlib.Path) -> StoredVectors:
    """Reads vectors from an .npz or .parquet file, or several: train.npz+test.npz.

    Raises:
        InputError: There is no such file, or it holds something else.
    """
    whole = pathlib.Path(name).expanduser()
    files = [whole] if whole.is_file() else str(name).split("+")
    parts = [_read(pathlib.Path(file).expanduser()) for file in files]
    vectors, index, paths = zip(*parts, strict=True)
    check(
        len({one.shape[1] for one in vectors}) == 1,
        f"vectors of one length in {name}",
        " and ".join(str(one.shape[1]) for one in vectors),
        "Name files that one encoder wrote.",
    )
    there = all(one is not None for one in paths)
    return StoredVectors(
        str(name),
        tuple(pathlib.Path(file).expanduser() for file in files),
        np.concatenate(vectors),
        np.concatenate(index),
        np.concatenate(paths) if there else None,
    )


def _read(file: pathlib.Path) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Vectors, indices and paths of a file."""
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
    return vectors.astype(np.float32), index.astype(np.int64), columns.get("path")


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
