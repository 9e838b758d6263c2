"""Arrays that are kept in a folder, by what they were computed from.

Nothing needs them: a folder that can't be written, or is full, keeps less.
"""

import logging
import pathlib
import zipfile

import numpy as np

from selfsup_tf.files import whole_file

logger = logging.getLogger("selfsup_tf")

LIMIT_BYTES = 2**32
"""What a cache may hold; beyond, what was written longest ago goes."""


def read_arrays(folder: pathlib.Path, key: str) -> dict[str, np.ndarray] | None:
    """The arrays kept under a key; None of none, or of a damaged file."""
    try:
        with np.load(folder / f"{key}.npz", allow_pickle=False) as kept:
            return {name: kept[name] for name in kept.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def write_arrays(
    folder: pathlib.Path,
    key: str,
    arrays: dict[str, np.ndarray],
    *,
    limit: int = LIMIT_BYTES,
) -> None:
    """Keeps arrays under a key, whole or not at all; too large ones are not kept.

    The folder may hold `limit` bytes; what is oldest goes. Where it can't be written
    nothing is kept, as the arrays are at hand.
    """
    if sum(array.nbytes for array in arrays.values()) > limit:
        return
    try:
        with whole_file(folder / f"{key}.npz") as beside:
            np.savez(beside, **arrays)
        kept = sorted(folder.glob("[!.]*.npz"), key=lambda file: -file.stat().st_mtime)
        total = 0
        for file in kept:
            total += file.stat().st_size
            if total > limit:
                file.unlink(missing_ok=True)
    except OSError as error:  # another process may have deleted some, too
        logger.info("Representations are not kept: %s", error)
