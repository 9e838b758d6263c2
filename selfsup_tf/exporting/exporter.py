"""Writes an encoder in the formats asked for and proves each before it is named.

An export directory is written beside its place and renamed into it at the end, so
what stands there is whole and proven.
"""

import dataclasses
import json
import os
import pathlib
import shutil
import tempfile
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from selfsup_tf.errors import check, nearest
from selfsup_tf.exporting import parity
from selfsup_tf.exporting.images import choose_images
from selfsup_tf.exporting.portable import portable_encoder
from selfsup_tf.exporting.saved_model import export_saved_model
from selfsup_tf.exporting.tflite import PRECISIONS, export_tflite

TFLITE = {f"tflite_{precision}": precision for precision in PRECISIONS}
FORMATS = ("saved_model", "tflite", *TFLITE)
REPORT = "parity.json"


@dataclasses.dataclass(frozen=True)
class ExportResult:
    """What was exported, and how close it is to the encoder.

    Attributes:
        directory: Where it lies.
        artefacts: One for each signature of each artefact.
        image_source: Where the compared images come from.
        calibration_source: Where int8's calibration images come from; None without
            int8.
        num_calibration_images: How many they are.
        versions: Of the packages that wrote and ran the artefacts.
    """

    directory: pathlib.Path
    artefacts: tuple[parity.Parity, ...]
    image_source: str
    calibration_source: str | None
    num_calibration_images: int
    versions: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values, without the directory."""
        values = dataclasses.asdict(self)
        del values["directory"]
        return values


def export(
    encoder: keras.Model | str | pathlib.Path,
    directory: str | pathlib.Path,
    *,
    formats: tuple[str, ...] = ("saved_model", "tflite"),
    images: Any = None,
    calibration_images: Any = None,
    overwrite: bool = False,
) -> ExportResult:
    """Exports an encoder and proves each artefact on real images.

    ```
    directory/  saved_model/  encoder_float32.tflite  encoder_float16.tflite
                encoder_int8.tflite  parity.json
    ```

    Args:
        encoder: float32 [0, 1] (N, S, S, 3) -> h (N, D) float32, or the path of an
            encoder.keras. One of a mixed precision is exported in float32.
        directory: Where to; made with its parents.
        formats: Of saved_model, tflite (its three precisions), tflite_float32,
            tflite_float16 and tflite_int8.
        images: What the encoder is for: a Source, or uint8 images (N, H, W, 3). 256 of
            them prove the artefacts. None: `shapes`, drawn by this package, which
            says less about your images.
        calibration_images: What int8 is calibrated on, likewise; 200 of them. None:
            others of `images`.
        overwrite: Whether an earlier export in `directory` is replaced, whole.

    Raises:
        InputError: An unknown format, a directory that is there, too few images.
        ParityError: An artefact strays from the encoder. Nothing was exported.
        ConversionError: The encoder has an operation that TFLite lacks.
    """
    wanted = _resolve_formats(formats)
    directory = pathlib.Path(directory).expanduser().absolute()
    _check_place(directory, overwrite)
    encoder = portable_encoder(encoder)
    chosen = choose_images(
        images,
        calibration_images,
        size=encoder.input_shape[1],
        calibrates="tflite_int8" in wanted,
    )
    directory.parent.mkdir(parents=True, exist_ok=True)
    work = tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent)
    work = pathlib.Path(work)
    try:
        artefacts = _write_artefacts(encoder, work, wanted, chosen)
        result = ExportResult(
            directory=directory,
            artefacts=tuple(artefacts),
            image_source=chosen.source,
            calibration_source=chosen.calibration_source,
            num_calibration_images=(
                0 if chosen.calibration is None else len(chosen.calibration)
            ),
            versions={"tensorflow": tf.__version__, "keras": keras.__version__},
        )
        (work / REPORT).write_text(json.dumps(result.to_dict(), indent=2) + "\n")
        # Made private by mkdtemp; a server may run as another user.
        work.chmod(0o755)
        _put_in_place(work, directory)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return result


def format_table(result: ExportResult) -> str:
    """The parity of each artefact as lines of text for a terminal."""
    lines = [
        f"{'artefact':24}{'signature':17}{'batch':6}{'cosine':>9}{'least':>9}"
        f"{'max diff':>10}{'MB':>8}"
    ]
    for a in result.artefacts:
        lines.append(
            f"{a.artefact:24}{a.signature:17}{a.batch:6}{a.cosine_mean:9.5f}"
            f"{a.cosine_min:9.5f}{a.max_difference:10.2g}{a.size_bytes / 1e6:8.2f}"
        )
    compared = result.artefacts[0].num_images
    lines.append(f"compared on {compared} images of {result.image_source}")
    if result.calibration_source is not None:
        lines[-1] += (
            f"; int8 calibrated on {result.num_calibration_images} of "
            f"{result.calibration_source}"
        )
    return "\n".join(lines)


def _resolve_formats(formats: tuple[str, ...]) -> list[str]:
    formats = (formats,) if isinstance(formats, str) else tuple(formats)
    check(len(formats) > 0, "formats to export", "none", nearest("", FORMATS))
    for name in formats:
        check(name in FORMATS, "a format", repr(name), nearest(str(name), FORMATS))
    names = [*formats, *(TFLITE if "tflite" in formats else ())]
    return [name for name in FORMATS if name in names and name != "tflite"]


def _check_place(directory: pathlib.Path, overwrite: bool) -> None:
    if not directory.exists():
        return
    check(
        overwrite,
        "an export directory that is not there yet",
        directory,
        "Choose another, or replace it with overwrite (--overwrite=True).",
    )
    # Replacing deletes: only what an export has written, or nothing, may go.
    check(
        directory.is_dir()
        and ((directory / REPORT).is_file() or not any(directory.iterdir())),
        "an earlier export to overwrite",
        f"{directory}, which holds no {REPORT}",
        "It was not written by an export and is left alone; choose another place.",
    )


def _write_artefacts(encoder, work, wanted, chosen):
    """Writes and measures what is wanted, stopping at the first that strays."""
    expected = parity.encode(encoder, chosen.views)
    check(
        bool(np.isfinite(expected).all()),
        "an encoder with finite representations",
        "NaN or infinity",
        "The encoder is broken (a diverged run?); take an earlier checkpoint.",
    )
    measured = []
    for name in wanted:
        if name == "saved_model":
            path = export_saved_model(encoder, work / "saved_model")
            found = parity.measure_saved_model(
                path, chosen.images, chosen.views, expected
            )
        else:
            path = export_tflite(
                encoder,
                work / f"encoder_{TFLITE[name]}.tflite",
                precision=TFLITE[name],
                calibration_images=chosen.calibration,
            )
            found = [parity.measure_tflite(path, TFLITE[name], chosen.views, expected)]
        for one in found:
            parity.require_parity(one)
        measured += found
    return measured


def _put_in_place(work: pathlib.Path, directory: pathlib.Path) -> None:
    """Renames `work` to `directory`; an earlier export goes when it is replaced."""
    if not directory.exists():
        os.rename(work, directory)
        return
    old = directory.with_name(f".{directory.name}.old.{os.getpid()}")
    os.rename(directory, old)
    try:
        os.rename(work, directory)
    except OSError:
        os.rename(old, directory)
        raise
    shutil.rmtree(old)
