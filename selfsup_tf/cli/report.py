"""`eval.py report` and `curves`: a run on one page, made of what it has left."""

import pathlib

from selfsup_tf.cli import evaluating, program
from selfsup_tf.cli.judged_run import Run
from selfsup_tf.cli.protocols import CurvesFlags, ReportFlags, RunFlags
from selfsup_tf.errors import InputError, check
from selfsup_tf.evaluation.report import MOST_RUNS, write_comparison, write_report
from selfsup_tf.files import read_json, save_figure
from selfsup_tf.run import RunDirectory

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
    check(
        len({run_dir.resolve() for run_dir in run_dirs}) == len(run_dirs) <= MOST_RUNS,
        f"at most {MOST_RUNS} runs, each named once",
        " ".join(named),
        "Leave some out.",
    )
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


def curves(flags: CurvesFlags) -> None:
    """Draws the log of a run."""
    from selfsup_tf.evaluation.charts import draw_curves

    run_dir = RunDirectory(flags.run_dir)
    records = run_dir.read_log()
    check(
        any("train/loss" in record for record in records),
        f"a log of a run in {run_dir}",
        "none" if not records else "one without a step",
        "Name the directory of a run that has been trained.",
    )
    figure = draw_curves(records, run_dir.read_config())
    print(f"Curves: {save_figure(figure, run_dir.result('curves', '.png'))}")


def _beside(flags: ReportFlags, name: str) -> pathlib.Path:
    return pathlib.Path(flags.run_dir or ".").expanduser() / f"{name}.html"


def _measure(run_dir: pathlib.Path, flags: ReportFlags) -> None:
    """Runs each protocol whose result is absent or of another encoder."""
    from selfsup_tf import api
    from selfsup_tf.evaluation.features import weights_hash
    from selfsup_tf.models.saved import load_network

    data, data_dir = program.run_data(str(run_dir), flags.data, flags.data_dir)
    asked = RunFlags(str(run_dir), data=flags.data, data_dir=flags.data_dir)
    check(
        Run(asked, "views").file("").name == "views",
        f"the run's own images, which a report of {run_dir} is about",
        f"--data={flags.data}",
        "`eval.py transfer` judges a run by other images, and the report shows it.",
    )
    digest = weights_hash(load_network(run_dir))
    wanted = [*UNLABELLED]
    if all(source.labelled for source in api.open_pair(data, data_dir=data_dir)):
        wanted += LABELLED
    if (run_dir / "classifier.keras").is_file():
        wanted.append("accuracy")
    for name in wanted:
        if _is_fresh(run_dir, name, digest):
            continue
        kind, protocol = evaluating.PROTOCOLS[name]
        asked = kind(str(run_dir), data=flags.data, data_dir=flags.data_dir)
        print(f"\n{name}:")
        try:
            protocol(asked, Run(asked, name))
        except InputError as error:
            # The page says of each protocol that is missing how to make it.
            print(f"not measured: {error}")


def _is_fresh(run_dir: pathlib.Path, protocol: str, digest: str) -> bool:
    """Whether a result is there and of the encoder of this hash."""
    file = run_dir / "eval" / f"{protocol}.json"
    if protocol in ("views", "neighbours", "accuracy"):  # those know their time alone
        file = file if protocol == "accuracy" else file.with_suffix(".png")
        encoder = run_dir / "encoder.keras"
        return file.is_file() and file.stat().st_mtime >= encoder.stat().st_mtime
    if not file.is_file():
        return False
    stored = read_json(file)
    beside = stored.get("untrained") is not None or protocol not in LABELLED
    return stored.get("encoder_hash") == digest and beside
