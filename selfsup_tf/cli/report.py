"""`eval.py report`: measures what is missing, and puts a run on one page."""

import pathlib

from selfsup_tf.cli import evaluating, program
from selfsup_tf.cli.protocols import ReportFlags
from selfsup_tf.errors import check
from selfsup_tf.evaluation.report import write_comparison, write_report
from selfsup_tf.json_files import read_json

UNLABELLED = ("views", "health", "neighbours", "map")
LABELLED = ("knn", "linear", "retrieval")


def report(flags: ReportFlags) -> None:
    """Writes report.html, or comparison.html."""
    check(
        flags.run_dir is not None or len(flags.compare) > 1,
        "--run_dir, or two runs and more to --compare",
        " ".join(flags.compare) or "neither",
        "Name a run: --run_dir=runs/a",
    )
    named = [*([flags.run_dir] if flags.run_dir else []), *flags.compare]
    run_dirs = [pathlib.Path(name).expanduser() for name in named]
    for run_dir in run_dirs:
        check(
            (run_dir / "encoder.keras").is_file(),
            f"a run with an encoder.keras at {run_dir}",
            "no such file" if run_dir.is_dir() else "no such directory",
            "Name the directory of a run that has been trained.",
        )
    if flags.measure:
        program.import_tensorflow()
        for run_dir in run_dirs:
            _measure(run_dir, flags)
    if flags.compare:
        path = write_comparison(run_dirs, flags.output or _beside(flags, "comparison"))
    else:
        path = write_report(run_dirs[0], flags.output or _beside(flags, "report"))
    print(f"\nOpen it in a browser: {path}")


def _beside(flags: ReportFlags, name: str) -> pathlib.Path:
    return pathlib.Path(flags.run_dir or ".").expanduser() / f"{name}.html"


def _measure(run_dir: pathlib.Path, flags: ReportFlags) -> None:
    """Runs each protocol whose result is absent or of another encoder."""
    from selfsup_tf import api
    from selfsup_tf.evaluation.features import weights_hash
    from selfsup_tf.models.saved import load_network

    digest = weights_hash(load_network(run_dir))
    lacking = [name for name in UNLABELLED if not _is_fresh(run_dir, name, digest)]
    wanted = [name for name in LABELLED if not _is_fresh(run_dir, name, digest)]
    if (run_dir / "classifier.keras").is_file():
        wanted = ["accuracy"]
    if wanted:
        data, data_dir = program.run_data(str(run_dir), flags.data, flags.data_dir)
        if all(source.labelled for source in api.open_pair(data, data_dir=data_dir)):
            lacking += wanted
    for name in lacking:
        kind, protocol = evaluating.PROTOCOLS[name]
        asked = kind(str(run_dir), data=flags.data, data_dir=flags.data_dir)
        print(f"\n{name}:")
        protocol(asked, evaluating.Run(asked, name))


def _is_fresh(run_dir: pathlib.Path, protocol: str, digest: str) -> bool:
    """Whether a result is there and of the encoder of this hash."""
    folder = run_dir / "eval"
    numbers = folder / f"{protocol}.json"
    if protocol in ("views", "neighbours"):  # a picture knows its time alone
        numbers = folder / f"{protocol}.png"
        made_after = run_dir / "encoder.keras"
        return (
            numbers.is_file() and numbers.stat().st_mtime >= made_after.stat().st_mtime
        )
    return numbers.is_file() and read_json(numbers).get("encoder_hash") == digest
