"""Folders of image files."""

import collections
import os
import pathlib

import numpy as np
import tensorflow as tf

from selfsup_tf.data.files import decode_image, describe_error
from selfsup_tf.data.source import (
    Count,
    Share,
    Source,
    counted,
    fingerprint,
    index_blocks,
    left,
    on_host,
)
from selfsup_tf.errors import InputError, check, nearest

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")
TEST_SPLITS = ("test", "val", "validation")

_MAX_BAD_SHARE = 0.05  # beyond, something is wrong with the folder rather than a file


class FolderSource(Source):
    """Image files, read and decoded whenever they are asked for.

    Args:
        name: For logs.
        paths: Of all N files.
        labels: int64 (N,), or None.
        class_names: Of the labels.
        image_shape: (H, W, 3) where all images have one size, else None.
        skipped: Unusable files, which are not among the paths.
        indices: int64 (size,), rising: the elements of this part; None for all.
    """

    def __init__(
        self,
        name: str,
        paths: list[str],
        *,
        labels: np.ndarray | None,
        class_names: tuple[str, ...] | None,
        image_shape: tuple[int, int, int] | None,
        skipped: tuple[str, ...] = (),
        indices: np.ndarray | None = None,
    ):
        self._paths = paths
        self._path_table = on_host([os.fsencode(path) for path in paths], tf.string)
        self._labels = labels
        self._class_names = class_names
        self.name = name
        self.indices = np.arange(len(paths)) if indices is None else indices
        self.labelled = labels is not None
        self.image_shape = image_shape
        self.skipped = skipped

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the sub-folders, or None."""
        return self._class_names

    @property
    def labels(self) -> np.ndarray | None:
        """Labels, int64 (size,), or None."""
        return self._labels[self.indices] if self.labelled else None

    @property
    def paths(self) -> tuple[str, ...]:
        """The file of each image."""
        return tuple(self._paths[index] for index in self.indices)

    @property
    def fingerprint(self) -> str:
        """Of the names, sizes and times of the files, which aren't read."""
        found = [os.stat(path) for path in self.paths]
        files = [
            (path, stat.st_size, stat.st_mtime_ns)
            for path, stat in zip(self.paths, found, strict=True)
        ]
        return fingerprint(files, self._labels, self._class_names, self.indices)

    def ordered(self, *, labels: bool = True) -> tf.data.Dataset:
        """See `Source.ordered`."""
        return self._read(index_blocks(self.indices), self.size, labels)

    def shuffled(
        self,
        *,
        seed: int,
        epoch: Count,
        start: Count = 0,
        labels: bool = True,
        share: Share | None = None,
    ) -> tf.data.Dataset:
        """See `Source.shuffled`."""
        blocks = index_blocks(self.indices, key=(seed, epoch), start=start, share=share)
        return self._read(blocks, left(self.size, start, share), labels)

    def select(self, indices: np.ndarray, name: str) -> "FolderSource":
        """See `Source.select`."""
        return FolderSource(
            name,
            self._paths,
            labels=self._labels,
            class_names=self._class_names,
            image_shape=self.image_shape,
            skipped=self.skipped,
            indices=indices,
        )

    def _read(
        self, blocks: tf.data.Dataset, size: int, labels: bool
    ) -> tf.data.Dataset:
        paths = self._path_table
        table = None
        if labels and self.labelled:
            table = on_host(self._labels, tf.int64)

        def read(index: tf.Tensor) -> dict[str, tf.Tensor]:
            image = decode_image(tf.io.read_file(tf.gather(paths, index)))
            element = {"image": image, "index": index}
            if self.image_shape is not None:
                element["image"] = tf.ensure_shape(image, self.image_shape)
            if table is not None:
                element["label"] = tf.gather(table, index)
            return element

        elements = blocks.unbatch().map(read, num_parallel_calls=tf.data.AUTOTUNE)
        return counted(elements, size)


def folder_splits(folder: pathlib.Path) -> tuple[str, ...]:
    """The splits that a folder's sub-folders make: with "train", or only "train"."""
    tests = tuple(name for name in TEST_SPLITS if (folder / name).is_dir())
    if tests and (folder / "train").is_dir():
        return ("train", *tests)
    return ("train",)


def open_folder(folder: pathlib.Path, split: str = "train") -> FolderSource:
    """The images in a folder and its sub-folders, in the order of their paths.

    Where there are folders train and test (or val, or validation), they are the splits.
    The sub-folders on the first level are the classes, if there are two of them or more
    with images, and no image lies beside them. Every file is decoded once, so that bad
    ones are known before the first step; they are left out and listed.

    Args:
        folder: Where the images are. Hidden files and folders are ignored.
        split: A name among `folder_splits`.

    Raises:
        InputError: There is no such split, no image, or over 5 % of the files are bad.
    """
    splits = folder_splits(folder)
    check(split in splits, f"a split of {folder}", repr(split), nearest(split, splits))
    root = folder / split if len(splits) > 1 else folder
    found = _list_files(root)
    files = [file for file in found if _suffix(file) in SUFFIXES]
    others = sorted({_suffix(file) or "no suffix" for file in found} - set(SUFFIXES))
    check(
        bool(files),
        f"images ({', '.join(SUFFIXES)}) in {root}",
        f"{len(found)} other files ({', '.join(others)})" if found else "no files",
        "Name the folder that holds them, or convert them.",
    )
    shapes, bad = _verify([str(root / file) for file in files])
    if len(bad) > _MAX_BAD_SHARE * len(files):
        few = "; ".join(f"{files[i]}: {reason}" for i, reason in list(bad.items())[:3])
        raise InputError(
            f"images in {root} that can be decoded",
            f"{len(bad)} bad of {len(files)} ({few})",
            "Mend or remove them; up to 5 % would be skipped.",
        )
    good = [file for i, file in enumerate(files) if i not in bad]
    labels, class_names = _label(good)
    name = folder.resolve().name
    return FolderSource(
        f"{name}:{split}" if len(splits) > 1 else name,
        [str(root / file) for file in good],
        labels=labels,
        class_names=class_names,
        image_shape=(*shapes.pop(), 3) if len(shapes) == 1 else None,
        skipped=tuple(f"{root / files[i]}: {reason}" for i, reason in bad.items()),
    )


def _suffix(file: str) -> str:
    return os.path.splitext(file)[1].lower()


def _list_files(root: pathlib.Path) -> list[str]:
    """Paths relative to the root, "/" between their parts, sorted."""
    files: list[str] = []
    folders = collections.deque([("", (os.path.realpath(root),))])
    while folders:
        prefix, above = folders.popleft()
        for entry in os.scandir(root / prefix):
            if entry.name.startswith("."):
                continue
            if entry.is_file():
                files.append(prefix + entry.name)
            elif entry.is_dir() and os.path.realpath(entry) not in above:
                # A link to a folder above it would lead round for ever.
                below = (*above, os.path.realpath(entry))
                folders.append((f"{prefix}{entry.name}/", below))
    return sorted(files)


def _label(files: list[str]) -> tuple[np.ndarray | None, tuple[str, ...] | None]:
    """Labels int64 (N,) and class names from first-level sub-folders, or two Nones."""
    tops = [file.partition("/")[0] if "/" in file else "" for file in files]
    class_names = tuple(sorted(set(tops)))
    if len(class_names) < 2 or "" in class_names:
        return None, None
    number = {name: i for i, name in enumerate(class_names)}
    return np.array([number[top] for top in tops], np.int64), class_names


def _verify(paths: list[str]) -> tuple[set[tuple[int, int]], dict[int, str]]:
    """The sizes (H, W) of the images, and the bad files' positions and reasons."""
    names = tf.constant([os.fsencode(path) for path in paths], tf.string)

    def measure(position: tf.Tensor, path: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return position, tf.shape(decode_image(tf.io.read_file(path)))[:2]

    results = (
        tf.data.Dataset.from_tensor_slices(names)
        .enumerate()
        .map(measure, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False)
        .ignore_errors(log_warning=False)
        .batch(256)
    )
    sizes, bad = set(), set(range(len(paths)))
    for positions, shapes in results.as_numpy_iterator():
        bad -= set(positions.tolist())
        sizes |= set(map(tuple, shapes.tolist()))
    return sizes, {i: _reason(paths[i]) for i in sorted(bad)}


def _reason(path: str) -> str:
    """Why a file can't be decoded, in a few words."""
    try:
        contents = pathlib.Path(path).read_bytes()
        if not contents:
            return "empty file"
        decode_image(tf.constant(contents))
    except tf.errors.OpError as error:
        return describe_error(error)
    except OSError as error:
        return error.strerror
    return "it could not be read the first time"
