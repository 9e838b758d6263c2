"""Whether what a command line names exists, told before TensorFlow is loaded.

TensorFlow takes seconds to load, and a slip in a name is the commonest mistake. What
passes here is looked at again by whoever opens it.
"""

import dataclasses
import os
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

from selfsup_tf.doors import own_folders
from selfsup_tf.errors import InputError, check, nearest
from selfsup_tf.installed import application_names, tfds_names
from selfsup_tf.run import TRAIN_ONE, RunDirectory

_SAID = re.compile(r"(?P<name>.+?)(?:#(?P<layer>[^#@/]+))?(?:@(?P<size>\d+))?")
_STARTS = (os.sep, "~", ".")  # of what can only be a path
_TO_FETCH = ("hub:",)  # whose names no file here lists
_VECTORS = (".npz", ".parquet")
"""How the names of files of vectors end."""
_ENCODERS = ("start", "teacher", "beside", "candidates")
"""Fields that name encoders that exist."""


def check_named(flags: Any, *, own_modules: Sequence[str] = ()) -> None:
    """Raises InputError where flags name data, a network or an encoder there is not.

    Args:
        flags: A config, or the flags of a protocol or of an export; of their fields
            run_dir, pretrained, compare, data, data_dir, start, teacher, beside and
            candidates are looked at.
        own_modules: Modules of the user's own that are going to be imported, which may
            know more names.
    """
    said = {f.name: getattr(flags, f.name) for f in dataclasses.fields(flags)}
    for run_dir in filter(None, (said.get("run_dir"), *(said.get("compare") or ()))):
        check_run(run_dir)
    if pretrained := said.get("pretrained"):
        if ":" in pretrained or own_folders("selfsup_tf.models.teachers"):
            check_encoder(pretrained)
        else:
            check_run(encoder_parts(pretrained)[0])
    for field in _ENCODERS:
        names = said.get(field) or ()
        for name in [names] if isinstance(names, str) else names:
            check_encoder(name)
    if said.get("data") and not own_modules:
        check_data(said["data"], said.get("data_dir") or _recorded(said.get("run_dir")))


def _recorded(run_dir: str | None) -> str | None:
    """Where a run found TFDS data."""
    try:
        config = run_dir and RunDirectory(run_dir).read_config()
    except InputError:
        return None  # told by who needs it
    return config.get("data_dir") if config else None


def looks_like_path(name: str) -> bool:
    """Whether a string can only be meant as a path: ./a, ~/a, a.npz or nothing."""
    starts = name.startswith(_STARTS)
    return bool(starts or os.path.splitext(name)[1] or not name.strip())


def check_data(data: str, data_dir: str | None) -> None:
    """Raises InputError where images of this name can't be found.

    A kind of source of the user's own may take any name, and none is refused.
    """
    path = pathlib.Path(data).expanduser()
    if path.exists() or own_folders("selfsup_tf.data.sources"):
        return
    if data.startswith(_STARTS) or data.endswith(".npz"):
        raise not_found(data, "a folder of images or an .npz file")
    plain = re.fullmatch(r"\w+", data)
    place = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    if not plain or data == "shapes" or "://" in place:
        return
    if (pathlib.Path(place).expanduser() / data).exists():
        return
    known = tfds_names()
    plainly = {name.replace("_", "") for name in known}
    if known and data.lower().replace("_", "") not in plainly:
        takes = "a folder of images, an .npz file, shapes or a name of TFDS"
        raise InputError(takes, repr(data), _guess(data, known, f"Name {takes}."))


def not_found(data: str, takes: str) -> InputError:
    """The error of a path of images that is not there."""
    path = pathlib.Path(data).expanduser().absolute()
    advice = f"Look for a slip in the path {path}."
    return InputError(takes, f"{data!r} (folder not found)", advice)


def encoder_parts(name: str) -> tuple[str, str | None, str | None]:
    """Place, layer and size of an encoder's name, which is PLACE#LAYER@SIZE."""
    said = _SAID.fullmatch(name.strip())
    # One that exists may hold these signs itself.
    if said is None or pathlib.Path(name).expanduser().exists():
        return name, None, None
    return said["name"], said["layer"], said["size"]


def is_file_of_vectors(name: str) -> bool:
    """Whether a name is of such a file, there or not."""
    return name.lower().endswith(_VECTORS)


def files_of(name: str) -> list[str]:
    """The files of vectors that a name has, FILE+FILE; the name of anything else."""
    parts = name.split("+")
    return parts if all(map(is_file_of_vectors, parts)) else [name]


def check_encoder(name: str) -> None:
    """Raises InputError where no encoder, or file of vectors, of this name is there."""
    if name.startswith(_TO_FETCH) or own_folders("selfsup_tf.models.teachers"):
        return
    place, _, _ = encoder_parts(name)
    if place.startswith("imagenet:"):
        known, asked = application_names(), place.removeprefix("imagenet:")
        check(
            not known or asked.lower() in map(str.lower, known),
            "imagenet:NAME, a network of keras.applications",
            repr(asked),
            nearest(asked, known),
        )
        return
    if pathlib.Path(place).expanduser().exists():
        return
    files = files_of(name)
    for file in files if len(files) > 1 else [place]:
        check(
            pathlib.Path(file).expanduser().exists(),
            "an encoder that exists",
            f"{file!r} (not found)",
            f"Look for a slip in the path {pathlib.Path(file).absolute()}; or name "
            "imagenet:NAME of keras.applications or hub:PRESET of keras-hub.",
        )


def check_run(run_dir: str) -> None:
    """Raises InputError where there is no such directory or file; one near is named."""
    run = RunDirectory(run_dir)
    if (run.file or run.path).exists():
        return
    beside = [str(file.parent) for file in run.path.parent.glob("*/config.json")]
    advice = TRAIN_ONE if run.file else _guess(str(run.path), beside, TRAIN_ONE)
    found = "no such file" if run.path.is_dir() else "no such directory"
    raise InputError(f"a run at {run}", found, advice)


def _guess(name: str, known: Iterable[str], otherwise: str) -> str:
    """The advice of `nearest`, where there is one that is near."""
    advice = nearest(name, known)
    return otherwise if advice.startswith("Choose") else advice
