"""Images written once, resized, as a data set of TensorFlow Datasets: what lies where.

```
DIR/
  prepared.json                               what it was made of, and how
  images-train.tfrecord-00000-of-00047 ...    64 images each, as JPEG or PNG
  images-test.tfrecord-00000-of-00008 ...     where the data have such a split
  features.json dataset_info.json label.labels.txt
  index.npz                                   where each image is; written last
```

`tensorflow_datasets.builder_from_directory(DIR)` reads it without this package. Here
the index gives every image at its place, in any order, as if it were a file. The files
are small because TensorFlow reads a file from its beginning up to what is wanted.

A record is a tf.train.Example of "image" (bytes), "path" (bytes; the number of an image
without a file) and, where there are labels, "label" (int64).
"""

import dataclasses
import os
import pathlib
import zipfile
from typing import Any

import numpy as np

from selfsup_tf.commands import spelled
from selfsup_tf.errors import InputError, check
from selfsup_tf.files import whole_file

FORMAT = "selfsup-tf prepared 1"
IMAGES_PER_FILE = 64
PLAN, INDEX = "prepared.json", "index.npz"
_HEADER, _FOOTER = 12, 4  # bytes around a record: its length and two checksums
_COLUMNS = ("offset", "length", "height", "width", "label", "path")
_ADVICE = f"Prepare them again: {spelled('train')} prepare --data=... --output=..."


def shard_name(split: str, number: int, images: int) -> str:
    """The file of 64 images, as TensorFlow Datasets calls it."""
    shards = -(-images // IMAGES_PER_FILE)
    return f"images-{split}.tfrecord-{number:05d}-of-{shards:05d}"


@dataclasses.dataclass(frozen=True)
class Split:
    """Where the images of a split are.

    Attributes:
        offset: Where each begins in its file, (N,) int64.
        length: How many bytes it takes, (N,) int64.
        height: In pixels, (N,) int64.
        width: In pixels, (N,) int64.
        label: (N,) int64; empty without labels.
        path: Where each came from, (N,) str.
    """

    offset: np.ndarray
    length: np.ndarray
    height: np.ndarray
    width: np.ndarray
    label: np.ndarray
    path: np.ndarray

    def __len__(self) -> int:
        return len(self.offset)

    def files(self, split: str) -> list[tuple[str, int]]:
        """The files of the split, each with its length in bytes."""
        starts = range(0, len(self), IMAGES_PER_FILE)
        lasts = [min(start + IMAGES_PER_FILE, len(self)) - 1 for start in starts]
        ends = self.offset[lasts] + self.length[lasts] + _FOOTER
        names = [shard_name(split, n, len(self)) for n in range(len(starts))]
        return list(zip(names, ends.tolist(), strict=True))


def offsets(lengths: list[int]) -> list[int]:
    """Where records of these lengths begin, one after the other in a file."""
    sizes = np.array([0, *lengths[:-1]]) + _HEADER + _FOOTER
    return (np.cumsum(sizes) - _FOOTER).tolist()


def write_index(folder: pathlib.Path, splits: dict[str, Split]) -> None:
    """Writes where the images of all splits are, which makes them whole."""
    columns = {
        f"{split}/{name}": getattr(table, name)
        for split, table in splits.items()
        for name in _COLUMNS
    }
    with whole_file(folder / INDEX) as beside:
        np.savez(beside, **columns)


def read_index(folder: str | pathlib.Path) -> dict[str, Split]:
    """Where the images of all splits are.

    Raises:
        InputError: It can't be read, or a file is not as long as it was written.
    """
    folder = pathlib.Path(folder)
    try:
        with np.load(folder / INDEX, allow_pickle=False) as columns:
            names = dict.fromkeys(name.partition("/")[0] for name in columns.files)
            splits = {
                split: Split(**{name: columns[f"{split}/{name}"] for name in _COLUMNS})
                for split in names
            }
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"an index of prepared images at {folder / INDEX}", str(error), _ADVICE
        ) from error
    for split, table in splits.items():
        _check_files(folder, table.files(split))
    return splits


def _check_files(folder: pathlib.Path, files: list[tuple[str, Any]]) -> None:
    for name, length in files:
        path = folder / name
        found = os.stat(path).st_size if path.is_file() else "no file"
        check(found == length, f"{length} bytes in {path}", found, _ADVICE)
