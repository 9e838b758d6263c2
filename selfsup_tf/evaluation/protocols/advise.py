"""Which of several encoders to take for a folder of images, and why; a page."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from selfsup_tf.errors import check
from selfsup_tf.evaluation.advice.candidate import Advice
from selfsup_tf.evaluation.advice.labelled import advise
from selfsup_tf.evaluation.advice.tables import (
    TITLES,
    agreement_table,
    table_of,
    text_of,
)
from selfsup_tf.evaluation.advice.unlabelled import advise_unlabelled
from selfsup_tf.evaluation.flags import ImageFlags
from selfsup_tf.evaluation.judged import Judged
from selfsup_tf.evaluation.naming import options_of
from selfsup_tf.evaluation.numbers import percent
from selfsup_tf.evaluation.protocol import Beside, Protocol, Result, Row
from selfsup_tf.evaluation.run_images import check_unseen
from selfsup_tf.files import write_json

if TYPE_CHECKING:
    from selfsup_tf.data.source import Source
    from selfsup_tf.evaluation.advice.measure import Measured


@dataclasses.dataclass(frozen=True)
class AdviseFlags(ImageFlags):
    """Which encoder to take for these images: your runs, and networks that exist.

    On labelled images by k-NN, beside a linear classifier, retrieval and a learning
    curve; without labels what can be ruled out. With size and speed of each as an int8
    file, and what to do next.
    """

    run_dir: str = ""
    """Directory of a run, the first candidate; its images, where --data names none."""
    candidates: tuple[str, ...] = ()
    """Encoders: runs, .keras files, imagenet:NAME, hub:PRESET, SavedModels, .onnx."""
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
        from selfsup_tf.evaluation.advice.measure import measure_candidates
        from selfsup_tf.evaluation.report import write_advice
        from selfsup_tf.models.teachers import open_teachers

        check(
            judged.given is None,
            "encoders by their names",
            "one from Python",
            'Save it, and name the file: candidates=("a.keras",), data=FOLDER',
        )
        folder = pathlib.Path(flags.output).expanduser()
        check(
            not folder.exists() or folder.is_dir(),
            f"a folder at {folder}",
            "a file",
            "Name another: --output=FOLDER",
        )
        names = [*([flags.run_dir] if flags.run_dir else []), *flags.candidates]
        teachers = open_teachers(names)
        data, reading = judged.data
        train, test = _open(judged, names, data, flags.count)
        measured = measure_candidates(
            teachers,
            train,
            test,
            untrained=flags.untrained,
            int8=flags.int8,
            cache=folder / "features",
        )
        if train is not None:
            where = [
                f"--data={data}",
                *([f"--data_dir={reading['data_dir']}"] if reading["data_dir"] else []),
            ]
            advice = advise(measured.candidates, measured.gains, where=where)
        else:
            advice = advise_unlabelled(measured.candidates)
        result = _result(measured, advice, flags, train, test)
        write_json(folder / "advice.json", result.to_dict())
        shown = [table_of(measured.candidates)]
        if len(names) > 2:
            shown.append(agreement_table(measured.candidates, measured.agreement))
        page = write_advice(folder / "advice.html", advice, result, shown)
        print(text_of(advice, shown[0]))
        print(f"\nOpen it in a browser: {page}")


def _open(
    judged: Judged, names: Sequence[str], data: str, count: int
) -> "tuple[Source | None, Source]":
    """Labelled images to learn from, None where there are none, and those that judge.

    Without labels, or with those of one class or of an image each, all images of a
    folder judge; where it has splits, those of the first.
    """
    from selfsup_tf.data import sources
    from selfsup_tf.data.parts import share_classes

    splits = judged.opened("open_splits")
    first, labelled = splits[0], all(one.labelled for one in splits)
    if not labelled or len(set(first.labels)) < 2 or not share_classes(first):
        return None, _some(first.without_labels(), count)
    some = check_unseen(names, data)
    pair = sources.part_evaluation(splits, data, learned=some)
    train, test = (_some(one, count) for one in pair)
    return train, test


def _some(source: "Source", count: int) -> "Source":
    """So many images at most, the same share of every class."""
    import numpy as np

    from selfsup_tf.data.parts import labelled_fraction

    if source.size <= count:
        return source
    if source.labelled and len(set(source.labels)) > 1:
        fewest = int(np.unique(source.labels, return_counts=True)[1].min())
        check(
            2 * count * fewest > source.size,
            f"a count that leaves an image of every class of {source.name}",
            count,
            f"Use --count={source.size // (2 * fewest) + 1} or more.",
        )
        part = labelled_fraction(source, count / source.size, seed=0)
        return part.select(part.indices, f"{part.size} of {source.name}")
    chosen = np.random.default_rng(0).permutation(source.size)[:count]
    return source.select(np.sort(source.indices[chosen]), f"{count} of {source.name}")


def _result(
    measured: "Measured",
    advice: Advice,
    flags: AdviseFlags,
    train: "Source | None",
    test: "Source",
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
    parts = {"train": train, "test": test} if train else {"images": test}
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
        notes=(*advice.reasons, *_said(measured, train is not None)),
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
        f"{one.label} and {other.label} have {share} of the nearest neighbours of "
        "an image in common."
    ]


PROTOCOL = Advise()
