"""Virtual environments with a few packages alone, for what must run without ours.

They are made of links to what is installed here, so that nothing is downloaded.
"""

import importlib.metadata
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from selfsup_tf.exporting.format import PROBES
from selfsup_tf.methods import list_methods

OURS = ("selfsup_tf", *(f"{name}_tf" for name in list_methods()))


def needed(names) -> set[str]:
    """Packages, and those that they say they need."""
    todo, found = list(names), set()
    while todo:
        name = canonicalize_name(todo.pop())
        if name not in found:
            found.add(name)
            wanted = map(Requirement, importlib.metadata.requires(name) or ())
            todo += [
                one.name
                for one in wanted
                if one.marker is None or one.marker.evaluate({"extra": ""})
            ]
    return found


class Environment:
    """A virtual environment with some packages and what they need."""

    def __init__(self, place: pathlib.Path, packages: tuple[str, ...]):
        self.place, self.python = place, place / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", place])
        (folder,) = place.glob("lib/python*/site-packages")
        for name in needed(packages):
            found = importlib.metadata.distribution(name)
            for top in {file.parts[0] for file in found.files} - {"..", "__pycache__"}:
                link = folder / top
                if not link.exists():  # google is of several
                    link.symlink_to(found.locate_file(top))

    def run(self, *arguments, cwd=None) -> str:
        """What Python prints there, with nothing of this environment in its way."""
        # Not the working directory: Python would find what lies there.
        cwd = cwd or self.place
        clean = {n: v for n, v in os.environ.items() if not n.startswith("PYTHON")}
        done = subprocess.run(
            [self.python, "-s", *map(str, arguments)],
            capture_output=True, text=True, cwd=cwd, env=clean,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def lacks(self, *modules) -> bool:
        """Whether none of these modules can be imported there."""
        program = (
            "import importlib.util, sys\n"
            "print([m for m in sys.argv[1:] if importlib.util.find_spec(m)])"
        )
        return self.run("-c", program, *modules).strip() == "[]"

    def probe(self, program, model, signature, inputs, work):
        """The outputs of a probe, and its report."""
        # A copy, as on a device: nothing else of this package lies beside it.
        shutil.copytree(PROBES, work / "probes", dirs_exist_ok=True)
        answer = self.run(
            work / "probes" / program, model, "--embed", signature, inputs,
            work / "h.npz", "--runs=10",
        )  # fmt: skip
        with np.load(work / "h.npz") as arrays:
            return arrays["representation"], json.loads(answer.splitlines()[-1])
