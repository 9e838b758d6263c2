"""Base classes of all sources of images, and the description of a kind of source."""

import abc
import copy
import dataclasses
import hashlib
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import tensorflow as tf

from selfsup_tf.data.order import ALL, Count, Share, permutation
from selfsup_tf.errors import check


class Source(abc.ABC):
    """Images that can be read in order, in a shuffled order, and in parts.

    An element of its datasets is
    `{"image": uint8 (H, W, C), "label": int64 (), "index": int64 ()}`; "label" is there
    only where the source is labelled and labels are asked for. The index is the
    position of an element in the whole source, and stays with it in a part of it.

    Attributes:
        name: For logs, such as "cifar10:train".
        indices: int64 (size,), rising: the indices of the elements.
        labelled: Whether elements have labels; costs nothing to ask.
        class_names: The names of labels 0, 1, ...; None where there are no labels.
        channels: C.
        image_shape: (H, W, C) where all images have one size, else None.
        skipped: The unusable files, each as "path: reason"; those of a kind that is not
            read are counted in one such line.
        notes: What there is to say of the images before they are used, in sentences.
        streamed: Whether it is read from one end to the other for any part of it.
        labels_put_aside: Whether it is of `without_labels`.
    """

    name: str
    indices: np.ndarray
    labelled: bool
    channels: int = 3
    image_shape: tuple[int, int, int] | None
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    streamed: bool = False
    labels_put_aside: bool = False

    def __repr__(self) -> str:
        shape = "of any size" if self.image_shape is None else f"{self.image_shape}"
        labels = "labelled" if self.labelled else "no labels"
        return f"<Source {self.name}: {self.size:,} images, {shape}, {labels}>"

    @property
    def size(self) -> int:
        """The number of images."""
        return len(self.indices)

    @property
    @abc.abstractmethod
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the classes, or None. May take a pass over a streamed source."""

    @property
    @abc.abstractmethod
    def labels(self) -> np.ndarray | None:
        """Labels, int64 (size,), in the order of the indices; None where unlabelled.

        May take a pass over a streamed source, once.
        """

    @property
    def paths(self) -> tuple[str, ...] | None:
        """The file of each image, in the order of the indices; None without files."""
        return None

    @property
    def fingerprint(self) -> str | None:
        """A string that tells these images and labels from all others, or None.

        Equal fingerprints stand for equal elements, in other processes too.
        """
        return None

    @property
    def contents(self) -> str | None:
        """A string that tells the images of all indices from most others, or None.

        Unlike `fingerprint` it costs next to nothing, leaves labels out and stays the
        same where the images lie elsewhere: a run that is resumed compares it.
        """
        return None

    @property
    def files(self) -> dict[str, Any] | None:
        """What `as_begun` needs, as JSON; None where a count is all that there is."""
        return None

    def as_begun(self, files: dict[str, Any] | None) -> "Source":
        """The source with the images that it had when a run began with it.

        Args:
            files: What `files` was then; None leaves the source as it is.

        Raises:
            InputError: Too many of them are lost.
        """
        return self

    def check_readable(self, *, look: bool = False) -> int:
        """How many images have been found to be lost since the source was opened.

        Args:
            look: Whether to look for every file first, after reading has failed.

        Raises:
            InputError: Too many.
        """
        return 0

    @abc.abstractmethod
    def ordered(self, *, labels: bool = True) -> tf.data.Dataset:
        """Each element once, in the order of the indices; labels if asked for."""

    @abc.abstractmethod
    def shuffled(
        self,
        *,
        seed: int,
        epoch: Count,
        start: Count = 0,
        labels: bool = True,
        share: Share = ALL,
    ) -> tf.data.Dataset:
        """Each element once, in an order that is a pure function of (seed, epoch).

        Args:
            seed: Of the run.
            epoch: Counts from 0; an int64 scalar tensor inside tf.data.
            start: How many elements at the beginning are left out, when a run resumes.
            labels: Whether the labels are read.
            share: The part, counted from `start`, that is read.
        """

    def without_labels(self) -> "Source":
        """The same images, as if nobody had labelled them."""
        same = copy.copy(self)
        same.labelled, same.labels_put_aside = False, True
        return same

    def select(self, indices: np.ndarray, name: str) -> "Source":
        """The part of this source with these indices, under a name of its own.

        Args:
            indices: int64 (M,), rising, all among the source's own.
            name: For logs.
        """
        part = copy.copy(self)
        part.name, part.indices = name, indices
        return part

    def split(self, held_out: int, *, seed: int = 0) -> tuple["Source", "Source"]:
        """The source without `held_out` random images, and those images.

        Args:
            held_out: How many; below the source's size.
            seed: Chooses which.

        Raises:
            InputError: As many images are held out as there are, or more.
        """
        check(
            0 <= held_out < self.size,
            f"fewer images held out than the {self.size} of {self.name}",
            held_out,
            "Lower --held_out, so that images remain to learn from.",
        )
        order = permutation(self.size, seed)
        rest = self.select(np.sort(self.indices[order[held_out:]]), f"{self.name}:rest")
        part = self.select(
            np.sort(self.indices[order[:held_out]]), f"{self.name}:held_out"
        )
        return rest, part


@dataclasses.dataclass(frozen=True)
class Reading:
    """How images are read, whatever they come from.

    Attributes:
        data_dir: Where TFDS keeps its data, with ~ expanded; None is its own folder.
        exif: Whether a photograph is turned upright, as its camera notes in EXIF.
        labels: Whether labels are read; otherwise the images have none.
        channels: Of the images, see `channels.choose_channels`; None is three, or what
            arrays and datasets have.
    """

    data_dir: str | None = None
    exif: bool = True
    labels: bool = True
    channels: int | None = None


@dataclasses.dataclass(frozen=True)
class SourceKind:
    """A kind of images that `--data`, or `data` in Python, can be.

    A module selfsup_tf/data/sources/NAME.py, here or in a folder of your own on
    `sys.path`, holds one as SOURCE. Its functions are called with a string, which a
    path has become, with ~ expanded; or with an object, if it is from Python.

    Attributes:
        takes: What a user gives, as it stands in a list, such as "an .npz file".
        recognises: From (data, reading) to whether they are of this kind. It reads no
            image. Of several kinds that do, that of the lowest turn opens the data.
        open: From (data, split, reading) to a Source. It raises InputError where there
            is no such split, or the data can't be used. `Reading.labels` is not its
            concern.
        splits: From (data, reading) to the names of the part to learn from and, where
            there is one, of the part to be judged by. It reads no image.
        names: The words that it takes, for a user who mistypes one.
        turn: 0 for a path that exists, 1 for a name or an object, 2 for what takes long
            to recognise.
        from_python: Whether it takes objects, which no command line can give.
    """

    takes: str
    recognises: Callable[[Any, Reading], bool]
    open: Callable[[Any, str, Reading], Source]
    splits: Callable[[Any, Reading], tuple[str, ...]] = lambda *_: ("train",)
    names: Callable[[], Collection[str]] = tuple
    turn: int = 1
    from_python: bool = False


def fingerprint(*parts: Any) -> str:
    """The SHA-256 of arrays (by their bytes), strings and numbers."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype} {part.shape};".encode())
            digest.update(np.ascontiguousarray(part).data)
        else:
            digest.update(f"{part!r};".encode())
    return digest.hexdigest()
