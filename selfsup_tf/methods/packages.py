"""How a method is found by its name: it is an importable package called NAME_tf.

The package has the modules `config` (one subclass of Config), `recipes` (functions that
return such configs) and `method` (one subclass of Method). Nothing else has to know of
it.
"""

import dataclasses
import importlib
import importlib.metadata
import importlib.util
import inspect
import pathlib
import pkgutil
import types
from collections.abc import Callable
from typing import Any

from selfsup_tf.config import Config, read_config
from selfsup_tf.errors import InputError, check_one_of, nearest
from selfsup_tf.methods.method import Method

MODULES = ("config", "recipes", "method")


@dataclasses.dataclass(frozen=True)
class MethodPackage:
    """An installed method. TensorFlow is imported only by `load`.

    Attributes:
        name: As on the command line, such as "simclr".
        config_class: Its subclass of Config.
        recipes: Its recipes by name, each a function of the fields to override.
    """

    name: str
    config_class: type[Config]
    recipes: dict[str, Callable[..., Config]]

    @property
    def title(self) -> str:
        """The method as its authors write it, "SimCLR"."""
        config = self.config_class
        return config.title or config.__name__.removesuffix("Config")

    def load(self) -> type[Method]:
        """The subclass of Method."""
        module = importlib.import_module(f"{self.name}_tf.method")
        return _only_subclass(module, Method)

    def recipe(self, name: str) -> Callable[..., Config]:
        """The recipe of that name, or an InputError naming the nearest."""
        check_one_of(name, self.recipes, f"a recipe of {self.name}")
        return self.recipes[name]


def list_methods() -> list[str]:
    """The names of the methods that can be imported."""
    names = {module.name for module in pkgutil.iter_modules() if module.ispkg}
    # An editable install is found by a hook, in no folder of sys.path.
    for installed in importlib.metadata.distributions():
        names.update((installed.read_text("top_level.txt") or "").split())
    return sorted(
        name.removesuffix("_tf")
        for name in names
        if name.endswith("_tf") and _is_method(name)
    )


def find_method(name: str) -> MethodPackage:
    """The method of that name.

    Raises:
        InputError: There is none; the nearest is named.
    """
    package = f"{name}_tf"
    if not name.isidentifier() or not _is_method(package):
        raise InputError("a method", repr(name), nearest(name, list_methods()))
    recipes = importlib.import_module(f"{package}.recipes")
    return MethodPackage(
        name=name,
        config_class=_only_subclass(
            importlib.import_module(f"{package}.config"), Config
        ),
        recipes={
            key: value
            for key, value in vars(recipes).items()
            if inspect.isfunction(value)
            and value.__module__ == recipes.__name__
            and not key.startswith("_")
        },
    )


def restore_config(stored: dict[str, Any]) -> Config:
    """The config of a run, from the contents of its config.json.

    Raises:
        InputError: Its method is not installed, or a field is not of its type.
    """
    return read_config(find_method(stored.get("method", "")).config_class, stored)


def _is_method(package: str) -> bool:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return False
    folders = [pathlib.Path(place) for place in spec.submodule_search_locations]
    return all(
        any((folder / f"{module}.py").is_file() for folder in folders)
        for module in MODULES
    )


def _only_subclass(module: types.ModuleType, base: type) -> Any:
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, base)
        and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise InputError(
            f"one subclass of {base.__name__} in {module.__name__}",
            [value.__name__ for value in found],
            "CONTRIBUTING.md shows what a method's package holds.",
        )
    return found[0]
