"""What was measured before, kept beside the settings that it was measured with."""

import json
import pathlib
from collections.abc import Callable
from typing import Any

from selfsup_tf.files import read_json, whole_file


def known(file: pathlib.Path, asked: dict) -> dict | None:
    """What was measured by the same settings, None if nothing was.

    A setting that the file lacks is younger than it, and had its default then.
    """
    if not file.is_file():
        return None
    found = read_json(file)
    asked = json.loads(json.dumps(asked))
    return found if _same(found.pop("asked", None), asked) else None


def keep(file: pathlib.Path, asked: dict, found: dict) -> None:
    """Writes what was measured, for `known`."""
    with whole_file(file) as part:
        part.write_text(json.dumps({"asked": asked, **found}))


def measured(
    run: pathlib.Path,
    asked: dict,
    train: Callable[[], dict],
    judge: Callable[[], float],
) -> dict:
    """What training found and, as `knn`, what judging did; neither is done again.

    Args:
        run: A path; what was found lies in RUN.trained and RUN.judged.
        asked: The settings.
        train: Leaves the network somewhere, and says how it went.
        judge: Judges what training has left.
    """
    trained, judged = (run.with_suffix(f".{end}") for end in ("trained", "judged"))
    if found := known(judged, asked):
        return found
    found = known(trained, asked)
    if not found:
        found = train()
        keep(trained, asked, found)
    found["knn"] = judge()
    keep(judged, asked, found)
    return found


def _same(then: Any, now: Any) -> bool:
    if isinstance(then, dict) and isinstance(now, dict):
        return then.keys() <= now.keys() and all(_same(then[k], now[k]) for k in then)
    if isinstance(then, list) and isinstance(now, list):
        return len(then) == len(now) and all(map(_same, then, now))
    return then == now
