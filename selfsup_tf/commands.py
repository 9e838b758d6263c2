"""How the programs of the command line are called, for advice that can be copied."""

import pathlib
import sys


def installing(extra: str) -> str:
    """The command that installs an extra of this package, as the package is here."""
    is_checkout = (pathlib.Path(__file__).parents[1] / "setup.py").is_file()
    return f"pip install '{'.' if is_checkout else 'selfsup-tf'}[{extra}]'"


def spelled(verb: str) -> str:
    """How the user calls a verb: as a script of a checkout, or as installed."""
    installed = pathlib.Path(sys.argv[0]).name.startswith("selfsup-")
    return f"selfsup-{verb}" if installed else f"python {verb}.py"
