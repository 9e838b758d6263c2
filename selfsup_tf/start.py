"""Imports TensorFlow: without its greetings, and with oneDNN on every x86 CPU."""

import contextlib
import importlib
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from selfsup_tf.files import silent_stderr

# TensorFlow leaves oneDNN off on x86 CPUs without VNNI, AVX-512 BF16 or AMX, where a
# step then takes five times as long (docs/measured.md). It reads this when imported.
if "tensorflow" not in sys.modules and platform.machine() in ("x86_64", "AMD64"):
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

_LEVEL = "3"  # what is fatal alone; errors reach Python anyway


def start_tensorflow() -> None:
    """Imports TensorFlow, unless it has been, as `quiet_start` does."""
    with quiet_start():
        importlib.import_module("tensorflow")


def lazy_names(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package some of whose names need TensorFlow.

    Importing it takes seconds, which a config or `--help` does without.

    Args:
        package: Its `__name__`.
        homes: The module of the package that each name is in.
    """

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        start_tensorflow()
        return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)

    return find


@contextlib.contextmanager
def quiet_start() -> Iterator[None]:
    """Discards what TensorFlow writes to stderr while the block first imports it.

    TF_CPP_MIN_LOG_LEVEL becomes 3 where the user has not set it, which also quiets what
    follows. Whoever sets it to 0, 1 or 2 gets every line, and where TensorFlow is there
    already, nothing changes.
    """
    first = "tensorflow" not in sys.modules
    quiet = first and os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", _LEVEL) == _LEVEL
    # The first lines are written before TensorFlow reads the level.
    with silent_stderr() if quiet else contextlib.nullcontext():
        yield
