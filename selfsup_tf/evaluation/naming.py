"""How results are named, and told apart where two would have one name."""

import dataclasses
import hashlib
import os
import pathlib
import re
from typing import Any

from selfsup_tf.evaluation.flags import RunFlags

# Flags that change no number, or stand in a file's name in a way of their own.
_UNNAMED = ("run_dir", "data", "data_dir", "untrained", "beside", "classes", "output")
_NO_OPTIONS = (
    *("run_dir", "data", "data_dir", "labels", "exif"),
    *("encoder", "beside", "classes"),
)


def default_of(field: dataclasses.Field) -> Any:
    """The default of a flag, or MISSING."""
    made = field.default_factory is not dataclasses.MISSING
    return field.default_factory() if made else field.default


def place_digest(data: str) -> str:
    """Tells images from others of the same name: a digest of where they lie."""
    path = pathlib.Path(data).expanduser()
    where = str(path.resolve()) if path.exists() else data
    return hashlib.sha256(os.fsencode(where)).hexdigest()[:16]


def short_name(data: str) -> str:
    """What images are called in the name of a result: the last part of their name."""
    path = pathlib.Path(data).expanduser()
    if path.name in ("", ".."):
        path = path.resolve()
    return path.stem if path.suffix == ".npz" else path.name


def name_result(
    protocol: str, flags: RunFlags, file: pathlib.Path | None, *, data: str | None
) -> str:
    """The name of a result: the protocol, and every flag that is not the default.

    `knn`, `knn_k=5`, `health_encoder=best`, `map_data=photos`

    Args:
        protocol: Its word.
        flags: Its own.
        file: The .keras file that is judged, where it is no run's directory.
        data: What its images are called; None of the run's own.
    """
    said = [protocol]
    if file is not None and file.stem != "encoder":
        said.append(f"file={file.stem}")
    if data is not None:
        said.append(data if names_its_data(flags) else f"data={data}")
    for field in dataclasses.fields(flags):
        value = getattr(flags, field.name)
        if field.name not in _UNNAMED and value != default_of(field):
            value = "-".join(map(str, value)) if isinstance(value, tuple) else value
            value = re.sub(r"[/\\]", "-", str(value))  # it is no folder
            said.append(f"{field.name.replace('_', '-')}={value}")
    return "_".join(said)


def names_its_data(flags: RunFlags) -> bool:
    """Whether a protocol is about images that are always named, as is transfer."""
    fields = {field.name: field for field in dataclasses.fields(flags)}
    return "data" in fields and default_of(fields["data"]) is dataclasses.MISSING


def options_of(flags: RunFlags) -> dict[str, Any]:
    """The options of a result: all flags that are about numbers."""
    fields = (field.name for field in dataclasses.fields(flags))
    return {name: getattr(flags, name) for name in fields if name not in _NO_OPTIONS}


def titled(title: str, rest: str, *, without: tuple[str, ...] = ()) -> str:
    """A protocol's title with what sets a result apart, such as k-NN (k 20).

    Args:
        title: Of the protocol.
        rest: Of the result's name, such as k=20_encoder=best.
        without: Flags that the title says already.
    """
    # A value may hold what parts them: data=my_photos.
    parts = [part for part in re.split(r"_(?=[^_=]+=)|^_", rest) if part]
    parts = [part for part in parts if part.partition("=")[0] not in without]
    extra = ", ".join(part.replace("=", " ") for part in parts)
    return f"{title} ({extra})" if extra else title
