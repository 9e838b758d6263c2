"""Locks that the operating system lets go when a process ends, however it ends.

Windows has none of them, nor have some file systems.
"""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import TextIO

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
        return try_lock(handle, shared=True)
    finally:
        os.close(handle)
