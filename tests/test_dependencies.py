"""The tested versions are among those that the package takes."""

import pathlib
import runpy

import packaging.requirements
import packaging.utils
import pytest
import setuptools

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture
def metadata(monkeypatch):
    """What setup.py says."""
    metadata = {}
    monkeypatch.setattr(setuptools, "setup", lambda **values: metadata.update(values))
    runpy.run_path(str(ROOT / "setup.py"))
    return metadata


@pytest.fixture
def wanted(metadata):
    """The requirements of setup.py, those of its extras included."""
    extras = metadata["extras_require"].values()
    found = [*metadata["install_requires"], *(line for some in extras for line in some)]
    return [packaging.requirements.Requirement(line) for line in found]


def test_constraints_are_within_the_bounds(wanted):
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    pinned = {packaging.utils.canonicalize_name(n): v for n, v in pinned.items()}
    for requirement in wanted:
        version = pinned[packaging.utils.canonicalize_name(requirement.name)]
        assert version in requirement.specifier, requirement


def test_keras_is_none_that_reads_other_files(wanted):
    """tests/models/test_saved.py tries it with the version that is installed."""
    (keras,) = [line.specifier for line in wanted if line.name == "keras"]
    assert "3.13.2" not in keras and "3.14.0" in keras and "4.0" not in keras


def test_make_brings_the_extra_that_dev_cannot_have(metadata):
    """tensorflow-addons lies in a folder of its own, by the same names and markers."""
    makefile = (ROOT / "Makefile").read_text()
    for line in metadata["extras_require"]["addons"]:
        requirement, _, marker = line.partition("; ")
        assert f"ADDONS := {marker}\n" in makefile
        name = packaging.requirements.Requirement(requirement).name
        assert f'"{name}; $(ADDONS)"' in makefile
