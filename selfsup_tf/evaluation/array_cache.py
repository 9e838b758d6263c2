"""Arrays kept on disk by a key, so that several protocols compute them once."""

import os
import pathlib
import zipfile

import numpy as np

LIMIT_BYTES = 2**32
"""What a cache may hold; beyond, what was written longest ago goes."""


def read_arrays(folder: pathlib.Path, key: str) -> dict[str, np.ndarray] | None:
    """The arrays kept under a key; None where there are none, or the file is damaged.

    Args:
        folder: Of the cache; may be absent.
        key: Names a file.
    """
    try:
        with np.load(folder / f"{key}.npz", allow_pickle=False) as kept:
            return {name: kept[name] for name in kept.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def write_arrays(folder: pathlib.Path, key: str, arrays: dict[str, np.ndarray]) -> None:
    """Keeps arrays under a key, whole or not at all; too large ones are not kept.

    Args:
        folder: Of the cache; made where it is absent.
        key: Names a file.
        arrays: By name.
    """
    if sum(array.nbytes for array in arrays.values()) > LIMIT_BYTES:
        return
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f".{key}.{os.getpid()}.npz"
    try:
        np.savez(beside, **arrays)
        os.replace(beside, folder / f"{key}.npz")
    finally:
        beside.unlink(missing_ok=True)
    _make_room(folder)


def _make_room(folder: pathlib.Path) -> None:
    kept = sorted(folder.glob("[!.]*.npz"), key=lambda file: -file.stat().st_mtime)
    total = 0
    for file in kept:
        total += file.stat().st_size
        if total > LIMIT_BYTES:
            file.unlink(missing_ok=True)
