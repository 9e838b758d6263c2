"""The files of a run directory, read and checked: all that a report is made of."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

from selfsup_tf.config import upgraded
from selfsup_tf.errors import InputError, check
from selfsup_tf.files import read_json
from selfsup_tf.run import RunDirectory

_LATER = 60.0  # seconds; files that are copied together are no further apart


@dataclasses.dataclass(frozen=True)
class Result:
    """One eval/NAME.json.

    Attributes:
        name: NAME.
        protocol: What made it.
        path: The file.
        values: What it holds.
        stale: Whether it is of another state of the encoder than the newest result.
    """

    name: str
    protocol: str
    path: pathlib.Path
    values: dict[str, Any]
    stale: bool = False


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """A run as far as it is on disk.

    Attributes:
        path: The directory, as the user named it.
        name: What it is called on the page.
        config: config.json; empty where there is none.
        records: Of log.jsonl.
        results: eval/*.json that a protocol has written, by name.
        unread: Names of the eval/*.json that the page does not show.
        map: eval/map.json and its sprite, or None.
        manifest: export/manifest.json as a result named export, or None.
        written: When log.jsonl was last written, seconds since 1970, or None.
        outrun: Whether the encoder was written after every result.
    """

    path: pathlib.Path
    name: str
    config: dict[str, Any]
    records: list[dict[str, Any]]
    results: tuple[Result, ...]
    unread: tuple[str, ...]
    map: Result | None
    manifest: Result | None
    written: float | None
    outrun: bool

    def of(self, protocol: str) -> list[Result]:
        """The results of one protocol, the one named like it first."""
        found = [r for r in self.results if r.protocol == protocol]
        return sorted(found, key=lambda r: (r.name != protocol, r.name))

    @property
    def health(self) -> Result | None:
        """The result of `eval.py health`."""
        return next(iter(self.of("health")), None)

    def picture(self, name: str) -> pathlib.Path | None:
        """eval/NAME, where it is there."""
        path = self.path / "eval" / name
        return path if path.is_file() else None


def gather(run_dir: str | pathlib.Path) -> RunFiles:
    """Reads a run directory.

    Args:
        run_dir: The directory, or a .keras file in it.

    Raises:
        InputError: There is no run, or one of its files is damaged.
    """
    path = pathlib.Path(run_dir).expanduser()
    path = path.parent if path.suffix == ".keras" else path
    config_file, log = path / "config.json", path / "log.jsonl"
    encoder = path / "encoder.keras"
    check(
        config_file.is_file() or encoder.is_file(),
        f"a run at {path}",
        "no config.json and no encoder.keras" if path.is_dir() else "no such directory",
        "Train one first: python train.py METHOD RECIPE --run_dir=DIRECTORY",
    )
    config = _read_config(config_file) if config_file.is_file() else {}
    results, unread, place = [], [], None
    for file in sorted((path / "eval").glob("*.json")):
        values = read_object(file)
        if file.stem == "map":
            place = Result("map", "map", file, values)
        elif isinstance(values.get("protocol"), str):
            results.append(Result(file.stem, values["protocol"], file, values))
        else:
            unread.append(file.name)
    *results, place = mark_stale([*results, place])
    manifest = path / "export" / "manifest.json"
    exported = None
    if manifest.is_file():
        exported = Result("export", "export", manifest, read_object(manifest))
        exported = _mark_export(exported, [*results, place], config)
    newest = max((r.path.stat().st_mtime for r in results), default=None)
    with reading(log):
        records = RunDirectory(path).read_log()
        if not all(isinstance(record, dict) for record in records):
            raise TypeError("a line is no JSON object")
    return RunFiles(
        path=path,
        name=path.resolve().name or str(path),
        config=config,
        records=records,
        results=tuple(results),
        unread=tuple(unread),
        map=place,
        manifest=exported,
        written=log.stat().st_mtime if log.is_file() else None,
        outrun=newest is not None
        and encoder.is_file()
        and encoder.stat().st_mtime > newest + _LATER,
    )


def read_object(path: pathlib.Path) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises:
        InputError: It is damaged, or holds something else.
    """
    with reading(path):
        values = read_json(path)
        if not isinstance(values, dict):
            raise TypeError(f"a {type(values).__name__}, no object")
    return values


def _read_config(path: pathlib.Path) -> dict[str, Any]:
    config = read_object(path)
    with reading(path):
        config = upgraded(config)
        views = config.pop("views", [])
        config |= {f"view_{number}": view for number, view in enumerate(views, 1)}
        views = {name for name in config if name.startswith("view_")}
        for name in {"encoder", "optimizer", *views}:
            if not isinstance(config.get(name, {}), dict):
                raise TypeError(f"{name} is no object")
    return config


@contextlib.contextmanager
def reading(path: pathlib.Path) -> Iterator[None]:
    """Names the file where its values are not of the form they should be."""
    try:
        yield
    except InputError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, OSError) as error:
        raise InputError(
            f"{path} as this package writes it",
            f"{type(error).__name__}: {error}",
            "It is damaged, or of another version; delete it, or run again what "
            "wrote it.",
        ) from error


def mark_stale(results: list[Result | None]) -> list[Result | None]:
    """Marks those that are of another state of the encoder than the newest one.

    A run that goes on training leaves results of an earlier state behind. Those of
    the best encoder (NAME_best) are compared among themselves; a classifier's accuracy
    is of another network and is never marked.
    """
    newest = {}
    for result in results:
        if result is not None and encoder_hash(result.values):
            key, time = _which(result), result.path.stat().st_mtime
            if key not in newest or time > newest[key][0]:
                newest[key] = (time, encoder_hash(result.values))
    marked = []
    for result in results:
        if result is not None and encoder_hash(result.values):
            now = newest[_which(result)][1]
            stale = encoder_hash(result.values) != now
            result = dataclasses.replace(result, stale=stale)
        marked.append(result)
    return marked


def _mark_export(
    export: Result, results: list[Result | None], config: dict[str, Any]
) -> Result:
    """Marked where its encoder is not the newest one that was evaluated since.

    It doesn't say whether it holds the last encoder or the best.
    """
    encoder = export.values.get("encoder")
    own = encoder.get("weights_sha256") if isinstance(encoder, dict) else None
    # The weights of such an encoder are exported in float32, and differ for that.
    of_float64 = config.get("precision") == "float64"
    current = [r for r in results if r and not r.stale and encoder_hash(r.values)]
    if not own or of_float64 or not current:
        return export
    known = any(encoder_hash(r.values) == own for r in current)
    newest = max(r.path.stat().st_mtime for r in current)
    written = export.path.stat().st_mtime
    return dataclasses.replace(export, stale=not known and written < newest)


def encoder_hash(values: dict[str, Any]) -> str | None:
    """Which encoder a result is of; a transfer's is that of its parts."""
    for part in (values, values.get("knn"), values.get("linear")):
        if isinstance(part, dict) and part.get("encoder_hash"):
            return str(part["encoder_hash"])
    return None


def _which(result: Result) -> str:
    return "best" if "encoder=best" in result.name.split("_") else "last"
