"""Lets the tests of this folder import the references and the harness of fidelity."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "fidelity"))
