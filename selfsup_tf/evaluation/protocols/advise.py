"""Which of several encoders to take for a folder of images, and why; a page."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from selfsup_tf.errors import check
from selfsup_tf.evaluation.advice import Advice, Candidate, advise, advise_unlabelled
from selfsup_tf.evaluation.judged import Judged
from selfsup_tf.evaluation.numbers import NOTHING, interval, megabytes, percent
from selfsup_tf.evaluation.protocol import (
    Beside,
    Protocol,
    Result,
    Row,
    RunFlags,
    Table,
)
from selfsup_tf.evaluation.results import options_of
from selfsup_tf.evaluation.run_images import Learned
from selfsup_tf.files import write_json
from selfsup_tf.run import RunDirectory

if TYPE_CHECKING:
    from selfsup_tf.data.source import Source
    from selfsup_tf.evaluation.candidates import Measured

TITLES = {
    "knn": "k-NN",
    "linear": "Linear",
    "retrieval": "Retrieval, mAP",
    "copies": "Copies found",
}


@dataclasses.dataclass(frozen=True)
class AdviseFlags(RunFlags):
    """Which encoder to take for these images: your runs, and networks that exist.

    On labelled images by k-NN, beside a linear classifier, retrieval and a learning
    curve; without labels what can be ruled out. With size and speed of each as an int8
    file, and what to do next.
    """

    run_dir: str = ""
    """Directory of a run, the first candidate; its images, where --data names none."""
    candidates: tuple[str, ...] = ()
    """Encoders: runs, .keras files, imagenet:NAME, hub:PRESET, SavedModels, .onnx."""
    data: str | None = None
    """Images: a folder, an .npz file, a TFDS name."""
    data_dir: str | None = None
    """Where TFDS keeps its data, in place of the run's."""
    count: int = 5000
    """Images at most, of either part; a random choice, always the same."""
    untrained: bool = True
    """Whether each network is judged untrained, too."""
    int8: bool = True
    """Whether each is converted to int8, to see its size and speed."""
    output: str = "advice"
    """A folder for advice.html, advice.json, and vectors that are kept."""

    def __post_init__(self):
        check(
            bool(self.run_dir or self.candidates),
            "encoders to choose from",
            "none",
            "Name some: --candidates runs/a imagenet:MobileNetV3Small",
        )
        check(
            self.data is not None or bool(self.run_dir),
            "--data, or --run_dir, whose images are taken",
            "neither",
            "Name the images: --data=FOLDER",
        )
        check(
            self.count >= 10,
            "a count of at least 10 images",
            self.count,
            "A thousand tell more.",
        )


class Advise(Protocol):
    title = "Advice"
    flags = AdviseFlags
    order = 160

    def run(self, judged: Judged, flags: AdviseFlags) -> None:
        from selfsup_tf.evaluation.candidates import measure_candidates
        from selfsup_tf.evaluation.report import write_advice
        from selfsup_tf.models.teachers import open_teachers

        folder = pathlib.Path(flags.output).expanduser()
        check(
            not folder.exists() or folder.is_dir(),
            f"a folder at {folder}",
            "a file",
            "Name another: --output=FOLDER",
        )
        names = [*([flags.run_dir] if flags.run_dir else []), *flags.candidates]
        teachers = open_teachers(names)
        data, data_dir = judged.data()
        train, test, labelled = _open(names, data, data_dir, flags.count)
        measured = measure_candidates(
            teachers,
            train,
            test,
            labelled=labelled,
            untrained=flags.untrained,
            int8=flags.int8,
            cache=folder / "features",
        )
        if labelled:
            advice = advise(measured.candidates, measured.gains, data=data)
        else:
            advice = advise_unlabelled(measured.candidates, data=data)
        result = _result(measured, advice, flags, train, test, labelled)
        write_json(folder / "advice.json", result.to_dict())
        tables = [table_of(measured.candidates)]
        if len(names) > 2:
            tables.append(agreement_table(measured))
        page = write_advice(folder / "advice.html", advice, result, tables)
        print(text_of(advice, tables[0]))
        print(f"\nOpen it in a browser: {page}")


def _open(
    names: Sequence[str], data: str, data_dir: str | None, count: int
) -> "tuple[Source, Source, bool]":
    """Images to learn from and to judge on, and whether their labels are used."""
    from selfsup_tf.data import sources

    train, test = sources.open_pair(data, data_dir=data_dir)
    labelled = train.labelled and test.labelled and len(set(test.labels)) > 1
    if labelled:
        learned = [_learned(name) for name in names]
        for name, one in zip(names, learned, strict=True):
            check(
                not one.test_labels(data),
                f"a test split of {data} that {name} has not seen",
                "a run that learned from its labels",
                "Leave it out, or name other images: --data=FOLDER",
            )
        some = any(one.labels(data) for one in learned)
        train, test = sources.open_evaluation(data, data_dir=data_dir, learned=some)
    return _some(train, count), _some(test, count), labelled


def _learned(name: str) -> Learned:
    run = RunDirectory(name)
    return Learned(run, run.read_config(), is_best=False)


def _some(source: "Source", count: int) -> "Source":
    import numpy as np

    if source.size <= count:
        return source
    chosen = np.random.default_rng(0).permutation(source.size)[:count]
    return source.select(np.sort(source.indices[chosen]), f"{count} of {source.name}")


def _result(
    measured: "Measured",
    advice: Advice,
    flags: AdviseFlags,
    train: "Source",
    test: "Source",
    labelled: bool,
) -> Result:
    """Everything as plain values; rows are of the encoder to take, or the first."""
    from selfsup_tf.evaluation.features import versions
    from selfsup_tf.evaluation.labelled import measured_on

    by_name = {one.name: one for one in measured.candidates}
    first = by_name.pop(advice.taken or measured.candidates[0].name)
    rows = []
    for place, (name, value) in enumerate(first.scores.items()):
        beside = {
            other: Beside(
                one.scores[name],
                value - one.scores[name],
                None if place else measured.gains[first.name, other],
            )
            for other, one in by_name.items()
        }
        reach = first.intervals.get(name)
        rows.append(Row(name, TITLES[name], value, reach, beside=beside))
    parts = {"train": train, "test": test} if labelled else {"images": test}
    details = {
        one.name: dataclasses.asdict(one)
        | {
            "agreement": {
                b: v for (a, b), v in measured.agreement.items() if a == one.name
            }
        }
        for one in measured.candidates
    }
    return Result(
        protocol="advise",
        title="Advice",
        rows=tuple(rows),
        measured_on=measured_on(**parts),
        options=options_of(flags),
        details=details,
        verdict=advice.headline,
        notes=(*advice.reasons, *_said(measured, labelled)),
        versions=versions(),
    )


def _said(measured: "Measured", labelled: bool) -> tuple[str, ...]:
    copies = f"{measured.near_copies:,} of the images"
    what = (
        f"{copies} that judge have a near copy among those that are learned from"
        + (", which flatters every encoder." if measured.near_copies else ".")
        if labelled
        else f"{copies} have a near copy among the others."
    )
    return (what, *_in_common(measured), *measured.notes)


def _in_common(measured: "Measured") -> list[str]:
    """The agreement of two encoders as a sentence; of more it is a table."""
    if len(measured.candidates) != 2 or not measured.agreement:
        return []
    one, other = measured.candidates
    share = percent(measured.agreement[one.name, other.name])
    return [
        f"{one.label} and {other.label} have {share} of the ten nearest neighbours of "
        "an image in common."
    ]


def table_of(candidates: Sequence[Candidate]) -> Table:
    """All candidates, the best first; a share's interval on a line below it."""
    measures = list(candidates[0].scores)
    ranked = sorted(candidates, key=lambda one: -one.scores[measures[0]])
    int8 = any(one.cost for one in candidates)
    head = (
        "",
        *(TITLES[name] for name in measures),
        "Untrained",
        "RankMe",
        "Network",
        *(("int8",) if int8 else ()),
    )
    rows = [
        (
            one.label,
            *(_share(one, name) for name in measures),
            percent(one.untrained),
            f"{one.rank_me:.1f}\nof {one.length}",
            f"{one.parameters / 1e6:.2f} M\n{one.image_size} px",
            *((_costs(one),) if int8 else ()),
        )
        for one in ranked
    ]
    return Table(
        "All of them on the same images, with 95 % intervals", head, tuple(rows)
    )


def _share(one: Candidate, name: str) -> str:
    reach = interval(one.intervals.get(name), "share")
    return percent(one.scores[name]) + (f"\n{reach}" if reach else "")


def _costs(one: Candidate) -> str:
    if "int8_bytes" not in one.cost:
        return NOTHING
    cosine, latency = one.cost["int8_cosine"], one.cost["latency_ms"]
    return f"{megabytes(one.cost['int8_bytes'])}\n{latency:.1f} ms\ncosine {cosine:.3f}"


def agreement_table(measured: "Measured") -> Table:
    """How far two encoders find the same neighbours."""
    labels = {one.name: one.label for one in measured.candidates}
    rows = [
        (label, *(percent(measured.agreement.get((a, b))) for b in labels))
        for a, label in labels.items()
    ]
    caption = "Nearest neighbours that two of them have in common, of ten"
    return Table(caption, ("", *labels.values()), tuple(rows))


def text_of(advice: Advice, table: Table) -> str:
    """The advice for a terminal: the table, the words, the commands."""
    cells = [table.head, *([c.split("\n")[0] for c in row] for row in table.rows)]
    widths = [max(len(row[n]) for row in cells) for n in range(len(table.head))]
    lines = [
        "  ".join(
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    steps = [
        line for why, command in advice.steps for line in (f"{why}:", f"  {command}")
    ]
    words = [advice.headline, *(f"  {reason}" for reason in advice.reasons)]
    return "\n".join([*lines, "", *words, "", *steps])


PROTOCOL = Advise()
