"""One file that shows a run, or several side by side: to be looked at, sent, kept.

It is made of the files of the run directories alone, so it needs neither TensorFlow nor
the images, and what it shows was measured. It knows no protocol by its name.
"""

import pathlib
from collections.abc import Sequence

from selfsup_tf.errors import check
from selfsup_tf.evaluation.advice.candidate import Advice
from selfsup_tf.evaluation.protocol import Result, Table
from selfsup_tf.evaluation.report.advised import advised
from selfsup_tf.evaluation.report.comparison import compared
from selfsup_tf.evaluation.report.gather import gather
from selfsup_tf.evaluation.report.page import LIMIT, write_page
from selfsup_tf.evaluation.report.sections import reported
from selfsup_tf.run import RunDirectory

__all__ = ["write_advice", "write_comparison", "write_report"]

MOST_RUNS = 8


def write_report(
    run_dir: str | pathlib.Path,
    path: str | pathlib.Path | None = None,
    *,
    limit: int = LIMIT,
) -> pathlib.Path:
    """Writes one self-contained HTML file on a run.

    What has not been made yet is named with the command that makes it.

    Args:
        run_dir: Directory of the run, or a .keras file in it.
        path: The file to write; RUN_DIR/report.html where it is left out.
        limit: Bytes at most; pictures are made smaller until the page has no more.

    Returns:
        The path.

    Raises:
        InputError: There is no run, a file of it is damaged, or the page would be
            larger than the limit.
    """
    run = gather(run_dir)
    path = run.directory.report if path is None else pathlib.Path(path).expanduser()
    return write_page(path, "report.html.jinja", limit=limit, **reported(run))


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
    check_comparable(run_dirs)
    path = pathlib.Path(path).expanduser()
    runs = [gather(run_dir) for run_dir in run_dirs]
    return write_page(path, "comparison.html.jinja", **compared(runs))


def write_advice(
    path: pathlib.Path, advice: Advice, result: Result, tables: Sequence[Table]
) -> pathlib.Path:
    """Writes one self-contained HTML file on which encoder to take.

    Args:
        path: The file to write.
        advice: The words.
        result: The numbers, of `eval.py advise`.
        tables: All encoders; and how far they agree, of two and more.
    """
    return write_page(path, "advice.html.jinja", **advised(advice, result, tables))


def check_comparable(run_dirs: Sequence[str | pathlib.Path]) -> None:
    """Raises InputError unless these are two to eight runs, each named once."""
    count = len(run_dirs)
    expected = f"2 to {MOST_RUNS} runs to compare"
    check(2 <= count <= MOST_RUNS, expected, count, "Name their directories.")
    twice = count - len({RunDirectory(name).path.resolve() for name in run_dirs})
    check(not twice, "runs that differ", f"{twice} named twice", "Name each once.")
