"""A run on one page, or several side by side; what is missing is measured first."""

import contextlib
import dataclasses
from collections.abc import Set
from typing import Any

from selfsup_tf.errors import InputError, check
from selfsup_tf.evaluation.beside import SAME_NETWORK
from selfsup_tf.evaluation.flags import EncoderFlags, RunFlags
from selfsup_tf.evaluation.judged import Judged
from selfsup_tf.evaluation.protocol import Protocol
from selfsup_tf.evaluation.results import StoredResult, read_results, wanted_by_report
from selfsup_tf.evaluation.running import make_flags, run_protocol
from selfsup_tf.run import RunDirectory


@dataclasses.dataclass(frozen=True)
class ReportFlags(RunFlags):
    """Everything about a run on one page, or several runs side by side.

    What has not been measured yet of k-NN, linear, retrieval, the run's classifier,
    health, neighbours, map, views and protocols of your own is measured first; what
    needs labels only where there are some.
    """

    run_dir: str = ""
    """Directory of the run."""
    compare: tuple[str, ...] = ()
    """Directories of runs to put side by side, after --run_dir's if it is given."""
    output: str | None = None
    """The page; RUN_DIR/report.html, or comparison.html, if it is left out."""
    data: str | None = None
    """Where the run's own images are, if they have moved or were given in Python."""
    data_dir: str | None = None
    """Where TFDS keeps its data, in place of the run's."""
    measure: bool = True
    """Whether what is missing is measured; if not, the page says what is missing."""

    def __post_init__(self):
        check(
            self.run_dir != "" or len(self.compare) > 1,
            "--run_dir, or two runs and more to --compare",
            " ".join(self.compare) or "neither",
            "Name a run: --run_dir=runs/a",
        )
        check(
            self.measure or (self.data is None and self.data_dir is None),
            "--measure=True beside --data or --data_dir",
            "--measure=False, which looks at no images",
            "Leave one of them out.",
        )


class Report(Protocol):
    title = "Report"
    flags = ReportFlags
    order = 150

    def reads_files_alone(self, flags: ReportFlags) -> bool:
        return not flags.measure

    def run(self, judged: Judged, flags: ReportFlags) -> None:
        from selfsup_tf.evaluation.report import write_comparison, write_report

        runs = _runs(flags)
        if flags.measure:
            for run in runs:
                _measure(run, flags)
        if flags.compare:
            path = flags.output or RunDirectory(flags.run_dir or ".").comparison
            path = write_comparison([run.path for run in runs], path)
        else:
            path = write_report(runs[0].path, flags.output or runs[0].report)
        print(f"\nOpen it in a browser: {path}")


def _runs(flags: ReportFlags) -> list[RunDirectory]:
    from selfsup_tf.evaluation.report import check_comparable

    named = [*([flags.run_dir] if flags.run_dir else []), *flags.compare]
    if flags.compare:
        check_comparable(named)
    runs = [RunDirectory(name) for name in named]
    for run in runs:
        check(
            run.file is None and run.network().is_file(),
            f"a run with an encoder.keras at {run}",
            "a file" if run.file else "none",
            "Name the directory of a run that has been trained.",
        )
    return runs


def _measure(run: RunDirectory, flags: ReportFlags) -> None:
    """Runs each protocol whose result is absent or of another encoder."""
    from selfsup_tf.evaluation.features import weights_hash

    where: dict[str, Any] = {"data": flags.data, "data_dir": flags.data_dir}
    judged = Judged(EncoderFlags(str(run.path), **where), "report")
    check(
        not judged.is_other_data,
        f"the run's own images, which a report of {run.path} is about",
        f"--data={flags.data}",
        "`eval.py transfer` judges a run by other images, and the report shows it.",
    )
    digest = weights_hash(judged.encoder)
    pair = judged.open_pair()
    opened = [*pair]
    with contextlib.suppress(InputError):
        opened.append(judged.open_source())
    images = {(source.name, source.fingerprint) for source in opened}
    there = {
        "labels": all(source.labelled for source in pair),
        "classifier": run.kept("classifier").is_file(),
        "log": run.log.is_file(),
    }
    stored = {one.name: one for one in read_results(run)}
    for name, protocol in wanted_by_report(there).items():
        taken = {field.name for field in dataclasses.fields(protocol.flags)}
        options = {key: value for key, value in where.items() if key in taken}
        options["run_dir"] = str(run.path)
        try:
            before = stored.get(Judged(make_flags(name, options), name).name)
            if _is_fresh(before, run, digest) and _is_of(before, images):
                continue
            print(f"\n{name}:")
            if before and "beside" in taken and (others := _others(before)):
                try:
                    run_protocol(name, **options, beside=others)
                    continue
                except InputError as error:
                    print(f"without {', '.join(others)}: {error}")
            run_protocol(name, **options)
        except InputError as error:
            # The page says of each protocol that is missing how to make it.
            print(f"not measured: {error}")


def _others(stored: StoredResult) -> tuple[str, ...]:
    """The encoders that stood beside a result, other networks than the judged one."""
    result = stored.result
    names = [*result.details, *(name for row in result.rows for name in row.beside)]
    return tuple(name for name in dict.fromkeys(names) if name not in SAME_NETWORK)


def _is_fresh(stored: StoredResult | None, run: RunDirectory, digest: str) -> bool:
    """Whether a result is there, beside its untrained, and of the encoder of this hash.

    One that knows no encoder, or a classifier's, is when it is newer than the encoder.
    """
    if stored is None or stored.result.options.get("untrained") is False:
        return False
    if stored.result.network != "encoder" or stored.result.weights_hash is None:
        return stored.path.stat().st_mtime >= run.network().stat().st_mtime
    return stored.result.weights_hash == digest


def _is_of(stored: StoredResult, images: Set[tuple[str, str | None]]) -> bool:
    """Whether a result is of images and labels as they are now, as far as it says."""
    known = {name for name, _ in images}
    return all(
        (one["name"], one["fingerprint"]) in images
        for one in stored.result.measured_on.values()
        if one.get("name") in known and one.get("fingerprint") is not None
    )


PROTOCOL = Report()
