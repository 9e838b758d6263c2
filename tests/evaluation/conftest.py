"""Lets the tests of this folder import the run that stands beside them."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
