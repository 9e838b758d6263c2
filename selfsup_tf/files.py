"""Text, JSON and figures on disk, written whole or not at all; and stderr."""

import contextlib
import errno
import gzip
import hashlib
import json
import os
import pathlib
import re
import secrets
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from selfsup_tf.errors import InputError

if TYPE_CHECKING:
    import matplotlib.figure

DAMAGED = "It is damaged or of another program; delete it, or run again what wrote it."

PATTERN = re.compile(r"[][*?]")
"""What TensorFlow takes for a pattern in the path of a SavedModel or a checkpoint."""
OF_NOBODY = {".DS_Store", ".directory", "Thumbs.db", ".gitkeep", ".gitignore"}
"""What file managers leave in a folder, and what keeps an empty one in git."""
_TOKEN = re.compile("[0-9a-f]+")
"""What `whole_file` tells its files apart by."""
_FULL = [os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)]
"""What systems say when there is no room."""


def read_json(path: str | pathlib.Path, *, advice: str = DAMAGED) -> Any:
    """The contents of a JSON file as plain values.

    Args:
        path: The file; one that ends with .gz is compressed.
        advice: What to do where it can't be read, for the one who named it.

    Raises:
        InputError: There is no such file, or it holds no JSON.
    """
    try:
        contents = pathlib.Path(path).read_bytes()
        if pathlib.Path(path).suffix == ".gz":
            contents = gzip.decompress(contents)
        return json.loads(contents.decode("utf-8"))
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        raise InputError(
            f"a readable JSON file at {path}", str(error), advice
        ) from error


def read_object(path: str | pathlib.Path, *, advice: str = DAMAGED) -> dict[str, Any]:
    """The contents of a JSON file that holds an object.

    Raises:
        InputError: As `read_json`, or it holds something else.
    """
    values = read_json(path, advice=advice)
    if not isinstance(values, dict):
        raise InputError(f"a JSON object in {path}", type(values).__name__, advice)
    return values


def read_records(path: str | pathlib.Path) -> list[dict[str, Any]]:
    """The objects of a file with one in each line, all of which have a "step".

    A last line cut off by a crash is left out.

    Raises:
        InputError: It can't be read, or another line is damaged.
    """
    try:
        *lines, last = pathlib.Path(path).read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(f"a log at {path}", str(error), DAMAGED) from error
    with contextlib.suppress(ValueError, RecursionError):
        json.loads(last.decode())
        lines.append(last)  # it is whole, without an end of line
    records = [_read_record(line) for line in lines]
    if None in records:
        number = records.index(None)
        raise InputError(
            f"an object with a step in each line of {path}",
            f"{lines[number][:40]!r} in line {number + 1}",
            "Mend or remove that line; the others are as they were.",
        )
    return records


def _read_record(line: bytes) -> dict[str, Any] | None:
    """The object of a line; None where it is none, or has no step."""
    try:
        record = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    is_record = isinstance(record, dict) and isinstance(record.get("step"), int)
    return record if is_record else None


def state_of(path: str | os.PathLike) -> tuple[int, int] | None:
    """Bytes and time of a file, by which it is known again; None of a lost one."""
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


def cache_folder(kind: str) -> pathlib.Path:
    """A folder of the user's cache: selfsup-tf/KIND in $XDG_CACHE_HOME or ~/.cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(cache) / "selfsup-tf" / kind


@contextlib.contextmanager
def whole_file(path: str | pathlib.Path) -> Iterator[pathlib.Path]:
    """A path to write to, beside the file; it takes the file's place at the end.

    Where the block raises, what was written is removed and the file stays as it was.
    After the block it outlives a power cut. The suffix is the file's, since formats
    are often chosen by it.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    beside.touch(exist_ok=False)  # fails where a link lies in wait under that name
    try:
        yield beside
        sync(beside)
        os.replace(beside, path)
        sync(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def left_by_whole_file(folder: pathlib.Path) -> dict[pathlib.Path, str]:
    """Files that a process has left which died in `whole_file`, and whose stem each is.

    Such as .config.3f2a.json and .encoder.3f2a.keras. Another program's may look the
    same.
    """
    left = {}
    for file in folder.glob(".*.*.*"):
        _, stem, *rest = file.name.split(".")
        if len(rest) == 2 and any(map(_TOKEN.fullmatch, rest)) and not file.is_dir():
            left[file] = stem
    return left


def sync(path: str | pathlib.Path) -> None:
    """Waits until a file, or the names in a directory, would outlive a power cut."""
    folder = os.path.isdir(path)
    if folder and os.name == "nt":
        return  # Windows opens no directory
    descriptor = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def enough_room(folder: pathlib.Path, needed: str, safe: str) -> Iterator[None]:
    """Says it in one message where the disk is full, whoever finds it so.

    Args:
        folder: Where the block writes.
        needed: How much and what for, to follow "expected ".
        safe: What is not lost, and what to do.

    Raises:
        InputError: The disk is full, a quota is used up, or a file may not be so large.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # TensorFlow, HDF5 and Python have each their own
        reasons = [reason for reason in _FULL if reason in str(error)]
        if not reasons:
            raise
        free = shutil.disk_usage(folder).free / 1e6
        found = f"{free:,.0f} MB free ({reasons[0]})"
        raise InputError(f"{needed} in {folder}", found, safe) from error


@contextlib.contextmanager
def writable(what: str = "a run_dir") -> Iterator[None]:
    """Raises InputError where the block can't write a directory."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{what} that can be written", str(error), "Choose another."
        ) from error


def check_writable(folder: str | pathlib.Path, what: str = "a run_dir") -> None:
    """Raises InputError where nothing can be written to a folder, which is made."""
    folder = pathlib.Path(folder).expanduser()
    with writable(what):
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()


def digest(path: str | pathlib.Path) -> str:
    """The SHA-256 of a file; of a folder, of its files' names and contents."""
    path, found = pathlib.Path(path), hashlib.sha256()
    if path.is_dir():
        for file in sorted(file for file in path.rglob("*") if file.is_file()):
            said = f"{file.relative_to(path).as_posix()} {digest(file)}\n"
            found.update(said.encode())
        return found.hexdigest()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            found.update(block)
    return found.hexdigest()


def write_atomically(path: str | pathlib.Path, contents: str) -> None:
    """Writes a text file whole or not at all."""
    with whole_file(path) as beside:
        beside.write_text(contents, encoding="utf-8")


def write_json(path: str | pathlib.Path, values: Any) -> None:
    """Writes a JSON file whole or not at all; compressed, where it ends with .gz."""
    if pathlib.Path(path).suffix == ".gz":
        with whole_file(path) as beside:
            beside.write_bytes(gzip.compress(json.dumps(values).encode(), mtime=0))
    else:
        write_atomically(path, json.dumps(values, indent=2) + "\n")


def save_figure(
    figure: "matplotlib.figure.Figure", path: str | pathlib.Path
) -> pathlib.Path:
    """Writes a figure whole or not at all; the suffix chooses the format.

    Args:
        figure: The figure.
        path: Such as RUN_DIR/eval/confusion_knn.png, or .svg, or .pdf.

    Returns:
        The path.
    """
    with whole_file(path) as beside:
        figure.savefig(beside, dpi=150)
    return pathlib.Path(path)


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Discards what anything writes to stderr meanwhile, C++ included."""
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
