"""How the programs of the command line are called, for advice that can be copied."""

import pathlib
import sys


def spelled(verb: str) -> str:
    """How the user calls a verb: as a script of a checkout, or as installed."""
    installed = pathlib.Path(sys.argv[0]).name.startswith("selfsup-")
    return f"selfsup-{verb}" if installed else f"python {verb}.py"
