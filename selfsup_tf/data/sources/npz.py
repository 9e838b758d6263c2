"""Images in an .npz file."""

import os
import pathlib
import zipfile

import numpy as np

from selfsup_tf.data.source import Reading, Source, SourceKind
from selfsup_tf.data.sources.arrays import from_arrays
from selfsup_tf.errors import InputError, check, check_one_of

_NPZ_KEYS = (("x_{}", "y_{}"), ("images", "labels"), ("x", "y"))


def open_npz(
    path: pathlib.Path, split: str = "train", *, channels: int | None = None
) -> Source:
    """Opens a split of an .npz file.

    Args:
        path: With x_train and x_test (y_train, y_test), or images (labels), or x (y).
        split: "train" or "test".
        channels: See `Reading`.

    Raises:
        InputError: The file can't be read, or has no such arrays or split.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            keys = set(archive.files)
            splits = _splits(keys)
            found = ", ".join(sorted(keys)) or "none"
            check(
                len(splits) > 0,
                f"arrays x_train (and y_train, ...), images or x in {path}",
                f"the keys {found}",
                "Save them with np.savez(path, x_train=..., y_train=...).",
            )
            check_one_of(split, splits, f"a split of {path}")
            images, labels = splits[split]
            every = [archive[y] for _, y in splits.values() if y in keys]
            every = [y for y in every if y.size and y.dtype.kind in "iu"]
            return from_arrays(
                archive[images],
                archive[labels] if labels in keys else None,
                name=f"{path.stem}:{split}",
                num_classes=max((int(y.max()) + 1 for y in every), default=0),
                channels=channels,
            )
    except InputError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} to be a file of np.savez, without pickled objects",
            str(error),
            "Write it again with np.savez.",
        ) from error


def _splits(keys: set[str]) -> dict[str, tuple[str, str]]:
    """The splits among these keys: their names, with the keys of images and labels."""
    splits = {}
    for split in ("train", "test"):
        for x, y in _NPZ_KEYS if split == "train" else _NPZ_KEYS[:1]:
            if x.format(split) in keys and split not in splits:
                splits[split] = (x.format(split), y.format(split))
    return splits


def _splits_of(path: str, reading: Reading) -> tuple[str, ...]:
    """The splits of a file; train where it can't be read, whose opening says why."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            splits = tuple(_splits(set(archive.files)))
    except Exception:  # whatever it is, open_npz finds it again and explains it
        return ("train",)
    return splits if "train" in splits else ("train",)


SOURCE = SourceKind(
    takes="an .npz file",
    recognises=lambda path, _: path.lower().endswith(".npz") and os.path.isfile(path),
    open=lambda path, split, reading: open_npz(
        pathlib.Path(path), split, channels=reading.channels
    ),
    splits=_splits_of,
    turn=0,
)
