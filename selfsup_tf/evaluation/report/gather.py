"""The files of a run directory, read and checked: all that a report is made of."""

import contextlib
import dataclasses
import datetime
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import jinja2

from selfsup_tf.errors import InputError
from selfsup_tf.evaluation.results import StoredResult, in_order, read_folder
from selfsup_tf.files import read_object
from selfsup_tf.run import RunDirectory

_LATER = 60.0  # seconds; files that are copied together are no further apart


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """A run as far as it is on disk.

    Attributes:
        directory: Where it lies.
        config: config.json; empty where there is none.
        records: Of log.jsonl.
        results: Of the protocols in their order, those of one protocol together.
        unread: Names of the JSON files in eval/ that are of no protocol.
        manifest: export/manifest.json, or None.
    """

    directory: RunDirectory
    config: dict[str, Any]
    records: list[dict[str, Any]]
    results: tuple[StoredResult, ...]
    unread: tuple[str, ...]
    manifest: dict[str, Any] | None

    @property
    def name(self) -> str:
        """The name of the directory."""
        return self.directory.path.resolve().name or str(self.directory.path)

    @property
    def flag(self) -> str:
        """What names the run on a command line."""
        return self.directory.flag

    @property
    def verdict(self) -> str | None:
        """The first verdict of a protocol that gives one, of the newest encoder."""
        newest_first = sorted(self.results, key=lambda stored: stored.stale)
        verdicts = (stored.result.verdict for stored in newest_first)
        return next(filter(None, verdicts), None)

    @property
    def written(self) -> datetime.datetime | None:
        """When log.jsonl was last written, or None."""
        time = _time(self.directory.log)
        return time and datetime.datetime.fromtimestamp(time, datetime.UTC)

    @property
    def outrun(self) -> list[pathlib.Path]:
        """The networks that were written after every result of them."""
        newest: dict[str, float] = {}
        for one in self.results:
            if one.network is not None:
                time = _time(one.path)
                newest[one.network] = max(newest.get(one.network, time), time)
        files = {self.directory.kept(name): time for name, time in newest.items()}
        return [f for f, time in files.items() if (_time(f) or 0) > time + _LATER]

    @property
    def stale_export(self) -> bool:
        """Whether the export is of another encoder than those evaluated since.

        It doesn't say whether it holds the last encoder or the best.
        """
        encoder = (self.manifest or {}).get("encoder")
        own = encoder.get("weights_sha256") if isinstance(encoder, dict) else None
        # The weights of such an encoder are exported in float32, and differ for that.
        of_float64 = self.config.get("precision") == "float64"
        current = [r for r in self.results if not r.stale and r.result.weights_hash]
        if not own or of_float64 or not current:
            return False
        known = any(stored.result.weights_hash == own for stored in current)
        newest = max(_time(stored.path) for stored in current)
        return not known and _time(self.directory.manifest) < newest


def gather(run_dir: str | os.PathLike[str]) -> RunFiles:
    """Reads a run directory.

    Args:
        run_dir: The directory, or a .keras file in it.

    Raises:
        InputError: There is no run, or one of its files is damaged.
    """
    directory = RunDirectory(run_dir)
    directory.check_exists()
    config = directory.read_config() or {}
    with reading(directory.config):
        groups = [config.get("encoder", {}), config.get("optimizer", {})]
        if not all(isinstance(v, dict) for v in (*groups, *config.get("views", ()))):
            raise TypeError("a group of options is no object")
    with reading(directory.log):
        records = directory.read_log()
        if not all(isinstance(record, dict) for record in records):
            raise TypeError("a line is no JSON object")
    manifest = directory.manifest

    order = list(in_order())
    results, unread = read_folder(directory)

    def place(stored: StoredResult) -> tuple:
        name = stored.result.protocol  # of one that is gone, after all others
        return [*order, name].index(name), stored.name != name, stored.name

    return RunFiles(
        directory=directory,
        config=config,
        records=records,
        results=tuple(sorted(results, key=place)),
        unread=tuple(unread),
        manifest=read_object(manifest) if manifest.is_file() else None,
    )


@contextlib.contextmanager
def reading(path: pathlib.Path) -> Iterator[None]:
    """Names the file where its values are not of the form they should be."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, OSError, InputError,
            jinja2.UndefinedError) as error:  # fmt: skip
        if isinstance(error, InputError) and str(path) in str(error):
            raise
        raise InputError(
            f"{path} as this package writes it",
            f"{type(error).__name__}: {error}",
            "It is damaged, or of another version; delete it, or run again what "
            "wrote it.",
        ) from error


def _time(path: pathlib.Path) -> float | None:
    return path.stat().st_mtime if path.is_file() else None
