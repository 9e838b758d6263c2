"""Names that installed packages know, read from their files; none is imported.

Importing Keras or TFDS takes seconds, too long to answer a slip.
"""

import functools
import importlib.util
import pathlib
import re


@functools.cache
def tfds_names() -> frozenset[str]:
    """Names of TFDS data, by its source files: all that it has, and some more."""
    folder = _folder_of("tensorflow_datasets")
    if folder is None:
        return frozenset()
    names = {path.name for path in (folder / "datasets").glob("*") if path.is_dir()}
    for file in folder.rglob("*.py"):
        for found in re.findall(r"^class (\w+)\(", file.read_text("utf-8"), re.M):
            words = r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])"
            names.add(re.sub(words, "_", found).lower())
    return frozenset(names)


@functools.cache
def application_names() -> frozenset[str]:
    """Names of the networks of keras.applications, by its source file."""
    folder = _folder_of("keras")
    file = folder and folder / "applications" / "__init__.py"
    if not file or not file.is_file():
        return frozenset()
    return frozenset(re.findall(r" as ([A-Z]\w+)", file.read_text("utf-8")))


def _folder_of(package: str) -> pathlib.Path | None:
    """Where a package lies, which is not imported."""
    spec = importlib.util.find_spec(package)
    places = list(spec.submodule_search_locations or ()) if spec else []
    return pathlib.Path(places[0]) if places else None
