"""Which images judge a run, and whether it may have learned their labels."""

import json
import logging
import pathlib
import re
import zipfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from selfsup_tf.config import FROM_PYTHON
from selfsup_tf.data.splits import TEST, TRAIN, is_test
from selfsup_tf.doors import own_folders
from selfsup_tf.errors import check
from selfsup_tf.existing import looks_like_path
from selfsup_tf.files import DAMAGED
from selfsup_tf.installed import tfds_names
from selfsup_tf.lineage import Labels, labels_of
from selfsup_tf.run import RunDirectory

if TYPE_CHECKING:
    from selfsup_tf.data.source import Source

logger = logging.getLogger("selfsup_tf")


def channels_in(shape: Any) -> int | None:
    """The channels of images of a shape (N, S, S, C); None of any other shape."""
    is_of_images = isinstance(shape, tuple | list) and len(shape) == 4
    return shape[-1] if is_of_images else None


def read_channels(encoder: pathlib.Path) -> int | None:
    """The channels that the encoder in a .keras file takes, without loading it.

    None where the file is not there or does not say it in Keras's usual way; whoever
    loads it finds what is wrong.
    """
    try:
        with zipfile.ZipFile(encoder) as archive:
            layers = json.loads(archive.read("config.json"))["config"]["layers"]
        (first, *_) = (x for x in layers if x["class_name"] == "InputLayer")
        return channels_in(first["config"]["batch_shape"])
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile):
        return None


def images_of(
    run: RunDirectory,
    stored: dict[str, Any] | None,
    data: str | None,
    data_dir: str | None,
) -> tuple[str, str | None]:
    """Where images are, and TFDS's folder: what is said, else what the run recorded.

    Args:
        run: The run.
        stored: Its config.json, or None.
        data: What --data says.
        data_dir: What --data_dir says.

    Raises:
        InputError: Nothing says it, or the run's are not on this machine.
    """
    if data is not None and stored is None:
        return data, data_dir
    check(
        stored is not None,
        "--data",
        f"none, and no {run.config} that tells what the run learned from",
        "Name the images: --data=FOLDER",
    )
    recorded, own = stored.get("data_dir"), data or _lying(run, stored.get("data"))
    check(
        own is not None,
        "--data",
        f"none, and {run.config} does not tell what the run learned from",
        "Name the images: --data=FOLDER",
    )
    check(
        data_dir is not None
        or recorded is None
        or pathlib.Path(recorded).expanduser().exists()
        or pathlib.Path(own).expanduser().exists(),
        f"the data directory that the run recorded, {recorded}",
        "no such directory",
        "Say where the data lie on this machine: --data_dir=DIRECTORY",
    )
    check(
        own != FROM_PYTHON,
        "--data",
        "none, and this run learned from images given in Python",
        "Name images on disk: --data=FOLDER",
    )
    check(
        data is not None
        or not looks_like_path(own)
        or pathlib.Path(own).expanduser().exists()
        or own_folders("selfsup_tf.data.sources"),
        f"the images that the run learned from, in {own}",
        "nothing there",
        "Say where they lie on this machine: --data=FOLDER",
    )
    return own, data_dir or recorded


def _lying(run: RunDirectory, own: Any) -> Any:
    """The name of a run's images, or from elsewhere the folder where they lay then.

    Raises:
        InputError: Other images have that name here, and nothing is where they lay.
    """
    begun = run.read_images()
    if begun is None or not isinstance(own, str):
        return own
    names = dict.fromkeys((own, begun.get("folder", own)))
    there = [name for name in names if pathlib.Path(name).expanduser().is_dir()]
    holding = [name for name in there if _holds(name, run, begun)]
    check(
        bool(holding) or not there,
        f"the images that the run learned from, in {own}",
        "other files",
        "Say where they lie: --data=FOLDER, or go to where the run was begun.",
    )
    return holding[0] if holding else own


def _holds(data: str, run: RunDirectory, begun: dict[str, Any]) -> bool:
    """Whether a folder has most of the files that a run began with; a few are tried."""
    check("files" in begun, f"the files of the run in {run.images}", "none", DAMAGED)
    root = pathlib.Path(data).expanduser() / begun.get("root", ".")
    some = begun["files"][:: max(1, len(begun["files"]) // 50)]
    return 2 * sum((root / name).is_file() for name in some) >= len(some)


def tell_of(sources: "tuple[Source, ...]") -> None:
    """Says what there is to say of images that are opened, each thing once."""
    for note in dict.fromkeys(note for source in sources for note in source.notes):
        logger.info("%s", note)
    for line in sorted({line for source in sources for line in source.skipped}):
        logger.warning("skipped: %s", line)


class Learned:
    """Whether images have labels that have gone into an encoder.

    Args:
        labels: These, see `lineage`.
    """

    def __init__(self, labels: Labels):
        self._of = labels

    def labels(self, data: str) -> bool:
        """Whether labels of these images may be among them."""
        return any(may_have_learned(own, data, split) for own, split in self._of)

    def test_labels(self, data: str) -> bool:
        """Whether labels of the test split of these images may be among them."""
        return any(
            may_have_learned(own, data, split)
            and may_have_learned_test(own, split, data)
            for own, split in self._of
        )


def check_unseen(names: Sequence[str], data: str) -> bool:
    """Whether labels of these images have gone into encoders that exist.

    Raises:
        InputError: Those of their test split have.
    """
    found = {name: Learned(labels_of(name)) for name in names}
    for name, one in found.items():
        check(
            not one.test_labels(data),
            f"a test split of {data} that {name} has not seen",
            "a run that learned from its labels",
            "Leave it out, or name other images: --data=FOLDER",
        )
    return any(one.labels(data) for one in found.values())


def are_of_run(run: RunDirectory, own: str, data: str) -> bool:
    """Whether the images of a name are those that a run learned from, or seem to be.

    Of a folder that lies elsewhere the run's list of files decides, where it has one.

    Args:
        run: The run.
        own: What its config names.
        data: Another name.
    """
    begun, folder = run.read_images(), pathlib.Path(data).expanduser()
    moved = (
        folder.is_dir() and folder.resolve() != pathlib.Path(own).expanduser().resolve()
    )
    if begun is not None and moved and not _holds(data, run, begun):
        return False
    return may_be_the_same(own, data)


def may_be_the_same(own: str, data: str) -> bool:
    """Whether two names may be of the same images, moved files included.

    Args:
        own: What a run learned from.
        data: Another name.
    """
    own, data = map(_unversioned, (own, data))
    ours, theirs = (pathlib.Path(d).expanduser() for d in (own, data))
    if own == data or ours.resolve() == theirs.resolve():
        return True
    if ours.exists() or ours.name != theirs.name:
        return False
    return own != "shapes" and own.partition("/")[0] not in tfds_names()


def _unversioned(data: str) -> str:
    """A name of TFDS without its version: eurosat/rgb:2.0.0 is eurosat/rgb."""
    found = re.fullmatch(r"(\w+)(/\w+)?:\d+\.[\d.*]+", data)
    return data.rpartition(":")[0] if found and found[1] in tfds_names() else data


def _places(own: str, data: str) -> tuple[pathlib.Path, pathlib.Path]:
    """Where the images of two names lie.

    Of the first, where it is gone: the other, or a folder around it, of the same name.
    It may be others, by chance; a guard errs on the safe side.
    """
    names = map(_unversioned, (own, data))
    ours, theirs = (pathlib.Path(name).expanduser().resolve() for name in names)
    if not ours.exists():
        # Many folders are called train.
        count = 2 if ours.name.lower() in (*TRAIN, *TEST) else 1
        for place in (theirs, *theirs.parents):
            if place.parts[-count:] == ours.parts[-count:]:
                return place, theirs
    return ours, theirs


def may_have_learned(own: str, data: str, split: str = "train") -> bool:
    """Whether a run on a part of `own` may have learned from `data`, or some of them.

    What was given in Python may have been anything.

    Args:
        own: What the run learned from.
        data: What judges the run.
        split: Which part of its own, such as train, train+test or test[:50%].
    """
    if own == FROM_PYTHON:
        return True
    ours, theirs = _places(own, data)
    if data == own or ours.is_relative_to(theirs):
        return True
    if not theirs.is_relative_to(ours):
        return False
    if ours.is_dir():
        return _overlap(_learned(ours, split), theirs)
    return not is_test(theirs.relative_to(ours).parts[0])


def may_have_learned_test(own: str, split: str, data: str) -> bool:
    """Whether a run on a part of `own` may have learned from the test split of `data`.

    Args:
        own: What the run learned from.
        split: Which part of it, as for `may_have_learned`.
        data: What judges the run.
    """
    from selfsup_tf.data.folder_layout import find_layout

    ours, theirs = _places(own, data)
    if ours.is_dir() and theirs.is_dir():
        layout = find_layout(theirs)
        judges = layout.splits.get(layout.judges)
        if judges is not None:
            return _overlap(_learned(ours, split), judges.resolve())
    # Else the words tell, of a TFDS name and of images prepared in its form.
    if data == own or ours == theirs:
        words = re.findall(r"\w+", split)
        return "all" in words or any(map(is_test, words))
    inside = ours.relative_to(theirs).parts if ours.is_relative_to(theirs) else ()
    return bool(inside) and is_test(inside[0])


def _learned(folder: pathlib.Path, split: str) -> pathlib.Path:
    """Where the images lie that a run learned from; all, where that is not known."""
    from selfsup_tf.data.folder_layout import find_layout

    return find_layout(folder).splits.get(split, folder).resolve()


def _overlap(one: pathlib.Path, other: pathlib.Path) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)
