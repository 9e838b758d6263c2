"""A protocol of `eval.py`, and the one form in which all protocols give their results.

A protocol is a module of the folder `protocols` that defines PROTOCOL, an object of a
subclass of `Protocol`; the module's name is the word on the command line. The command
line, Python, the report, the comparison and the model card read `Result.rows` and know
no protocol by its name. Nothing here imports TensorFlow.
"""

import abc
import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from selfsup_tf.doors import Door

if TYPE_CHECKING:
    import matplotlib.figure

    from selfsup_tf.evaluation.judged import Judged

PROTOCOLS = Door("selfsup_tf.evaluation.protocols", "PROTOCOL", "a protocol")

Interval = tuple[float, float]

FORMAT = 2
"""Version of the JSON form."""


@dataclasses.dataclass(frozen=True)
class Beside:
    """The same number of another encoder, such as the same network untrained.

    Attributes:
        value: Its number; None where it has none.
        gain: The judged encoder's number less this one, in the unit of the row.
        gain_interval: The paired 95 % interval of the gain; it contains 0 in a tie.
    """

    value: float | None
    gain: float | None = None
    gain_interval: Interval | None = None


@dataclasses.dataclass(frozen=True)
class Row:
    """One number of a result.

    Attributes:
        name: Such as "top_1"; unique within the group.
        title: For people, such as "top-1".
        value: None where it could not be measured.
        interval: Its 95 % interval, or None.
        unit: "share" is in [0, 1] and shown in per cent; "number" is shown as it is.
        higher_is_better: None where neither is.
        beside: The same number of other encoders, by their names, such as "untrained".
        group: Where a result has parts, such as the two of transfer, the part's title.
        meaning: How to read it, a few words.
    """

    name: str
    title: str
    value: float | None
    interval: Interval | None = None
    unit: str = "share"
    higher_is_better: bool | None = True
    beside: Mapping[str, Beside] = dataclasses.field(default_factory=dict)
    group: str = ""
    meaning: str = ""

    def standing(self, name: str) -> str:
        """How it stands to another encoder: "ahead", "tie", "behind", or "" if unknown.

        Args:
            name: The other, such as "untrained".
        """
        other = self.beside.get(name)
        bounds = other and other.gain_interval
        if not bounds:
            return ""
        if bounds[0] <= 0 <= bounds[1]:
            return "tie"
        if self.higher_is_better is None:
            return ""
        return "ahead" if (bounds[0] > 0) == self.higher_is_better else "behind"


@dataclasses.dataclass(frozen=True)
class Result:
    """What a protocol has measured; plain values, written as eval/NAME.json.

    Attributes:
        protocol: The protocol's word.
        title: For people, with what sets it apart, such as "k-NN (k 20)".
        rows: The numbers; the first of each group is the one that counts.
        measured_on: {"name", "size", "fingerprint"} of each set of images: "train" and
            "test", or "images". The fingerprint is another where files or labels have
            changed; None where that isn't known.
        place: Tells these images from others of their name; "" are the run's own, and
            None where it isn't known.
        options: All options, defaults included.
        details: What the protocol's own tables and charts are made of, plain values,
            by the encoder they are of: "trained", then those of `Row.beside`. A
            protocol that classifies has "class_names", "per_class" and "confusion"
            there, see `Classification`; the protocol's module says the rest.
        verdict: One or two words, where the protocol gives a verdict.
        notes: Sentences, such as the reasons of the verdict.
        pictures: Names of the pictures that lie beside the file, and what they show.
        network: What was judged: "encoder" or "classifier".
        weights_hash: `features.weights_hash` of it.
        seconds: Time it took, by encoder.
        versions: Of the packages that the numbers depend on.
    """

    protocol: str
    title: str
    rows: tuple[Row, ...] = ()
    measured_on: Mapping[str, Mapping[str, Any]] = dataclasses.field(
        default_factory=dict
    )
    place: str | None = None
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    verdict: str | None = None
    notes: tuple[str, ...] = ()
    pictures: Mapping[str, str] = dataclasses.field(default_factory=dict)
    network: str = "encoder"
    weights_hash: str | None = None
    seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __repr__(self) -> str:
        from selfsup_tf.evaluation.text import format_line

        return f"<Result {self.protocol}: {format_line(self)}>"

    def _repr_html_(self) -> str:
        from selfsup_tf.evaluation.text import format_html

        return format_html(self)

    @property
    def groups(self) -> dict[str, list[Row]]:
        """The rows by their groups; the first of each is the one that counts."""
        names = [row.group for row in self.rows]
        return {name: [r for r in self.rows if r.group == name] for name in names}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with the version of the form under "format"."""
        return {"format": FORMAT, **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Result":
        """The inverse of `to_dict`; fields of a later version are passed over.

        Raises:
            LookupError, TypeError, ValueError, AttributeError: It is not of this form.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        kept = {name: value for name, value in values.items() if name in known}
        for name in ("protocol", "title"):
            if not isinstance(kept[name], str):
                raise TypeError(f"{name} is no text")
        rows = tuple(_row(values) for values in kept.pop("rows", ()))
        return cls(**kept | {"rows": rows, "notes": tuple(kept.get("notes", ()))})


def _row(values: Mapping[str, Any]) -> Row:
    beside = {
        name: Beside(
            share(one["value"]), share(one["gain"]), interval(one["gain_interval"])
        )
        for name, one in values["beside"].items()
    }
    known = {field.name for field in dataclasses.fields(Row)}
    kept = {name: value for name, value in values.items() if name in known}
    read = {"interval": interval(values["interval"]), "value": share(values["value"])}
    return Row(**kept | read | {"beside": beside})


def share(value: Any) -> float | None:
    """A number of a file; what is not finite has not been measured."""
    if value is None or not math.isfinite(value):
        return None
    return float(value)


def interval(values: Any) -> Interval | None:
    """Two bounds of a file; None where one has not been measured."""
    low, high = map(share, values or (None, None))
    return None if None in (low, high) else (low, high)


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of a result's details, for the page.

    Attributes:
        caption: What it shows.
        head: Headings of the columns.
        rows: Cells as text; the first of each row is its heading. A cell's further
            lines are shown small, below its first.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclasses.dataclass(frozen=True)
class Chart:
    """A drawing of a result: a file beside it, and a figure on the page.

    Attributes:
        title: What is shown.
        figure: matplotlib's.
        meaning: How to read it, a sentence.
        value: The number that belongs to it, as text.
        label: What a person who can't see it is told.
    """

    title: str
    figure: "matplotlib.figure.Figure"
    meaning: str = ""
    value: str = ""
    label: str = ""


class Protocol(abc.ABC):
    """A way to judge, or to look at, an encoder.

    Attributes:
        title: For people, such as "k-NN".
        flags: A frozen dataclass that extends `RunFlags`; its docstring and those of
            its fields are the help. The first line is listed by `eval.py`.
        order: Place among the protocols, in lists and on the page.
        needs: What must be there: "labels" (labelled images), "classifier" (of the
            run), "log" (of the run). Empty: an encoder and images are enough.
        measured_by_report: Whether `eval.py report` runs it where its result is
            missing and its needs are met.
        lead: A sentence over its section of the page.
        template: Jinja2 template of its section, a file beside the module; None for
            the section that all share: verdict, notes, tables, charts, pictures.
    """

    title: ClassVar[str]
    flags: ClassVar[type]
    order: ClassVar[int] = 100
    needs: ClassVar[tuple[str, ...]] = ()
    measured_by_report: ClassVar[bool] = False
    lead: ClassVar[str] = ""
    template: ClassVar[str | None] = None

    @abc.abstractmethod
    def run(self, judged: "Judged", flags: Any) -> Result | None:
        """Measures; the caller writes the result, draws it and prints it.

        Args:
            judged: The run: its networks, its images, its files.
            flags: An object of `self.flags`.

        Returns:
            The result; None where it has written and said all there is itself.
        """

    def reads_files_alone(self, flags: Any) -> bool:
        """Whether it runs without TensorFlow, whose import takes seconds."""
        return False

    def text(self, result: Result, flags: Any) -> str:
        """The result for a terminal: by default the table of its rows."""
        from selfsup_tf.evaluation.text import format_rows

        return format_rows(result)

    def settings(self, result: Result) -> str:
        """How it was measured, such as "k=200, temperature=0.1"; "" without choices."""
        return ""

    def draw(self, result: Result) -> dict[str, Chart]:
        """Its charts by a short name; each is saved as eval/NAME_KEY.png.

        The key "" stands for eval/NAME.png.
        """
        return {}

    def tables(self, result: Result) -> list[Table]:
        """Tables of its details, folded on the page."""
        return []

    def compare(self, results: Mapping[str, Result]) -> dict[str, Chart]:
        """Charts of several runs in one."""
        return {}
