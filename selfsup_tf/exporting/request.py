"""What is asked of an export, looked at before any work is done."""

import pathlib

from selfsup_tf.errors import check, nearest
from selfsup_tf.exporting.artefact import FORMATS, TFLITE, Options
from selfsup_tf.exporting.images import NUM_BANK, NUM_CALIBRATION, NUM_IMAGES
from selfsup_tf.exporting.onnx_file import import_onnx
from selfsup_tf.exporting.place import check_place

GROUPS = {
    "tflite": ("tflite_float32", "tflite_float16", "tflite_int8"),
    "all": FORMATS,
}
CALIBRATED = ("tflite_int8", "tflite_uint8", "tflite_int16x8")
MIXED = ("tflite_int8", "tflite_uint8")
OPTIONS = {
    "batch": tuple(TFLITE),
    "uint8_input": (*TFLITE, "onnx"),
    "l2_normalize": (*TFLITE, "onnx"),
    "keep_float": MIXED,
}
"""The formats that each option changes."""
AUTO = "auto"


def check_request(
    formats: tuple[str, ...] | str,
    directory: str | pathlib.Path,
    *,
    options: Options,
    overwrite: bool,
    num_images: int = NUM_IMAGES,
    num_bank: int = NUM_BANK,
    num_calibration: int = NUM_CALIBRATION,
) -> tuple[list[str], pathlib.Path]:
    """What an export would refuse for its arguments alone.

    Args:
        formats: Of `FORMATS` and `GROUPS`.
        directory: Where to.
        options: How the files are called.
        overwrite: Whether an earlier export may be replaced.
        num_images: For the proof.
        num_bank: For k-NN.
        num_calibration: For integers.

    Returns:
        The formats in their order, and the directory as an absolute path.

    Raises:
        InputError: One of them can't be, or would be ignored.
    """
    wanted = _resolve_formats(formats)
    # A link stands for what it leads to; renaming would take its place.
    directory = pathlib.Path(directory).expanduser().resolve()
    check_place(directory, overwrite)
    for name, value, least in (
        ("num_images", num_images, 2),
        ("num_bank", num_bank, 0),
        ("num_calibration", num_calibration, 1),
    ):
        check(value >= least, f"{name} of {least} or more", value, "Take the default.")
    check(
        options.batch is None or options.batch >= 1,
        "batch to be 1 or more, or None",
        options.batch,
        "None leaves it free.",
    )
    for option, changed in OPTIONS.items():
        check(
            getattr(options, option) == getattr(Options(), option)
            or any(name in changed for name in wanted),
            f"a format that {option} changes: {', '.join(changed)}",
            ", ".join(wanted),
            "Add one of them, or leave the option out.",
        )
    check(
        AUTO not in options.keep_float or len(options.keep_float) == 1,
        "keep_float to be auto, or names of layers",
        ", ".join(options.keep_float),
        "auto finds the layers by itself.",
    )
    return wanted, directory


def _resolve_formats(formats: tuple[str, ...] | str) -> list[str]:
    formats = (formats,) if isinstance(formats, str) else tuple(formats)
    known = (*FORMATS, *GROUPS)
    check(len(formats) > 0, "formats to export", "none", nearest("", known))
    names = set()
    for name in formats:
        advice = nearest(str(name), known)
        if "," in str(name):
            advice = "Put spaces between formats, and no commas."
        check(name in known, "a format", repr(name), advice)
        names.update(GROUPS.get(name, (name,)))
    if "onnx" in names:
        import_onnx()  # before the minutes that the others take
    return [name for name in FORMATS if name in names]
