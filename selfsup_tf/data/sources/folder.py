"""Image files in a folder and its sub-folders."""

import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from selfsup_tf.data.channels import decode_channels
from selfsup_tf.data.folder_layout import Layout, find_layout, list_files
from selfsup_tf.data.image_files import check_files, describe_unread, why_unreadable
from selfsup_tf.data.indexed import IndexedSource
from selfsup_tf.data.lost import MAX_BAD_SHARE, Lost
from selfsup_tf.data.order import on_host
from selfsup_tf.data.source import Reading, SourceKind, fingerprint
from selfsup_tf.data.stored_vectors import readable
from selfsup_tf.errors import check, check_one_of
from selfsup_tf.files import state_of


def open_folder(
    folder: pathlib.Path,
    split: str = "train",
    *,
    exif: bool = True,
    channels: int | None = None,
) -> IndexedSource:
    """Opens the images in a folder and its sub-folders, in the order of their paths.

    `find_layout` says which sub-folders are splits. Those on the first level of a
    split, or of a folder without any, are the classes, if there are two of them or more
    with images, and no image lies beside them. Every file is decoded once, so that bad
    ones are known before the first step; they are left out and listed, as are pictures
    of kinds that are not read.

    Args:
        folder: Where the images are. Hidden files and folders are ignored.
        split: A name among the layout's splits.
        exif: Whether a photograph is turned upright, as its camera notes in EXIF.
        channels: 1, 3, or that of TIFF files; None is 3.

    Raises:
        InputError: There is no such split, no image, or over 5 % of the files are bad.
    """
    layout = find_layout(folder)
    check_one_of(split, layout.splits, f"a split of {folder}")
    root = layout.splits[split]
    return _open_root(folder, root, split, layout, exif=exif, channels=channels or 3)


def _open_root(
    folder: pathlib.Path,
    root: pathlib.Path,
    split: str,
    layout: Layout,
    *,
    exif: bool,
    channels: int,
) -> IndexedSource:
    """Opens the images below a root in the folder, which is a split of its layout."""
    unread: dict[str, str] = {}
    files = sorted(list_files(root, unread))
    check(
        bool(files) or not unread,
        f"files in {root} that can be read",
        "; ".join(f"{root / name}: {why}" for name, why in [*unread.items()][:3]),
        "Look at who may read them, and where links lead.",
    )
    found = check_files(root, files, exif=exif, channels=channels)
    (height, width), *others = found.shapes
    image_shape = None if others else (height, width, channels)
    name = readable(folder.resolve().name)

    def of(files: list[str], image_shape: Sequence[int] | None) -> IndexedSource:
        """The source of these files, some of which may be lost."""
        there, known = set(found.good), set(files)
        left_out = [file for file in found.bad if file not in known]
        newer = _newer(there - known)
        return _make_source(
            root,
            files,
            found.reads,
            image_shape,
            exif=exif,
            channels=channels,
            lost=[i for i, file in enumerate(files) if file not in there],
            name=f"{name}:{split}" if len(layout.splits) > 1 else name,
            skipped=(
                *(f"{root / file}: {found.bad[file]}" for file in left_out),
                *describe_unread(found.unread, root),
                *(f"{root / name}: {why}" for name, why in sorted(unread.items())),
            ),
            notes=(*layout.notes, *newer, *found.notes, *_beside_folders(files)),
            reopen=reopen,
            folder=folder,
            within=os.path.relpath(root, folder),
        )

    def reopen(begun: dict[str, Any]) -> IndexedSource:
        check(
            isinstance(begun, dict) and begun.keys() == source.files.keys(),
            "the list of files that the run began with",
            "another JSON value in its images.gz",
            "Bring the file back; another --run_dir begins anew.",
        )
        then = folder / begun["root"]
        if then != root and then.is_dir():  # a layout that new files have changed
            reading = {"exif": exif, "channels": channels}
            again = _open_root(folder, then, split, layout, **reading).as_begun(begun)
            beyond = [f for f in found.good if not (root / f).is_relative_to(then)]
            again.notes = (*_newer(set(beyond)), *again.notes)
            return again
        _check_sizes(root, begun)
        return of(begun["files"], begun["image_shape"])

    source = of(found.good, image_shape)
    return source


def _newer(files: set[str]) -> tuple[str, ...]:
    """A line on the files that a run which is resumed does not know."""
    if not files:
        return ()
    came = f"{len(files)} files that came" if len(files) > 1 else "1 file that came"
    return (
        f"Left out: {came} after the run began, such as {min(files)}. To learn from "
        "all, begin another run from this one's encoder: --start=RUN_DIR",
    )


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
    reads: dict[str, str],
    image_shape: Sequence[int] | None,
    *,
    exif: bool,
    channels: int,
    name: str,
    lost: Sequence[int],
    folder: pathlib.Path,
    within: str,
    **options: Any,
) -> IndexedSource:
    labels, class_names = _label(files)
    here = os.fspath(root)  # joins twenty times as fast
    paths = [os.path.join(here, file) for file in files]
    read = {p: reads.get(file, p) for p, file in zip(paths, files, strict=True)}
    table = on_host([os.fsencode(read[path]) for path in paths], tf.string)
    image_shape = image_shape and tuple(image_shape)

    def image_at(index: tf.Tensor) -> tf.Tensor:
        contents = tf.io.read_file(tf.gather(table, index))
        image = decode_channels(contents, channels, exif=exif)
        return image if image_shape is None else _resized(image, image_shape)

    def identify(indices: np.ndarray) -> str:
        states = [_state(paths[index]) for index in indices]
        other = [channels] if channels != 3 else []
        return fingerprint(states, exif, labels, class_names, indices, *other)

    def digest() -> str:
        return fingerprint(files)

    missed = Lost(paths, lambda path: why_unreadable(read[path]), lost)
    missed.check()
    return IndexedSource(
        name,
        len(paths),
        image_at,
        identify,
        labels=labels,
        class_names=class_names,
        channels=channels,
        image_shape=image_shape,
        paths=paths,
        lost=missed,
        files={
            "folder": str(folder.resolve()),
            "root": within,
            "image_shape": image_shape and list(image_shape),
            "files": files,
            "lengths": [_length(path) for path in paths],
        },
        **options,
        digest=digest,
    )


def _length(path: str | pathlib.Path) -> int:
    """Bytes of a file; -1 of one that is lost."""
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


def _state(path: str) -> tuple[str, int, int]:
    """What tells a file from what it was before; a lost one has a state, too."""
    return path, *(state_of(path) or (-1, -1))


def _resized(image: tf.Tensor, shape: tuple[int, int, int]) -> tf.Tensor:
    """An image of the size that all had when the source was opened."""

    def resize() -> tf.Tensor:
        resized = tf.image.resize(image, shape[:2], antialias=True)
        return tf.cast(tf.round(resized), tf.uint8)

    image = tf.cond(tf.reduce_all(tf.shape(image) == shape), lambda: image, resize)
    return tf.ensure_shape(image, shape)


def _label(files: list[str]) -> tuple[np.ndarray | None, tuple[str, ...] | None]:
    """Labels int64 (N,) and class names from first-level sub-folders, or two Nones."""
    tops = [file.partition("/")[0] if "/" in file else "" for file in files]
    class_names = tuple(sorted(set(tops)))
    if len(class_names) < 2 or "" in class_names:
        return None, None
    number = {name: i for i, name in enumerate(class_names)}
    labels = np.array([number[top] for top in tops], np.int64)
    return labels, tuple(map(readable, class_names))


def _beside_folders(files: Sequence[str]) -> Iterator[str]:
    """A sentence on images that lie beside what would else be classes."""
    loose = [file for file in files if "/" not in file]
    folders = {file.partition("/")[0] for file in files} - set(loose)
    if loose and len(folders) > 1:
        lie = f"{readable(loose[0])} lies"
        if len(loose) > 1:
            lie = f"{len(loose)} images, such as {readable(loose[0])}, lie"
        yield (
            f"{lie} beside the {len(folders)} sub-folders, so these are not taken as "
            "classes: move what lies there into a sub-folder, or out."
        )


def _judged_splits(path: str, reading: Reading) -> tuple[str, ...]:
    judges = find_layout(pathlib.Path(path)).judges
    return ("train",) if judges is None else ("train", judges)


SOURCE = SourceKind(
    takes="a folder of images",
    recognises=lambda path, _: os.path.isdir(path),
    open=lambda path, split, reading: open_folder(
        pathlib.Path(path), split, exif=reading.exif, channels=reading.channels
    ),
    splits=_judged_splits,
    turn=0,
)
