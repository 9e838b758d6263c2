"""Imports TensorFlow: without its greetings, and with oneDNN on every x86 CPU."""

import contextlib
import importlib
import os
import platform
import sys
from collections.abc import Iterator

from selfsup_tf.files import silent_stderr

_LEVEL = "3"  # what is fatal alone; errors reach Python anyway


def start_tensorflow() -> None:
    """Imports TensorFlow, unless it has been, as `quiet_start` does."""
    with quiet_start():
        importlib.import_module("tensorflow")


@contextlib.contextmanager
def quiet_start() -> Iterator[None]:
    """Prepares the block's first import of TensorFlow.

    What it writes to stderr is discarded, and oneDNN computes convolutions on any x86
    CPU: TensorFlow itself leaves it off where AVX-512 is missing, and a step takes five
    times as long (docs/measured.md). TF_ENABLE_ONEDNN_OPTS=0 keeps it off.

    TF_CPP_MIN_LOG_LEVEL becomes 3 where the user has not set it, which also quiets what
    follows. Whoever sets it to 0, 1 or 2 gets every line, and where TensorFlow is there
    already, nothing changes.
    """
    first = "tensorflow" not in sys.modules
    if first and platform.machine() in ("x86_64", "AMD64"):
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    quiet = first and os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", _LEVEL) == _LEVEL
    # The first lines are written before TensorFlow reads the level.
    with silent_stderr() if quiet else contextlib.nullcontext():
        yield
