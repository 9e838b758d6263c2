"""One file that shows a run, or several side by side: to be looked at, sent, kept.

It is made of the files of the run directories alone, so it needs neither TensorFlow nor
the images, and what it shows was measured.
"""

import pathlib
from collections.abc import Sequence

from selfsup_tf.errors import check
from selfsup_tf.evaluation.report.comparison import comparison_body
from selfsup_tf.evaluation.report.config_section import config_section
from selfsup_tf.evaluation.report.gather import RunFiles, gather
from selfsup_tf.evaluation.report.header import header
from selfsup_tf.evaluation.report.health_section import health_section
from selfsup_tf.evaluation.report.map_section import map_section
from selfsup_tf.evaluation.report.markup import Html, join
from selfsup_tf.evaluation.report.page import render, write_fitting
from selfsup_tf.evaluation.report.picture_sections import (
    export_section,
    neighbours_section,
)
from selfsup_tf.evaluation.report.pictures import Pictures
from selfsup_tf.evaluation.report.protocol_section import (
    all_metrics,
    confusion_section,
    protocol_section,
)
from selfsup_tf.evaluation.report.run_sections import (
    curves_section,
    hardware_section,
    views_section,
)

__all__ = ["write_comparison", "write_report"]

MOST_RUNS = 8

_CONTENTS = (
    ("protocols", "Protocols"),
    ("health", "Health"),
    ("map", "Map"),
    ("neighbours", "Neighbours"),
    ("confusion", "Confusion"),
    ("curves", "Curves"),
    ("views", "Views"),
    ("config", "Config"),
    ("hardware", "Hardware"),
    ("exports", "Exports"),
)
_COMPARISON = (
    ("metrics", "Numbers"),
    ("curves", "Curves"),
    ("spectra", "Spectra"),
    ("config", "Config"),
)


def write_report(
    run_dir: str | pathlib.Path, path: str | pathlib.Path | None = None
) -> pathlib.Path:
    """Writes one self-contained HTML file on a run.

    What has not been made yet is named with the command that makes it.

    Args:
        run_dir: Directory of the run, or a .keras file in it.
        path: The file to write; RUN_DIR/report.html where it is left out.

    Returns:
        The path.

    Raises:
        InputError: There is no run, a file of it is damaged, or the page would be
            larger than 10 MB.
    """
    run = gather(run_dir)
    path = run.path / "report.html" if path is None else pathlib.Path(path).expanduser()
    return write_fitting(path, lambda pictures: _report(run, pictures))


def write_comparison(
    run_dirs: Sequence[str | pathlib.Path], path: str | pathlib.Path
) -> pathlib.Path:
    """Writes one self-contained HTML file on two to eight runs, side by side.

    Args:
        run_dirs: Directories of the runs.
        path: The file to write.

    Returns:
        The path.

    Raises:
        InputError: Fewer runs than two or more than eight, one twice, one that is
            none, or a damaged file.
    """
    check(
        2 <= len(run_dirs) <= MOST_RUNS,
        f"2 to {MOST_RUNS} runs to compare",
        len(run_dirs),
        "Name their directories.",
    )
    runs = [gather(run_dir) for run_dir in run_dirs]
    places = [run.path.resolve() for run in runs]
    check(
        len(set(places)) == len(places),
        "runs that differ",
        f"{len(places) - len(set(places))} named twice",
        "Name each once.",
    )
    body = comparison_body(runs)
    title = f"{len(runs)} runs compared"
    return write_fitting(
        pathlib.Path(path).expanduser(), lambda _: render(title, body, _COMPARISON)
    )


def _report(run: RunFiles, pictures: Pictures) -> str:
    metrics = all_metrics(run)
    sections: list[Html] = [
        header(run, metrics),
        protocol_section(run, metrics),
        health_section(run),
        map_section(run, pictures),
        neighbours_section(run, pictures),
        confusion_section(run),
        curves_section(run),
        views_section(run, pictures),
        config_section(run),
        hardware_section(run),
        export_section(run),
    ]
    return render(f"{run.name}: encoder report", join(sections), _CONTENTS)
