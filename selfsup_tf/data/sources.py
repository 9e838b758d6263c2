"""From what a user names or holds to a source of images."""

import logging
import os
import pathlib
from typing import Any

import numpy as np
import tensorflow as tf

from selfsup_tf.data import shapes
from selfsup_tf.data import tfds as tfds_data
from selfsup_tf.data.arrays import ArraySource, from_arrays
from selfsup_tf.data.datasets import from_dataset
from selfsup_tf.data.folders import folder_splits, open_folder
from selfsup_tf.data.npz import npz_splits, open_npz
from selfsup_tf.data.source import Source, permutation
from selfsup_tf.errors import InputError, check

__all__ = ["Source", "open_evaluation", "open_pair", "open_source"]

logger = logging.getLogger("selfsup_tf")

_TEST_SHARE = 0.2  # of the data, where nobody has set a test split apart
_SPLIT_SEED = 0  # one split for everybody, so that results can be compared


def open_source(
    data: Any, *, data_dir: str | os.PathLike | None = None, split: str = "train"
) -> Source:
    """Opens images, and refuses what can't be used.

    Args:
        data: A folder, an .npz file, "shapes" or a TFDS name; or images (N, H, W, 3),
            (N, H, W, 1) or (N, H, W) as uint8 or as floats in [0, 1]; or a tuple
            (images, labels); or a tf.data.Dataset of images, (image, label) or dicts;
            or a Source, returned as it is. A path that exists wins over a name.
        data_dir: Where TFDS keeps its data.
        split: Which part of the data.

    Raises:
        InputError: The data can't be found or used, or have no such split.
    """
    if isinstance(data, Source):
        return data
    if isinstance(data, str | os.PathLike):
        return _open_named(data, _folder_or_none(data_dir), split)
    check(
        split == "train",
        "the split train, which is all that arrays and datasets have",
        repr(split),
        "Leave the split out, or give the images of that split.",
    )
    if isinstance(data, tf.data.Dataset):
        return from_dataset(data)
    if isinstance(data, tuple):
        check(
            len(data) == 2,
            "a tuple (images, labels)",
            f"a tuple of {len(data)}",
            "Give images alone, or with their labels.",
        )
        return from_arrays(data[0], data[1])
    if isinstance(data, np.ndarray | tf.Tensor | list):
        return from_arrays(data)
    raise InputError(
        "a name, a path, an array, (images, labels), a tf.data.Dataset or a Source",
        f"an object of type {type(data).__name__}",
        "Turn it into one of these.",
    )


def open_evaluation(
    data: Any, *, learned: bool = False, data_dir: str | os.PathLike | None = None
) -> tuple[Source, Source]:
    """Labelled images to fit on and labelled images to be judged on.

    These are the data's splits train and test (or val, or validation). Where there is
    no such pair, the data are parted into 80 and 20 %, class by class, always the same.

    Args:
        data: As for `open_source`.
        learned: Whether the encoder has learned the labels of these data, by
            fine-tuning or distillation. If so, images that are not parted into a train
            and a test split can't judge it.
        data_dir: Where TFDS keeps its data.

    Raises:
        InputError: There are no labels, the two parts have different classes, or the
            labels that would judge have been learned.
    """
    pair = _open_splits(data, _folder_or_none(data_dir))
    _check_unlearned(pair, data, learned)
    for source in pair:
        check_labelled(source)
    train, test = _part(pair)
    check(
        train.class_names == test.class_names,
        f"the same classes in {train.name} and {test.name}",
        f"{_difference(train, test)}",
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


def open_pair(
    data: Any, *, data_dir: str | os.PathLike | None = None
) -> tuple[Source, Source]:
    """As `open_evaluation`, but labels are not needed: a fifth is drawn without them.

    Args:
        data: As for `open_source`.
        data_dir: Where TFDS keeps its data.
    """
    return _part(_open_splits(data, _folder_or_none(data_dir)))


def open_test(
    data: Any, *, learned: bool, data_dir: str | os.PathLike | None = None
) -> Source:
    """Images to judge a classifier by: the data's split test, val or validation.

    Args:
        data: As for `open_source`.
        learned: Whether the classifier learned from these data. If so, images that are
            not parted into a train and a test split can't judge it.
        data_dir: Where TFDS keeps its data.

    Raises:
        InputError: There is no test split, and the classifier learned from the rest.
    """
    splits = _open_splits(data, _folder_or_none(data_dir))
    _check_unlearned(splits, data, learned)
    return splits[-1]


def has_test_split(data: Any, *, data_dir: str | os.PathLike | None = None) -> bool:
    """Whether the data have a split test, val or validation beside train.

    Args:
        data: As for `open_source`.
        data_dir: Where TFDS keeps its data.
    """
    return len(_find_splits(data, _folder_or_none(data_dir))) == 2


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
        return _part_by_class(source)
    return source.split(round(_TEST_SHARE * source.size), seed=_SPLIT_SEED)


def _open_named(name: str | os.PathLike, data_dir: str | None, split: str) -> Source:
    path = pathlib.Path(name).expanduser()
    name = os.fspath(name)
    if path.is_dir():
        return open_folder(path, split)
    if path.exists():
        check(
            path.suffix.lower() == ".npz",
            "a folder of images or an .npz file",
            f"the file {path}",
            "Name the folder that holds the images.",
        )
        return open_npz(path, split)
    if name == "shapes":
        images, labels = shapes.make_shapes(split)
        return ArraySource(
            f"shapes:{split}", images, labels=labels, class_names=shapes.CLASS_NAMES
        )
    _check_tfds_name(name, path, data_dir)
    return tfds_data.open_tfds(name, split=split, data_dir=data_dir)


def _check_tfds_name(name: str, path: pathlib.Path, data_dir: str | None) -> None:
    """Raises InputError where a name that is no path is no TFDS name either."""
    starts_as_path = name.startswith(("/", "~", ".")) or path.suffix or not name.strip()
    if not starts_as_path and tfds_data.is_known(name, data_dir):
        return
    if starts_as_path or os.sep in name:
        raise InputError(
            "a folder of images or an .npz file",
            f"{name!r} (folder not found)",
            f"Look for a slip in the path {path.absolute()}.",
        )
    raise InputError(
        "a folder, an .npz file, shapes, or a name of tensorflow-datasets",
        repr(name),
        tfds_data.suggestion(name),
    )


def _open_splits(data: Any, data_dir: str | None) -> tuple[Source, ...]:
    """The splits train and test of the data, or a single source."""
    return tuple(
        open_source(data, data_dir=data_dir, split=split)
        for split in _find_splits(data, data_dir)
    )


def _find_splits(data: Any, data_dir: str | None) -> tuple[str, ...]:
    """The names of those splits; no image is read."""
    if not isinstance(data, str | os.PathLike):
        return ("train",)
    path = pathlib.Path(data).expanduser()
    if path.is_dir():
        return folder_splits(path)[:2]
    if path.is_file() and path.suffix.lower() == ".npz":
        return _npz_pair(path)
    if path.exists():
        return ("train",)  # no images: opening it says so
    if data == "shapes":
        return tuple(shapes.SPLIT_SIZES)
    _check_tfds_name(os.fspath(data), path, data_dir)
    return tfds_data.evaluation_splits(os.fspath(data), data_dir=data_dir)


def _npz_pair(path: pathlib.Path) -> tuple[str, ...]:
    """Its splits; without any, the one whose opening tells what is wrong."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            splits = tuple(npz_splits(set(archive.files)))
    except Exception:  # whatever it is, open_npz finds it again and explains it
        return ("train",)
    return splits if "train" in splits else ("train",)


def check_labelled(source: Source) -> None:
    """Raises InputError unless every image has a label."""
    check(
        source.labelled and bool((source.labels >= 0).all()),
        f"labels in {source.name}, since an evaluation compares with them",
        "images without labels" if not source.labelled else "labels below 0",
        "Give (images, labels), or a folder with a sub-folder for each class. Without "
        "labels there are health, neighbours and map.",
    )


def _difference(train: Source, test: Source) -> str:
    ours, theirs = train.class_names, test.class_names
    only = [f"{name} only in {train.name}" for name in ours if name not in theirs]
    only += [f"{name} only in {test.name}" for name in theirs if name not in ours]
    return ", ".join(only[:5]) or "the same names in another order"


def _part_by_class(source: Source) -> tuple[Source, Source]:
    """80 % and 20 % of every class; of a class with one image, that stays in the first.

    Raises:
        InputError: No class has two images.
    """
    labels, held_out = source.labels, []
    for label in np.unique(labels):
        members = source.indices[labels == label]
        members = members[permutation(len(members), _SPLIT_SEED)]
        count = round(_TEST_SHARE * len(members)) or min(1, len(members) - 1)
        held_out.append(members[:count])
    test = np.sort(np.concatenate(held_out))
    check(
        len(test) > 0,
        f"two images or more of a class in {source.name}",
        f"{source.size} images of as many classes",
        "Give more images.",
    )
    train = np.setdiff1d(source.indices, test)
    return (
        source.select(train, f"{source.name}:80%"),
        source.select(test, f"{source.name}:20%"),
    )


def _folder_or_none(data_dir: str | os.PathLike | None) -> str | None:
    return None if data_dir is None else str(pathlib.Path(data_dir).expanduser())
