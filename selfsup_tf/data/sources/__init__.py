"""Opens images of every kind that a user names or holds, and parts them for tests.

Each module beside this one holds a `SourceKind`, as SOURCE, and this one knows none of
them by name. They are asked one after the other whether they recognise the data: first
those for paths that exist, then those for names and objects, last those that take long.
"""

import dataclasses
import logging
import os
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from selfsup_tf.data.parts import hold_out_share, share_classes
from selfsup_tf.data.source import Reading, Source, SourceKind
from selfsup_tf.doors import Door
from selfsup_tf.errors import InputError, check, nearest
from selfsup_tf.existing import looks_like_path, not_found

__all__ = [
    "DOOR",
    "Source",
    "check_labelled",
    "has_test_split",
    "open_evaluation",
    "open_pair",
    "open_source",
    "open_splits",
    "open_test",
    "part_evaluation",
]

logger = logging.getLogger("selfsup_tf")

DOOR = Door(__name__, "SOURCE", "a kind of source")

_TEST_SHARE = 0.2  # of the data, where nobody has set a test split apart
_SPLIT_SEED = 0  # one split for everybody, so that results can be compared


def open_source(data: Any, *, split: str = "train", **reading: Any) -> Source:
    """Opens images, and refuses what can't be used.

    Args:
        data: A folder, an .npz file, "shapes" or a TFDS name; or images (N, H, W) or
            (N, H, W, C), C from 1 to 16, as uint8, uint16 or floats in [0, 1]; or a
            tuple (images, labels); or a tf.data.Dataset of images, (image, label) or
            dicts; or what a kind of your own takes; or a Source, returned as it is. A
            path that exists wins over a name.
        split: Which part of the data.
        reading: Fields of `Reading`: data_dir, exif, labels, channels. All functions
            here take them; of a Source labels alone, as it has been opened already.

    Raises:
        InputError: The data can't be found or used, or have no such split.
    """
    kind, data, reading = _find_kind(data, Reading(**reading))
    return _read(kind, data, split, reading)


def _read(kind: SourceKind, data: Any, split: str, reading: Reading) -> Source:
    source = kind.open(data, split, reading)
    return source if reading.labels else source.without_labels()


def open_evaluation(
    data: Any, *, learned: bool = False, **reading: Any
) -> tuple[Source, Source]:
    """Opens labelled images to fit on, and labelled images to be judged on.

    These are the data's splits train and test (or val, or validation). Where there is
    no such pair, the data are parted into 80 and 20 %, class by class, always the same.

    Args:
        data: As for `open_source`.
        learned: Whether the encoder has learned the labels of these data, by
            fine-tuning or distillation. If so, images that are not parted into a train
            and a test split can't judge it.
        reading: As for `open_source`.

    Raises:
        InputError: There are no labels, the two parts have different classes, or the
            labels that would judge have been learned.
    """
    return part_evaluation(open_splits(data, **reading), data, learned=learned)


def part_evaluation(
    pair: tuple[Source, ...], data: Any, *, learned: bool
) -> tuple[Source, Source]:
    """As `open_evaluation`, of what `open_splits` has opened of `data`."""
    _check_unlearned(pair, data, learned)
    for source in pair:
        check_labelled(source)
    train, test = _part(pair)
    check(
        train.class_names == test.class_names,
        f"the same classes in {train.name} and {test.name}",
        _difference(train, test),
        "Give both parts the same class folders.",
    )
    unseen = np.setdiff1d(test.labels, train.labels)
    check(
        len(unseen) == 0,
        f"the same classes in {train.name} and {test.name}",
        "only in the second: " + ", ".join(test.class_names[n] for n in unseen[:5]),
        "What has no example to learn from can't be answered; leave it out, or add "
        "some.",
    )
    return train, test


def open_pair(data: Any, **reading: Any) -> tuple[Source, Source]:
    """Opens images and test images like `open_evaluation`, with labels or without.

    Labels that tell hardly any two images alike are put aside, see `share_classes`.
    """
    splits = open_splits(data, **reading)
    if len(splits) == 1 and splits[0].labelled and not share_classes(splits[0]):
        logger.info("Most classes of %s have one image: no labels.", splits[0].name)
        splits = (splits[0].without_labels(),)
    return _part(splits)


def open_test(data: Any, *, learned: bool, **reading: Any) -> Source:
    """Opens the images to judge a classifier by: the split test, val or validation.

    Args:
        data: As for `open_source`.
        learned: Whether the classifier learned from these data.
        reading: As for `open_source`.

    Raises:
        InputError: There is no test split, and the classifier learned from the rest.
    """
    splits = open_splits(data, **reading)
    _check_unlearned(splits, data, learned)
    return splits[-1]


def has_test_split(data: Any, **reading: Any) -> bool:
    """Whether the data, as for `open_source`, have a test split; no image is read."""
    kind, data, reading = _find_kind(data, Reading(**reading))
    return len(kind.splits(data, reading)) > 1


def check_labelled(source: Source) -> None:
    """Raises InputError unless every image has a label."""
    check(
        source.labelled and bool((source.labels >= 0).all()),
        f"labels in {source.name}, since an evaluation compares with them",
        "images without labels" if not source.labelled else "labels below 0",
        "Give (images, labels), or a folder with a sub-folder for each class. Without "
        "labels there are health, neighbours and map.",
    )


def _check_unlearned(splits: tuple[Source, ...], data: Any, learned: bool) -> None:
    check(
        len(splits) == 2 or not learned,
        f"a test split of {data}, since labels of the rest have gone into the network",
        f"{splits[0].name} alone",
        "Name images that it has not seen: --data=FOLDER. Or part these into train/ "
        "and test/ and train again.",
    )


def _part(splits: tuple[Source, ...]) -> tuple[Source, Source]:
    if len(splits) == 2:
        return splits
    (source,) = splits
    logger.info(
        "%s has no test split, so a fifth of it stands for one. A run that learned "
        "from all of it has seen those images too.",
        source.name,
    )
    if source.labelled:
        return hold_out_share(source, _TEST_SHARE, seed=_SPLIT_SEED)
    return source.split(round(_TEST_SHARE * source.size), seed=_SPLIT_SEED)


def open_splits(data: Any, **reading: Any) -> tuple[Source, ...]:
    """Opens the training and the test split, or the training split alone."""
    kind, data, reading = _find_kind(data, Reading(**reading))
    splits = kind.splits(data, reading)[:2]
    return tuple(_read(kind, data, split, reading) for split in splits)


_OPENED = SourceKind("a Source", lambda *_: True, lambda data, *_: data)


def _find_kind(data: Any, reading: Reading) -> tuple[SourceKind, Any, Reading]:
    """Finds the kind that recognises the data; kinds are asked in the order of turns.

    Returns:
        The kind, the data and the reading; paths as strings with ~ expanded.

    Raises:
        InputError: None does; what was meant is guessed.
    """
    if isinstance(data, Source):
        return _OPENED, data, reading
    data, data_dir = (
        os.path.expanduser(given) if isinstance(given, str | os.PathLike) else given
        for given in (data, reading.data_dir)
    )
    reading = dataclasses.replace(reading, data_dir=data_dir)
    kinds = sorted(DOOR.all().values(), key=lambda kind: kind.turn)
    named = [kind for kind in kinds if not kind.from_python]
    is_named = isinstance(data, str)
    for kind in kinds:
        if kind.from_python != is_named and kind.recognises(data, reading):
            return kind, data, reading
    if not is_named:
        raise InputError(
            f"{_listed(kinds)}, or a Source",
            f"an object of type {type(data).__name__}",
            "Turn it into one of these.",
        )
    paths = _listed(kind for kind in named if not kind.turn)
    path = pathlib.Path(data).absolute()
    if path.exists():
        advice = "Name the folder that holds the images."
        raise InputError(paths, f"the file {path}", advice)
    if looks_like_path(data) or os.sep in data:
        raise not_found(data, paths)
    advice = nearest(data, [name for kind in named for name in kind.names()])
    if advice.startswith("Choose"):  # among hundreds
        advice = f"Name {_listed(named)}."
    raise InputError(_listed(named), repr(data), advice)


def _listed(kinds: Iterable[SourceKind]) -> str:
    """Lists within a sentence what the kinds take."""
    *words, last = [kind.takes for kind in kinds]
    return f"{', '.join(words)} or {last}"


def _difference(train: Source, test: Source) -> str:
    ours, theirs = train.class_names, test.class_names
    only = [f"{name} only in {train.name}" for name in ours if name not in theirs]
    only += [f"{name} only in {test.name}" for name in theirs if name not in ours]
    return ", ".join(only[:5]) or "the same names in another order"
