"""The index of a folder: names, stamps and representations of its images, in one file.

Legend: N images, D length of the representation h.
"""

import argparse
import contextlib
import os
import pathlib
import tempfile

import numpy as np
from encoder import Encoder, Problem


def write_npz(path: str | os.PathLike, arrays: dict) -> None:
    """Writes arrays beside `path` and renames the file when it is whole."""
    path = pathlib.Path(path).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(beside, 0o666 & ~umask)  # mkstemp's is for its user alone
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


def check_place(path: pathlib.Path) -> None:
    """Raises Problem where a file can't be written: before the work, not after it."""
    try:
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise Problem(
            f"expected a place to write; received {path} ({error})"
        ) from error


def known_by(encoder: Encoder, flags: argparse.Namespace) -> str:
    """What an index is known by: its encoder, and whether photographs were turned."""
    read = "as stored" if flags.as_stored else "upright"
    return f"{encoder.sha256[:16]} ({read})"


def load_index(path: str, encoder: Encoder, flags: argparse.Namespace) -> dict:
    """The arrays of an index, which must be this encoder's.

    Returns:
        "folder" (), "names" (N,) relative to it, "stamps" (N, 2) int64: size in bytes
        and time of change in ns, "representation" (N, D) float32, "model" (): see
        `known_by`.

    Raises:
        Problem: No index, or another encoder's.
    """
    try:
        with np.load(path) as file:
            keys = ("folder", "names", "stamps", "representation", "model")
            index = {key: file[key] for key in keys}
    except Exception as error:
        # np.load raises as many types as there are ways to damage a zip file.
        raise Problem(
            f"expected an index; received {path} ({error}). Make one with: embed.py "
            "index MODEL FOLDER --index=FILE"
        ) from error
    if str(index["model"]) != known_by(encoder, flags):
        raise Problem(
            f"expected an index of this model, {known_by(encoder, flags)}; received "
            f"{path} of {index['model']}. Vectors of two can't be compared: name "
            "another --index, or delete this one."
        )
    return index


def find_files(
    folder: pathlib.Path,
) -> tuple[dict[str, tuple[int, int]], list[str]]:
    """What is in a folder that isn't hidden, and the folders in it that can't be read.

    Returns:
        {name below `folder`: (bytes, time of change in ns)}, and names of folders.
    """
    stamps, unread = {}, []

    def note(error):
        unread.append(os.path.relpath(error.filename, folder))

    for parent, folders, names in os.walk(folder, onerror=note):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = pathlib.Path(parent, name)
            if path.is_file() and not name.startswith("."):
                stat = path.stat()
                stamp = (stat.st_size, stat.st_mtime_ns)
                stamps[str(path.relative_to(folder))] = stamp
    return stamps, unread


def load_kept(
    path: pathlib.Path,
    encoder: Encoder,
    flags: argparse.Namespace,
    folder: pathlib.Path,
    found: dict,
    unread: list[str],
) -> tuple[list[str], list[np.ndarray]]:
    """Names and representations of an index whose files are as they were.

    Args:
        path: The index; none is there at first.
        encoder: Whose index it must be.
        flags: Of the command line.
        folder: Whose index it must be.
        found: What is in the folder now, of `find_files`.
        unread: The folders in it that can't be read.

    Raises:
        Problem: It is the index of something else, or would forget what lies in folders
            that can't be read now.
    """
    if not path.exists():
        return [], []
    index = load_index(path, encoder, flags)
    if str(index["folder"]) != str(folder):
        raise Problem(
            f"expected the index of {folder}; received {path} of {index['folder']}. "
            "Name another --index."
        )
    for place in unread:
        if any(name.startswith(f"{place}{os.sep}") for name in index["names"].tolist()):
            raise Problem(
                f"expected to read {folder / place}, of which {path} has images."
            )
    names, stamps = index["names"].tolist(), map(tuple, index["stamps"].tolist())
    same = [found.get(n) == stamp for n, stamp in zip(names, stamps, strict=True)]
    return index["names"][same].tolist(), list(index["representation"][same])
