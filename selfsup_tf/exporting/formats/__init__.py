"""The export formats: modules of this folder, or of the same one elsewhere on the path.

A module defines FORMAT, a `format.Format`, or a tuple of several. One of your own is
MY_FOLDER/selfsup_tf/exporting/formats/NAME.py, with MY_FOLDER in `sys.path`. Modules
import TensorFlow inside their methods only: `export.py --help` lists what they define.
"""

import dataclasses
import logging
from collections.abc import Iterable, Mapping, Sequence

from selfsup_tf.doors import Door
from selfsup_tf.errors import InputError, check, check_one_of, nearest
from selfsup_tf.exporting.format import AUTO, Format, Options, Threshold

logger = logging.getLogger("selfsup_tf")

DOOR = Door(__name__, "FORMAT", "a module of export formats")


def find_formats() -> dict[str, Format]:
    """Every format that there is by its word, in the order of tables.

    Raises:
        InputError: Two modules define the same word.
    """
    found: dict[str, Format] = {}
    for module, defined in DOOR.all().items():
        for one in defined if isinstance(defined, tuple) else (defined,):
            check(
                one.word not in found,
                "export formats of different words",
                f"a second {one.word}, of the module {module}",
                "Give it another word.",
            )
            found[one.word] = one
    return dict(sorted(found.items(), key=lambda item: item[1].order))


def choose_formats(words: Iterable[str] | str) -> list[Format]:
    """The formats that some words ask for, in the order of tables.

    Args:
        words: Names of formats and of groups; all stands for every format. Of a group
            those are left out whose packages are missing, and the log says so.

    Raises:
        InputError: An unknown word, none, or a format whose packages are missing.
    """
    there_are = find_formats()
    groups = _groups(there_are)
    known = (*there_are, *sorted(groups))
    words = (words,) if isinstance(words, str) else tuple(words)
    check(len(words) > 0, "formats to export", "none", nearest("", known))
    wanted = set()
    for word in words:
        advice = nearest(str(word), known)
        if "," in str(word):
            advice = "Put spaces between formats, and no commas."
        check(word in known, "a format", repr(word), advice)
        wanted |= groups.get(word, {word})
    chosen = []
    for word in (word for word in there_are if word in wanted):
        try:
            there_are[word].check_installed()  # before the minutes that the others take
        except InputError as error:
            if word in words or wanted == {word}:
                raise
            logger.warning("Without %s: %s", word, error)
        else:
            chosen.append(there_are[word])
    return chosen


def _groups(there_are: Mapping[str, Format]) -> dict[str, set[str]]:
    """The words of formats by the words that stand for them, all among those."""
    groups = {"all": set(there_are)}
    for word, found in there_are.items():
        for group in found.groups:
            groups.setdefault(group, set()).add(word)
    return groups


def check_options(options: Options, chosen: Sequence[Format]) -> None:
    """Raises InputError for an option that can't be, or that no chosen format heeds."""
    check(
        options.batch is None or options.batch >= 1,
        "batch to be 1 or more, or None",
        options.batch,
        "None leaves it free.",
    )
    there_are = find_formats()
    for field in dataclasses.fields(Options):
        heeding = [word for word, f in there_are.items() if field.name in f.heeds]
        check(
            getattr(options, field.name) == field.default
            or any(field.name in found.heeds for found in chosen),
            f"a format that {field.name} changes: {', '.join(heeding)}",
            ", ".join(found.word for found in chosen),
            "Add one of them, or leave the option out.",
        )
    check(
        not isinstance(options.keep_float, str),
        "keep_float to be a tuple of names",
        repr(options.keep_float),
        f"Write ({options.keep_float!r},).",
    )
    check(
        AUTO not in options.keep_float or len(options.keep_float) == 1,
        "keep_float to be auto, or names of layers",
        ", ".join(options.keep_float),
        "auto finds the layers by itself.",
    )


def override_thresholds(
    *,
    cosine: Mapping[str, float] | None = None,
    knn_loss: Mapping[str, float] | None = None,
    agreement: Mapping[str, float] | None = None,
    chosen: Iterable[Format] | None = None,
) -> dict[str, Threshold]:
    """The threshold of every format, with other numbers for some.

    Args:
        cosine: {format or group: least mean cosine, in [-1, 1]}.
        knn_loss: {format or group: points of k-NN accuracy that may be lost, 0 to 100}.
        agreement: {format or group: least share of the encoder's classes, 0 to 1}.
        chosen: The formats that are exported; None: any.

    Raises:
        InputError: An unknown format, a number outside its range, or one for formats
            of which none is chosen.
    """
    there_are = find_formats()
    exported = set(there_are) if chosen is None else {one.word for one in chosen}
    groups = _groups(there_are)
    thresholds = {word: found.threshold for word, found in there_are.items()}
    for field, low, high, values in (
        ("cosine", -1, 1, cosine or {}),
        ("knn_loss", 0, 100, knn_loss or {}),
        ("agreement", 0, 1, agreement or {}),
    ):
        # The word of fewer formats is the stronger one.
        meant = {said: groups.get(said, {said}) for said in values}
        for said in sorted(values, key=lambda said: -len(meant[said])):
            value, words = values[said], meant[said]
            check_one_of(said, [*there_are, *groups], "a format with a threshold")
            usual = getattr(there_are[min(words)].threshold, field)
            check(
                low <= value <= high,
                f"a threshold of {field} from {low} to {high} for {said}",
                value,
                f"It is {usual} unless overridden.",
            )
            check(
                words & exported,
                f"a threshold of {field} for a format that is exported",
                said,
                f"Add it to the formats, or leave it out; exported: "
                f"{', '.join(sorted(exported))}",
            )
            for word in words:
                changed = dataclasses.replace(thresholds[word], **{field: value})
                thresholds[word] = changed
    return thresholds
