"""What was measured before, kept beside the settings that it was measured with."""

import json
import pathlib
from collections.abc import Callable

from selfsup_tf.files import read_json, whole_file


def known(file: pathlib.Path, asked: dict) -> dict | None:
    """What was measured by the same settings, None if nothing was."""
    if not file.is_file():
        return None
    found = read_json(file)
    return found if found.pop("asked", None) == json.loads(json.dumps(asked)) else None


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
        for old in (trained, judged):
            old.unlink(missing_ok=True)  # of a network that is about to go
        found = train()
        keep(trained, asked, found)
    found["knn"] = judge()
    keep(judged, asked, found)
    return found
