"""Where an export goes: taken whole, and nobody else's files."""

import contextlib
import glob
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Iterator

from selfsup_tf.errors import InputError, check
from selfsup_tf.exporting.manifest import MANIFEST
from selfsup_tf.files import OF_NOBODY, check_writable, read_object, sync
from selfsup_tf.locks import hold, is_free


def check_place(directory: pathlib.Path, overwrite: bool) -> None:
    """Raises InputError where an export may not be put.

    Args:
        directory: Where to.
        overwrite: Whether an earlier export that stands there may be replaced. What
            no export has written may not.
    """
    if not directory.exists():
        check_writable(directory.parent, "a place for the export")
        return
    check(
        overwrite,
        "an export directory that is not there yet",
        directory,
        "Choose another, or replace it with overwrite (--overwrite=True).",
    )
    # Replacing deletes: only what an export has written, or nothing, may go.
    advice = "It was not written by an export and is left alone; choose another place."
    check(directory.is_dir(), "an earlier export to overwrite", directory, advice)
    check(
        not directory.is_mount(),
        "a directory that can be renamed, to overwrite it whole",
        f"{directory}, where a file system is mounted",
        f"Choose a new one in it: --directory={directory / 'encoder'}",
    )
    foreign = _foreign_files(directory)
    check(
        not foreign,
        "an earlier export to overwrite",
        f"{directory}, which holds {', '.join(foreign[:3])}"
        + (" and more" if len(foreign) > 3 else ""),
        advice,
    )
    check_writable(directory.parent, "a place for the export")


@contextlib.contextmanager
def work_beside(directory: pathlib.Path) -> Iterator[pathlib.Path]:
    """A new directory to write an export in; gone after the block, if it is there.

    The operating system locks it for as long as this process lives, by which
    `clear_left` tells it from what a killed one has left.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    work = tempfile.mkdtemp(prefix=f".{directory.name}.part-", dir=directory.parent)
    try:
        with hold(work):
            yield pathlib.Path(work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def clear_left(directory: pathlib.Path) -> None:
    """Clears up after exports to a place that were killed.

    One that was moved aside to be replaced is put back if nothing has replaced it.
    """
    left = _beside(directory, r"part-[a-z0-9_]{8}")
    if not all(map(is_free, left)):
        return  # somebody is at it
    for old in _beside(directory, r"old\.\d+"):
        if _foreign_files(old):
            continue  # of somebody else, by the same name
        left.append(old)
        if not directory.exists():
            os.rename(left.pop(), directory)
    for work in left:
        _remove(work)


def _remove(export: pathlib.Path) -> None:
    """Deletes an export, its manifest last, by which the rest is known as its own."""
    with contextlib.suppress(OSError):
        for path in export.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != MANIFEST:
                path.unlink()
    shutil.rmtree(export, ignore_errors=True)


def _beside(directory: pathlib.Path, ending: str) -> list[pathlib.Path]:
    """Hidden directories beside one, named after it, whose names end like that."""
    name = re.compile(rf"\.{re.escape(directory.name)}\.{ending}")
    entries = directory.parent.glob(f".{glob.escape(directory.name)}.*")
    return sorted(p for p in entries if name.fullmatch(p.name) and p.is_dir())


def put_in_place(work: pathlib.Path, directory: pathlib.Path, overwrite: bool) -> None:
    """Renames `work` to `directory`; an earlier export goes when it is replaced.

    The place is looked at again: minutes lie between the first look and this one.
    """
    for file in work.rglob("*"):
        sync(file)  # so that a power cut leaves no name without its contents
    check_place(directory, overwrite)
    if not overwrite or not directory.exists():
        # Fails, and deletes nothing, where somebody else has just been faster.
        os.rename(work, directory)
        sync(directory.parent)
        return
    old = directory.with_name(f".{directory.name}.old.{os.getpid()}")
    os.rename(directory, old)
    try:
        os.rename(work, directory)
    except OSError:
        os.rename(old, directory)
        raise
    sync(directory.parent)
    _remove(old)


def _foreign_files(directory: pathlib.Path) -> list[str]:
    """Files of a directory that no export has written there."""
    files = {
        path.relative_to(directory).as_posix()
        for path in directory.rglob("*")
        if not path.is_dir() and path.name not in OF_NOBODY
    }
    return sorted(files - _known_files(directory))


def _known_files(directory: pathlib.Path) -> set[str]:
    with contextlib.suppress(InputError):
        values = read_object(directory / MANIFEST)
        if "versions" in values and isinstance(values.get("files"), dict):
            return {MANIFEST, *values["files"]}
    return set()
