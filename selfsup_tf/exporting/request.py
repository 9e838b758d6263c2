"""Refuses what can't be exported, before the minutes that an export takes."""

import pathlib

from selfsup_tf.errors import check
from selfsup_tf.exporting.format import Format, Options
from selfsup_tf.exporting.formats import check_options, choose_formats
from selfsup_tf.exporting.place import check_place, clear_left
from selfsup_tf.exporting.proof import NUM_CALIBRATION
from selfsup_tf.files import PATTERN


def check_request(
    formats: tuple[str, ...] | str,
    directory: str | pathlib.Path,
    *,
    options: Options,
    overwrite: bool,
    num_images: int,
    num_bank: int,
    num_calibration: int,
) -> tuple[list[Format], pathlib.Path]:
    """Refuses what `exporter.export` would for these arguments alone.

    Returns:
        The formats in their order, and the directory as an absolute path.

    Raises:
        InputError: One of them can't be, or would be ignored.
    """
    wanted = choose_formats(formats)
    # A link stands for what it leads to; renaming would take its place.
    directory = pathlib.Path(directory).expanduser().resolve()
    check(
        not PATTERN.search(str(directory))
        or all(one.word != "saved_model" for one in wanted),
        "an export directory without [ ] * ? in its path, where TensorFlow can load a "
        "SavedModel",
        directory,
        "Name another place: --directory=DIRECTORY; or other --formats.",
    )
    clear_left(directory)
    check_place(directory, overwrite)
    for name, value, least in (
        ("num_images", num_images, 2),
        ("num_bank", num_bank, 0),
        ("num_calibration", num_calibration, 1),
    ):
        check(value >= least, f"{name} of {least} or more", value, "Take the default.")
    check(
        num_calibration == NUM_CALIBRATION
        or any(one.calibration != "none" for one in wanted),
        "a format of integers beside num_calibration",
        ", ".join(one.word for one in wanted),
        "Add tflite_int8, or leave it out.",
    )
    check_options(options, wanted)
    return wanted, directory
