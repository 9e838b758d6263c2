"""Figures on disk, written whole or not at all."""

import os
import pathlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import matplotlib.figure


def save_figure(
    figure: "matplotlib.figure.Figure", path: str | pathlib.Path
) -> pathlib.Path:
    """Writes a figure; the suffix chooses the format.

    Args:
        figure: What to write.
        path: Such as RUN_DIR/eval/confusion_knn.png, or .svg, or .pdf.

    Returns:
        The path.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        figure.savefig(beside, dpi=150)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return path
