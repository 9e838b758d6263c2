"""Results of protocols, read back from a run; no TensorFlow."""

import dataclasses
import os
import pathlib
import re
import time
from collections.abc import Mapping
from typing import Any

from selfsup_tf.errors import InputError, check
from selfsup_tf.evaluation.protocol import FORMAT, PROTOCOLS, Protocol, Result
from selfsup_tf.fields import is_number
from selfsup_tf.files import DAMAGED, read_json, write_json
from selfsup_tf.run import ENCODERS, RunDirectory
from selfsup_tf.shown import brief

_FILE = re.compile(r"_file=(.+?)(?=_[^_=]+=|$)")  # of a .keras file that was named
_WRITTEN = "written"


@dataclasses.dataclass(frozen=True)
class StoredResult:
    """A result in the directory of a run.

    Attributes:
        name: That of its file, without a suffix: the protocol and what sets it apart.
        path: The file.
        result: What it holds.
        written: When, in seconds since 1970.
        stale: Whether it is of another state of its network than the newest result.
    """

    name: str
    path: pathlib.Path
    result: Result
    written: float
    stale: bool = False

    def __repr__(self) -> str:
        return brief(self, result=repr(self.result))

    @property
    def network(self) -> str | None:
        """The file of the network that it is of, without suffix; None of no network."""
        if self.result.weights_hash is None:
            return None
        named = _FILE.search(self.name)
        if named:
            return named[1]
        if self.result.network != "encoder":
            return self.result.network
        return ENCODERS["best" if "encoder=best" in self.name.split("_") else "last"]


def write_result(path: str | os.PathLike[str], result: Result) -> None:
    """Writes a result, with the time: that of its file changes when it is copied."""
    write_json(path, {**result.to_dict(), _WRITTEN: round(time.time(), 3)})


def read_results(run_dir: str | pathlib.Path | RunDirectory) -> list[StoredResult]:
    """All results in RUN_DIR/eval, by name; files of no protocol are left out.

    Raises:
        InputError: A file is damaged.
    """
    return read_folder(run_dir)[0]


def read_folder(
    run_dir: str | pathlib.Path | RunDirectory,
) -> tuple[list[StoredResult], list[str]]:
    """As `read_results`, and the names of the JSON files that are of no protocol."""
    folder, protocols = RunDirectory(run_dir).evaluation, PROTOCOLS.all()
    stored, unread = {}, []
    for path in sorted(folder.glob("[!.]*.json")):
        values = read_json(path)
        result = _read_values(path, values, protocols)
        if result is None:
            unread.append(path.name)
        else:
            written = values.get(_WRITTEN)
            if not is_number(written):
                written = path.stat().st_mtime
            stored[path.stem] = StoredResult(path.stem, path, result, written)
    return _mark_stale([stored[name] for name in sorted(stored)]), unread


def _read_values(
    path: pathlib.Path, values: Any, protocols: Mapping[str, Protocol]
) -> Result | None:
    """The result in a JSON file; None where no protocol has written it."""
    word = path.stem.partition("_")[0]
    if not isinstance(values, dict):
        check(word not in protocols, f"a JSON object in {path}", "another", DAMAGED)
        return None
    said = values.get("protocol")
    try:
        if values.get("format") == FORMAT and isinstance(said, str):
            return Result.from_dict(values)
        if said not in protocols:
            return None
        raise ValueError(f"a result of another form, {values.get('format')}")
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{path} as eval.py writes it", reason, DAMAGED) from error


def _mark_stale(results: list[StoredResult]) -> list[StoredResult]:
    """Marks those that are of another state of their network than the newest one.

    A run that goes on training leaves results of an earlier state behind.
    """
    newest: dict[str | None, str | None] = {}
    for one in sorted(results, key=lambda one: -one.written):
        newest.setdefault(one.network, one.result.weights_hash)
    marked = []
    for one in results:
        digest = one.result.weights_hash
        stale = one.network is not None and digest != newest[one.network]
        marked.append(dataclasses.replace(one, stale=stale))
    return marked


def in_order() -> dict[str, Protocol]:
    """Every protocol by its word, in their order."""
    found = PROTOCOLS.all()
    return dict(sorted(found.items(), key=lambda item: (item[1].order, item[0])))


def wanted_by_report(there: Mapping[str, bool]) -> dict[str, Protocol]:
    """The protocols that a report measures, in their order.

    Args:
        there: Whether there is what `Protocol.needs` names.
    """
    return {
        word: protocol
        for word, protocol in in_order().items()
        if protocol.measured_by_report
        and all(there.get(need) for need in protocol.needs)
    }


def first_look(there: Mapping[str, bool]) -> str:
    """The word of the protocol to begin with: that which needs most of what is there.

    Args:
        there: As for `wanted_by_report`.
    """
    found = wanted_by_report(there)
    return max(found, key=lambda word: len(found[word].needs))
