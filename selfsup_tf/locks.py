"""Locks that the operating system lets go when a process ends, however it ends.

Windows has none of them, nor have some file systems.
"""

import contextlib
import datetime
import json
import os
import pathlib
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from selfsup_tf.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

HAS_LOCKS = fcntl is not None
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # Windows has no such flag


def open_lock(path: pathlib.Path) -> TextIO:
    """Opens a file to lock and to write in place, new or not, but no link to another.

    Raises:
        OSError: It can't be opened, or is a link.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | _NO_LINK
    return os.fdopen(os.open(path, flags, 0o666), "a+", encoding="utf-8")


def try_lock(handle: TextIO | int, *, shared: bool = False) -> bool:
    """Locks an open file for this process; False where another one holds it."""
    try:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (AttributeError, OSError):
        pass  # Windows, or a file system without locks
    return True


@contextlib.contextmanager
def hold(folder: str | pathlib.Path) -> Iterator[None]:
    """Locks a folder that this process has made, until the block or the process ends.

    Nothing where the system has no such locks.
    """
    if not HAS_LOCKS:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try_lock(handle)
        yield
    finally:
        os.close(handle)


def is_free(folder: str | pathlib.Path) -> bool:
    """Whether no process holds a folder, see `hold`; False where there are no locks."""
    if not HAS_LOCKS:
        return False
    try:
        handle = os.open(folder, os.O_RDONLY | _NO_LINK)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:  # held, or of a file system without locks
        return False
    else:
        return True
    finally:
        os.close(handle)


@contextlib.contextmanager
def only_writer(path: pathlib.Path) -> Iterator[Callable[[], bool]]:
    """Holds the lock of a directory that one process writes, for the block's length.

    What it gives tells whether the directory still is the one that was locked: it may
    have been deleted, and another process may have begun another of its name.

    The operating system lets the lock go when the process ends, however it ends; a
    file that is left behind holds nobody up. Nothing where there are no locks.

    Args:
        path: The lock, in that directory; it says who holds it.

    Raises:
        InputError: Another process holds it; the message says which, since when.
        OSError: It can't be written.
    """
    if not HAS_LOCKS:
        yield lambda: True
        return
    handle = _take(path)
    try:
        yield lambda: _is_at(handle, path)
    finally:
        if _is_at(handle, path):
            path.unlink(missing_ok=True)
        handle.close()


@contextlib.contextmanager
def one_after_another(path: pathlib.Path) -> Iterator[None]:
    """Waits until no other process is in a block with this lock.

    Nothing where there are no locks, or it can't be written.
    """
    handle = None
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = open_lock(path)
    try:
        while handle is not None and not try_lock(handle):
            time.sleep(0.2)
        yield
    finally:
        if handle is not None:
            handle.close()


def check_unwritten(path: pathlib.Path) -> None:
    """Raises InputError where another process holds the lock, see `only_writer`."""
    with contextlib.suppress(OSError), path.open(encoding="utf-8") as handle:
        if not try_lock(handle, shared=True):
            _refuse(path, handle.read())


def _take(path: pathlib.Path) -> TextIO:
    while True:
        handle = open_lock(path)
        if not try_lock(handle):
            with handle:
                handle.seek(0)
                _refuse(path, handle.read())
        # Who held it before may just have removed the file that was opened here.
        if _is_at(handle, path):
            break
        handle.close()
    handle.truncate(0)
    now = datetime.datetime.now().astimezone()
    values = {
        "process": os.getpid(),
        "machine": platform.node(),
        "since": now.isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
    }
    json.dump(values, handle)
    handle.flush()
    return handle


def _is_at(handle: TextIO, path: pathlib.Path) -> bool:
    """Whether an open file is the one of a path."""
    try:
        return os.path.samestat(os.fstat(handle.fileno()), path.stat())
    except OSError:
        return False


def _refuse(path: pathlib.Path, contents: str) -> None:
    holder = (
        "process {process} on {machine}, which has been writing it since {since} "
        "({command})"
    )
    try:
        holder = holder.format_map(json.loads(contents))
    except (ValueError, LookupError, TypeError):  # it is just being written
        holder = "another process, which has just begun"
    raise InputError(
        f"a directory that no other process is writing in, {path.parent}",
        holder,
        "Wait for its end, or stop it; what is new needs a directory of its own.",
    )
