"""JSON files, written whole or not at all."""

import json
import os
import pathlib
from typing import Any

from selfsup_tf.errors import InputError


def read_json(path: str | pathlib.Path) -> dict[str, Any]:
    """The contents of a config.json as plain values."""
    try:
        return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise InputError(
            f"a readable JSON file at {path}",
            str(error),
            "Name a run directory that `train.py` has written.",
        ) from error


def write_atomically(path: str | pathlib.Path, contents: str) -> None:
    """Writes a text file whole or not at all."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(contents, encoding="utf-8")
    os.replace(beside, path)


def write_json(path: str | pathlib.Path, values: Any) -> None:
    """Writes a JSON file whole or not at all."""
    write_atomically(path, json.dumps(values, indent=2) + "\n")


def read_log(path: pathlib.Path) -> list[dict[str, Any]]:
    """The records of a log.jsonl; a last line cut off by a crash is left out."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records
