"""What a user adds: modules in doors, and modules of layers that are imported.

A door is a package with one module for each thing that it offers, such as
`selfsup_tf.evaluation.protocols`, found by being there. A module of your own joins them
from any folder of `sys.path` that holds the same path:
MY_FOLDER/selfsup_tf/evaluation/protocols/NAME.py. Nothing else is edited, and no
`__init__.py` is needed there.
"""

import importlib
import importlib.util
import logging
import os
import pathlib
import pkgutil
import sys
from typing import Any

from selfsup_tf.errors import InputError, check_one_of

logger = logging.getLogger("selfsup_tf")


def find_own(module: str) -> bool:
    """Whether a module is on `sys.path` or in the working directory, to be imported.

    The working directory is on the path of a script that lies there, and from here on
    of a program that is installed, too.
    """
    if not {"", os.getcwd()}.intersection(sys.path):
        sys.path.append(os.getcwd())
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # of a package that is missing, ".name" or ""
        return False


def own_folders(package: str) -> list[str]:
    """Folders of `sys.path` that add modules to a package, which is not imported."""
    top, *inside = package.split(".")
    found = []
    for entry in sys.path:
        at = pathlib.Path(entry or ".", top).absolute()
        folder = at.joinpath(*inside)
        # Another copy of the whole package is none of its extensions.
        if folder.is_dir() and not (at / "__init__.py").exists():
            found.append(str(folder))
    return list(dict.fromkeys(found))


class Door:
    """The modules of one package, by name; each holds one object of one name.

    Args:
        package: The package's name, such as "selfsup_tf.exporting.formats".
        attribute: The name that every module defines, such as "FORMAT".
        noun: What one of them is called in messages, such as "a format".
    """

    def __init__(self, package: str, attribute: str, noun: str):
        self._package, self._attribute, self._noun = package, attribute, noun
        self._broken: set[str] = set()

    def names(self) -> list[str]:
        """The names of all modules, sorted; none of them is imported."""
        found = pkgutil.iter_modules(self._folders())
        return sorted(m.name for m in found if not m.name.startswith("_"))

    def find(self, name: str) -> Any:
        """The object of the module of that name.

        Raises:
            InputError: There is no such module, or it does not define the object.
        """
        check_one_of(name, self.names(), self._noun)
        return self._load(name)

    def _load(self, name: str) -> Any:
        path = f"{self._package}.{name}"
        try:
            return getattr(importlib.import_module(path), self._attribute)
        except Exception as error:  # whatever a module of somebody's raises
            raise InputError(
                f"{self._attribute} in a module {path} that can be imported",
                f"{type(error).__name__}: {error}",
                "CONTRIBUTING.md shows a complete example.",
            ) from error

    def all(self) -> dict[str, Any]:
        """Every object by the name of its module, sorted.

        A broken module is left out and named once, since it concerns nobody who does
        not ask for it.
        """
        found = {}
        for name in self.names():
            try:
                found[name] = self._load(name)
            except InputError as error:
                if name not in self._broken:
                    logger.warning("%s %s is left out: %s", self._noun, name, error)
                self._broken.add(name)
        return found

    def _folders(self) -> list[str]:
        """The package's folders, those included that `sys.path` holds by now."""
        folders = importlib.import_module(self._package).__path__
        own = own_folders(self._package)
        folders.extend(folder for folder in own if folder not in folders)
        return folders
