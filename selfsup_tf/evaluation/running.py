"""Runs a protocol: for Python on an encoder, for `eval.py` on a run."""

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Any

from selfsup_tf.errors import check, check_one_of
from selfsup_tf.evaluation.flags import RunFlags
from selfsup_tf.evaluation.judged import Judged
from selfsup_tf.evaluation.naming import default_of, names_its_data
from selfsup_tf.evaluation.protocol import PROTOCOLS, Result
from selfsup_tf.evaluation.results import write_result
from selfsup_tf.files import save_figure, writable

if TYPE_CHECKING:
    import keras


def evaluate(
    protocol: str,
    encoder: "keras.Model",
    train: Any,
    test: Any = None,
    *,
    path: str | pathlib.Path | None = None,
    cache: pathlib.Path | None = None,
    **options: Any,
) -> Result | None:
    """Judges an encoder by a protocol of `eval.py`.

    Args:
        protocol: Its word, such as "knn".
        encoder: float32 [0, 1] (N, S, S, 3) -> h (N, D).
        train: A Source or (images, labels), as `open_source` takes them; of protocols
            that look at one set of images, that one.
        test: Likewise.
        path: A JSON file for the result, such as RUN_DIR/eval/knn.json.
        cache: A folder where representations are kept for the next protocol.
        **options: Flags of the protocol, such as k=20 or untrained=False. Protocols
            that write more than a result need run_dir, where it goes.

    Returns:
        The result; None from a protocol whose outcome is a file.

    Raises:
        InputError: An unknown protocol or option, or what the protocol refuses.
    """
    flags = make_flags(protocol, {"run_dir": "", **options})
    _check_opened(flags)
    judged = Judged(flags, protocol, encoder=encoder, images=(train, test), cache=cache)
    result = PROTOCOLS.find(protocol).run(judged, flags)
    if path is not None and result is not None:
        write_result(path, result)
    return result


def _check_opened(flags: RunFlags) -> None:
    """Raises InputError for flags of files, where images are given in Python."""
    of_files = {"data", "labels", "data_dir", "exif"}
    if names_its_data(flags):
        of_files -= {"data"}
    if vars(flags).get("examples") is not None:  # which are files
        of_files -= {"data_dir", "exif"}
    said = [
        field.name
        for field in dataclasses.fields(flags)
        if field.name in of_files and getattr(flags, field.name) != default_of(field)
    ]
    check(
        not said,
        "train and test without options of files",
        " and ".join(said),
        "Give them to open_source, and its sources here.",
    )


def run_protocol(protocol: str, **options: Any) -> Result | None:
    """Does what `eval.py` does: measures, writes, draws and prints.

    Args:
        protocol: The protocol's word, such as "knn".
        **options: Its flags, such as run_dir="runs/a" and k=20.

    Returns:
        The result; None from a protocol whose outcome is a file.

    Raises:
        InputError: An unknown protocol or option, or what the protocol refuses.
    """
    flags = make_flags(protocol, options)
    found, judged = PROTOCOLS.find(protocol), Judged(flags, protocol)
    result = found.run(judged, flags)
    if result is None:
        return None
    path, text = judged.file(), found.text(result, flags)
    if text:
        print(text)  # before it is written, which may fail
    with writable():
        write_result(path, result)
        for key, chart in found.draw(result).items():
            save_figure(chart.figure, judged.file(f"_{key}.png" if key else ".png"))
    for picture, what in result.pictures.items():
        print(f"{what}: {path.with_name(picture)}")
    if text:
        print(f"\nWritten to {path}")
    return result


def make_flags(protocol: str, options: dict[str, Any]) -> RunFlags:
    """The flags of a protocol; raises InputError for unknown and missing options."""
    kind = PROTOCOLS.find(protocol).flags
    fields = {field.name: default_of(field) for field in dataclasses.fields(kind)}
    for name in options:
        check_one_of(name, fields, f"an option of {protocol}")
    for name, default in fields.items():
        there = name in options or default is not dataclasses.MISSING
        check(there, f"{name}, an option of {protocol}", "none", "Say it.")
    return kind(**options)
