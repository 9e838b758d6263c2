"""Exports without what other packages log while they are made."""

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_log(name: str, level: int) -> Iterator[None]:
    """Raises the level of one logger meanwhile, such as that of "tensorflow"."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(max(before, level))
    try:
        yield
    finally:
        logger.setLevel(before)
