"""What was found of a folder's files is kept, so that each is decoded once to check it.

A file is known again by its size and time, as converted ones are. Bad ones are looked
at each time, as their reason may have been another than their bytes. Where nothing can
be kept, all is looked at anew, which is slower and nothing else.
"""

import contextlib
import hashlib
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from selfsup_tf.errors import InputError
from selfsup_tf.files import cache_folder, read_object, state_of, write_json

_RULES = 1
"""Raised when other files are taken or refused than before."""


class Checked:
    """What is known of the files of a folder.

    Args:
        root: The folder.
        reading: All that the findings depend on beside the files.
    """

    def __init__(self, root: pathlib.Path, *reading: Any):
        told = repr((os.path.realpath(root), _RULES, *reading))
        name = hashlib.sha256(told.encode(errors="surrogateescape")).hexdigest()
        self._file: pathlib.Path | None = None
        self._kept: dict[str, list] = {}
        self._states: dict[str, list[int]] = {}
        # There is no home; there is no such file, or it is damaged.
        with contextlib.suppress(RuntimeError, InputError):
            self._file = cache_folder("checked") / f"{name}.json.gz"
            self._kept = read_object(self._file)

    def known(self, paths: Mapping[str, str]) -> dict[str, Any]:
        """What was found of those files that are as they were then.

        Args:
            paths: What is read of each file, by the file's name in the folder.
        """
        # As it is before anybody looks: what changes meanwhile is looked at again.
        self._states = {
            file: list(state_of(path) or ()) for file, path in paths.items()
        }
        found = {}
        for file, state in self._states.items():
            kept = self._kept.get(_text(file))
            if state and isinstance(kept, list) and kept[:1] == [state]:
                found[file] = kept[-1]
        return found

    def keep(self, found: Mapping[str, Any]) -> None:
        """Keeps what was found of these files, as JSON can hold it."""
        kept = {_text(file): [self._states[file], one] for file, one in found.items()}
        if self._file is not None:
            with contextlib.suppress(OSError, InputError):
                write_json(self._file, kept)


def _text(name: str) -> str:
    # JSON holds no bytes that are no text.
    return name.encode(errors="surrogateescape").decode("latin-1")
