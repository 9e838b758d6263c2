"""What was measured before, kept beside the settings that it was measured with."""

import json
import pathlib

from selfsup_tf.files import read_json, whole_file


def known(file: pathlib.Path, asked: dict) -> dict | None:
    """What was measured by the same settings, None if nothing was."""
    if not file.is_file():
        return None
    found = read_json(file)
    return found if found.pop("asked") == json.loads(json.dumps(asked)) else None


def keep(file: pathlib.Path, asked: dict, found: dict) -> None:
    """Writes what was measured, for `known`."""
    with whole_file(file) as part:
        part.write_text(json.dumps({"asked": asked, **found}))
