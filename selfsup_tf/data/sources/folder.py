"""Image files in a folder and its sub-folders."""

import collections
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from selfsup_tf.data.decode import decode_image, describe_error, held_bits
from selfsup_tf.data.folder_layout import (
    SUFFIXES,
    UNREAD,
    find_layout,
    list_files,
    suffix_of,
)
from selfsup_tf.data.indexed import IndexedSource
from selfsup_tf.data.lost import MAX_BAD_SHARE, Lost
from selfsup_tf.data.order import on_host
from selfsup_tf.data.source import SourceKind, fingerprint
from selfsup_tf.errors import InputError, check, check_one_of


def open_folder(folder: pathlib.Path, split: str = "train") -> IndexedSource:
    """Opens the images in a folder and its sub-folders, in the order of their paths.

    `find_layout` says which sub-folders are splits. Those on the first level of a
    split, or of a folder without any, are the classes, if there are two of them or more
    with images, and no image lies beside them. Every file is decoded once, so that bad
    ones are known before the first step; they are left out and listed, as are pictures
    of kinds that are not read.

    Args:
        folder: Where the images are. Hidden files and folders are ignored.
        split: A name among the layout's splits.

    Raises:
        InputError: There is no such split, no image, or over 5 % of the files are bad.
    """
    layout = find_layout(folder)
    check_one_of(split, layout.splits, f"a split of {folder}")
    root = layout.splits[split]
    found = sorted(list_files(root))
    files = [file for file in found if suffix_of(file) in SUFFIXES]
    others = [file for file in found if suffix_of(file) not in SUFFIXES]
    check(
        bool(files),
        f"images ({', '.join(SUFFIXES)}) in {root}",
        _count(others) if found else "no files",
        "Name the folder that holds them, or convert them.",
    )
    shapes, bad, depths = _verify([str(root / file) for file in files])
    if len(bad) > MAX_BAD_SHARE * len(files):
        few = "; ".join(f"{files[i]}: {reason}" for i, reason in list(bad.items())[:3])
        raise InputError(
            f"images in {root} that can be decoded",
            f"{len(bad)} bad of {len(files)} ({few})",
            "Mend or remove them; up to 5 % would be skipped.",
        )
    good = [file for i, file in enumerate(files) if i not in bad]
    image_shape = (*shapes.pop(), 3) if len(shapes) == 1 else None
    reasons = {files[i]: reason for i, reason in bad.items()}
    unread = [file for file in others if suffix_of(file) in UNREAD]
    name = folder.resolve().name

    def of(files: list[str], image_shape: Sequence[int] | None) -> IndexedSource:
        """The source of these files, some of which may be lost."""
        there, known = set(good), set(files)
        left_out = [file for file in reasons if file not in known]
        return _make_source(
            root,
            files,
            image_shape,
            lost=[i for i, file in enumerate(files) if file not in there],
            name=f"{name}:{split}" if len(layout.splits) > 1 else name,
            skipped=(
                *(f"{root / file}: {reasons[file]}" for file in left_out),
                *_unread(unread, root),
            ),
            notes=(*layout.notes, *_beside(others), *_deep(depths)),
            reopen=reopen,
        )

    def reopen(begun: dict[str, Any]) -> IndexedSource:
        check(
            isinstance(begun, dict) and begun.keys() == source.files.keys(),
            "the list of files that the run began with",
            "another JSON value in its images.gz",
            "Bring the file back; another --run_dir begins anew.",
        )
        _check_sizes(root, begun)
        return of(begun["files"], begun["image_shape"])

    source = of(good, image_shape)
    return source


def _check_sizes(root: pathlib.Path, begun: dict[str, Any]) -> None:
    """Raises InputError where many files are no longer as long as they were."""
    now = map(_length, (root / file for file in begun["files"]))
    lengths = zip(begun["files"], begun["lengths"], now, strict=True)
    changed = [file for file, before, now in lengths if now not in (before, -1)]
    check(
        len(changed) <= MAX_BAD_SHARE * len(begun["files"]),
        f"the images in {root} that the run began with",
        f"{len(changed)} of {len(begun['files'])} files of another length, such as "
        f"{', '.join(changed[:3])}",
        "Use another --run_dir for other images, or bring back that run's.",
    )


def _make_source(
    root: pathlib.Path,
    files: list[str],
    image_shape: Sequence[int] | None,
    *,
    name: str,
    lost: Sequence[int],
    **options: Any,
) -> IndexedSource:
    labels, class_names = _label(files)
    paths = [str(root / file) for file in files]
    table = on_host([os.fsencode(path) for path in paths], tf.string)
    image_shape = image_shape and tuple(image_shape)

    def image_at(index: tf.Tensor) -> tf.Tensor:
        image = decode_image(tf.io.read_file(tf.gather(table, index)))
        return image if image_shape is None else _resized(image, image_shape)

    def identify(indices: np.ndarray) -> str:
        states = [_state(paths[index]) for index in indices]
        return fingerprint(states, labels, class_names, indices)

    def digest() -> str:
        return fingerprint(files)

    missed = Lost(paths, _reason, lost)
    missed.check()
    return IndexedSource(
        name,
        len(paths),
        image_at,
        identify,
        labels=labels,
        class_names=class_names,
        image_shape=image_shape,
        paths=paths,
        lost=missed,
        files={
            "image_shape": image_shape and list(image_shape),
            "files": files,
            "lengths": [_length(root / file) for file in files],
        },
        **options,
        digest=digest,
    )


def _length(path: pathlib.Path) -> int:
    """Bytes of a file; -1 of one that is lost."""
    return path.stat().st_size if path.is_file() else -1


def _state(path: str) -> tuple[str, int, int]:
    """What tells a file from what it was before; a lost one has a state, too."""
    try:
        stat = os.stat(path)
    except OSError:
        return path, -1, -1
    return path, stat.st_size, stat.st_mtime_ns


def _resized(image: tf.Tensor, shape: tuple[int, int, int]) -> tf.Tensor:
    """An image of the size that all had when the source was opened."""

    def resize() -> tf.Tensor:
        resized = tf.image.resize(image, shape[:2], antialias=True)
        return tf.cast(tf.round(resized), tf.uint8)

    image = tf.cond(tf.reduce_all(tf.shape(image) == shape), lambda: image, resize)
    return tf.ensure_shape(image, shape)


def _unread(files: list[str], root: pathlib.Path) -> Iterator[str]:
    """A line for each suffix of pictures that are not read."""
    for suffix, count in sorted(collections.Counter(map(suffix_of, files)).items()):
        first = next(file for file in files if suffix_of(file) == suffix)
        what = "file" if count == 1 else "files, the first of them"
        yield (
            f"{count} {suffix} {what} {root / first}: a kind that is not read; convert "
            "to PNG or JPEG"
        )


def _beside(others: list[str]) -> Iterator[str]:
    """A sentence that counts the files that are no pictures, if there are any."""
    rest = [file for file in others if suffix_of(file) not in UNREAD]
    if rest:
        yield f"No pictures, and left out: {_count(rest)}."


def _deep(depths: collections.Counter[int]) -> Iterator[str]:
    """A sentence on files of 16 bits, some of which hold fewer."""
    if set(depths) - {0, 16}:
        counts = (f"{depths[bits]} hold {bits}" for bits in sorted(depths) if bits)
        yield f"Of the files of 16 bits {', '.join(counts)}; each is scaled by its own."


def _count(files: list[str]) -> str:
    suffixes = sorted({suffix_of(file) or "no suffix" for file in files})
    what = "other file" if len(files) == 1 else "other files"
    return f"{len(files)} {what} ({', '.join(suffixes)})"


def _label(files: list[str]) -> tuple[np.ndarray | None, tuple[str, ...] | None]:
    """Labels int64 (N,) and class names from first-level sub-folders, or two Nones."""
    tops = [file.partition("/")[0] if "/" in file else "" for file in files]
    class_names = tuple(sorted(set(tops)))
    if len(class_names) < 2 or "" in class_names:
        return None, None
    number = {name: i for i, name in enumerate(class_names)}
    return np.array([number[top] for top in tops], np.int64), class_names


def _verify(
    paths: list[str],
) -> tuple[set[tuple[int, int]], dict[int, str], collections.Counter[int]]:
    """Decodes all files.

    Returns:
        The sizes (H, W) of the images, the bad files' positions and reasons, and how
        many files hold so many bits, of `held_bits`.
    """
    names = tf.constant([os.fsencode(path) for path in paths], tf.string)

    def measure(position: tf.Tensor, path: tf.Tensor) -> tuple[tf.Tensor, ...]:
        contents = tf.io.read_file(path)
        shape = tf.shape(decode_image(contents))
        with tf.control_dependencies([shape]):  # what claims too much is not decoded
            return position, shape[:2], held_bits(contents)

    results = (
        tf.data.Dataset.from_tensor_slices(names)
        .enumerate()
        .map(measure, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False)
        .ignore_errors(log_warning=False)
        .batch(256)
    )
    sizes, bad = set(), set(range(len(paths)))
    depths: collections.Counter[int] = collections.Counter()
    for positions, shapes, bits in results.as_numpy_iterator():
        bad -= set(positions.tolist())
        sizes |= set(map(tuple, shapes.tolist()))
        depths.update(bits.tolist())
    return sizes, {i: _reason(paths[i]) for i in sorted(bad)}, depths


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


def _judged_splits(path: str, data_dir: str | None) -> tuple[str, ...]:
    judges = find_layout(pathlib.Path(path)).judges
    return ("train",) if judges is None else ("train", judges)


SOURCE = SourceKind(
    takes="a folder of images",
    recognises=lambda path, _: os.path.isdir(path),
    open=lambda path, split, _: open_folder(pathlib.Path(path), split),
    splits=_judged_splits,
    turn=0,
)
