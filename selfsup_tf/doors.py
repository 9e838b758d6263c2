"""Doors: folders whose modules are found by being there, in this package or outside.

A door is a package with one module for each thing that it offers, such as
`selfsup_tf.evaluation.protocols`. A module of your own joins them from any folder of
`sys.path` that holds the same path: MY_FOLDER/selfsup_tf/evaluation/protocols/NAME.py.
Nothing else is edited, and no `__init__.py` is needed there.
"""

import importlib
import pathlib
import pkgutil
import sys
from typing import Any

from selfsup_tf.errors import InputError, nearest


class Door:
    """The modules of one package, by name; each holds one object of one name.

    Args:
        package: The package's name, such as "selfsup_tf.exporting.formats".
        attribute: The name that every module defines, such as "FORMAT".
        noun: What one of them is called in messages, such as "a format".
    """

    def __init__(self, package: str, attribute: str, noun: str):
        self._package, self._attribute, self._noun = package, attribute, noun

    def names(self) -> list[str]:
        """The names of all modules, sorted; none of them is imported."""
        found = pkgutil.iter_modules(self._folders())
        return sorted(m.name for m in found if not m.name.startswith("_"))

    def find(self, name: str) -> Any:
        """The object of the module of that name.

        Raises:
            InputError: There is no such module, or it does not define the object.
        """
        if name not in self.names():
            raise InputError(self._noun, repr(name), nearest(name, self.names()))
        module = importlib.import_module(f"{self._package}.{name}")
        try:
            return getattr(module, self._attribute)
        except AttributeError:
            raise InputError(
                f"{self._attribute} in {module.__file__}",
                "a module without it",
                "CONTRIBUTING.md shows a complete example.",
            ) from None

    def all(self) -> dict[str, Any]:
        """Every object by the name of its module, sorted."""
        return {name: self.find(name) for name in self.names()}

    def _folders(self) -> list[str]:
        """The package's folders, those included that `sys.path` holds by now."""
        folders = importlib.import_module(self._package).__path__
        inside = pathlib.Path(*self._package.split("."))
        for entry in sys.path:
            folder = str(pathlib.Path(entry or ".", inside).absolute())
            if folder not in folders and pathlib.Path(folder).is_dir():
                folders.append(folder)
        return folders
