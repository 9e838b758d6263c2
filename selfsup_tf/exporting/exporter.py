"""Writes an encoder in the formats asked for and proves each before it is named.

An export directory is written beside its place and renamed into it at the end, so
what stands there is whole and proven.
"""

import dataclasses
import os
import pathlib
import shutil
import tempfile
from collections.abc import Mapping
from typing import Any

import keras

from selfsup_tf.errors import check, nearest
from selfsup_tf.exporting import manifest as manifests
from selfsup_tf.exporting import quantization
from selfsup_tf.exporting.artefact import FORMATS, TFLITE, Artefact, Options
from selfsup_tf.exporting.images import NUM_BANK, NUM_IMAGES, Proof, choose_images
from selfsup_tf.exporting.model_card import write_model_card
from selfsup_tf.exporting.onnx_file import export_onnx, import_onnx
from selfsup_tf.exporting.parity import Parity, ParityError, measure, require_parity
from selfsup_tf.exporting.portable import portable_encoder, portable_pair
from selfsup_tf.exporting.reference import make_reference
from selfsup_tf.exporting.saved_model import export_saved_model
from selfsup_tf.exporting.serving_files import write_serving_files
from selfsup_tf.exporting.tflite import export_tflite
from selfsup_tf.exporting.thresholds import THRESHOLDS, Threshold

GROUPS = {
    "tflite": ("tflite_float32", "tflite_float16", "tflite_int8"),
    "all": FORMATS,
}
CALIBRATED = ("tflite_int8", "tflite_uint8", "tflite_int16x8")
AUTO = "auto"
# What an export before the manifest wrote; such a directory may be replaced, too.
FORMER_REPORT = "parity.json"


@dataclasses.dataclass(frozen=True)
class ExportResult:
    """What was exported, and how close it is to the encoder.

    Attributes:
        directory: Where it lies.
        parities: One for each output of each signature of each artefact.
        manifest: What manifest.json holds, the files aside.
        options: How the TFLite and ONNX files are called, `keep_float` resolved.
    """

    directory: pathlib.Path
    parities: tuple[Parity, ...]
    manifest: dict[str, Any]
    options: Options


def export(
    encoder: keras.Model | str | pathlib.Path,
    directory: str | pathlib.Path,
    *,
    formats: tuple[str, ...] = ("saved_model", "tflite"),
    images: Any = None,
    training_images: Any = None,
    classifier: keras.Model | None = None,
    class_names: tuple[str, ...] | None = None,
    options: Options = Options(),
    thresholds: Mapping[str, Threshold] = THRESHOLDS,
    num_images: int = NUM_IMAGES,
    num_bank: int = NUM_BANK,
    training: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> ExportResult:
    """Exports an encoder and proves each artefact on real images.

    ```
    directory/  saved_model/  serving/  encoder_float32.tflite  encoder_float16.tflite
                encoder_int8.tflite  ...  encoder.onnx  manifest.json  MODEL_CARD.md
    ```

    Args:
        encoder: float32 [0, 1] (N, S, S, 3) -> h (N, D) float32, or the path of an
            encoder.keras. One of a mixed precision is exported in float32.
        directory: Where to; made with its parents.
        formats: Of `FORMATS`; tflite (float32, float16 and int8) and all stand for
            several.
        images: Held-out images of the kind the encoder is for: a Source, or uint8
            images (N, H, W, 3), or (images, labels). They prove the artefacts. None:
            `shapes`, drawn by this package, which says less about your images.
        training_images: Images of the kind the encoder learned from, likewise: integer
            formats are calibrated on some and, where both are labelled, k-NN and a
            linear classifier learn from others. None: others of `images`.
        classifier: float32 [0, 1] (N, S, S, 3) -> logits (N, C), fine-tuned from the
            encoder or on top of it: every artefact gives its probabilities, too.
        class_names: What the logits mean.
        options: How TFLite and ONNX files are called. `keep_float=("auto",)` leaves
            those layers in float32 without which int8 misses its threshold.
        thresholds: Of each format, see `override_thresholds`.
        num_images: How many images prove the artefacts, at most.
        num_bank: From how many k-NN and the linear classifier learn, at most.
        training: How the encoder came about, as plain values, for the manifest.
        metrics: What evaluations of it found, likewise.
        overwrite: Whether an earlier export in `directory` is replaced, whole.

    Raises:
        InputError: An unknown format, a directory that is there, too few images, a
            format whose packages are not installed.
        ParityError: An artefact strays from the encoder. Nothing was exported.
        ConversionError: The encoder has an operation that a format lacks.
    """
    wanted = _resolve_formats(formats)
    directory = pathlib.Path(directory).expanduser().absolute()
    _check_place(directory, overwrite)
    encoder, classifier = portable_pair(portable_encoder(encoder), classifier)
    proof = choose_images(
        images,
        training_images,
        size=encoder.input_shape[1],
        calibrates=any(name in CALIBRATED for name in wanted),
        num_images=num_images,
        num_bank=num_bank,
    )
    reference = make_reference(encoder, proof, classifier, class_names)
    options = _resolve_options(options, wanted, encoder, proof, thresholds)
    directory.parent.mkdir(parents=True, exist_ok=True)
    work = tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent)
    work = pathlib.Path(work)
    try:
        artefacts, parities = [], []
        with tempfile.TemporaryDirectory() as scratch:
            for name in wanted:
                artefact = _write(
                    name, encoder, work, options, proof, classifier, class_names
                )
                rows = measure(
                    artefact,
                    reference,
                    proof,
                    thresholds[name],
                    work=pathlib.Path(scratch),
                )
                for row in rows:
                    _require(row, encoder, proof)
                artefacts.append(artefact)
                parities += rows
        found = manifests.describe(
            work,
            encoder=encoder,
            artefacts=artefacts,
            parities=parities,
            reference=reference,
            proof=proof,
            training=training,
            metrics=metrics,
        )
        write_model_card(work, found)
        manifests.write_manifest(work, found)
        # Made private by mkdtemp; a server may run as another user.
        work.chmod(0o755)
        _put_in_place(work, directory)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return ExportResult(directory, tuple(parities), found, options)


def lossy_layers(
    encoder: keras.Model | str | pathlib.Path,
    images: Any = None,
    training_images: Any = None,
    *,
    count: int = 10,
) -> list[quantization.LayerLoss]:
    """The layers through which int8 loses most, the worst first.

    Args:
        encoder: As for `export`; likewise the images.
        images: What the loss is measured on.
        training_images: What int8 is calibrated on.
        count: How many layers are tried.
    """
    encoder = portable_encoder(encoder)
    size = encoder.input_shape[1]
    proof = choose_images(
        images, training_images, size=size, calibrates=True, num_images=64, num_bank=0
    )
    return quantization.find_lossy_layers(
        encoder, proof.calibration, proof.views, count=count
    )


def format_table(result: ExportResult) -> str:
    """The parity of each artefact as lines of text for a terminal."""
    proof = result.manifest["proof"]
    lines = [result.manifest["parity_table"], ""]
    lines.append("compared on {count:,} images of {source}".format(**proof["images"]))
    if proof["bank"]:
        lines[-1] += "; labels learned from {count:,} of {source}".format(
            **proof["bank"]
        )
    if proof["calibration"]:
        lines[-1] += "; integers calibrated on {count:,} of {source}".format(
            **proof["calibration"]
        )
    if result.options.keep_float:
        lines.append(f"left in float32 by int8: {', '.join(result.options.keep_float)}")
    return "\n".join(lines)


def _resolve_formats(formats: tuple[str, ...]) -> list[str]:
    formats = (formats,) if isinstance(formats, str) else tuple(formats)
    known = (*FORMATS, *GROUPS)
    check(len(formats) > 0, "formats to export", "none", nearest("", known))
    names = set()
    for name in formats:
        check(name in known, "a format", repr(name), nearest(str(name), known))
        names.update(GROUPS.get(name, (name,)))
    if "onnx" in names:
        import_onnx()  # before the minutes that the others take
    return [name for name in FORMATS if name in names]


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
    names = (manifests.MANIFEST, FORMER_REPORT)
    check(
        directory.is_dir()
        and (
            any((directory / name).is_file() for name in names)
            or not any(directory.iterdir())
        ),
        "an earlier export to overwrite",
        f"{directory}, which holds no {manifests.MANIFEST}",
        "It was not written by an export and is left alone; choose another place.",
    )


def _resolve_options(
    options: Options,
    wanted: list[str],
    encoder: keras.Model,
    proof: Proof,
    thresholds: Mapping[str, Threshold],
) -> Options:
    """The options with layers in place of "auto"."""
    if AUTO not in options.keep_float:
        return options
    least = [
        thresholds[f].cosine for f in ("tflite_int8", "tflite_uint8") if f in wanted
    ]
    if not least:
        return dataclasses.replace(options, keep_float=())
    suggestion = quantization.suggest_keep_float(
        encoder, proof.calibration, proof.views[:64], threshold=max(least)
    )
    return dataclasses.replace(options, keep_float=suggestion.keep_float)


def _write(
    name: str,
    encoder: keras.Model,
    work: pathlib.Path,
    options: Options,
    proof: Proof,
    classifier: keras.Model | None,
    class_names: tuple[str, ...] | None,
) -> Artefact:
    """Writes one artefact."""
    head = {"classifier": classifier, "class_names": class_names}
    if name == "saved_model":
        path = export_saved_model(encoder, work / name, **head)
        write_serving_files(
            work,
            path,
            size=encoder.input_shape[1],
            classifier=classifier is not None,
        )
    elif name == "onnx":
        path = export_onnx(
            encoder,
            work / "encoder.onnx",
            uint8_input=options.uint8_input,
            l2_normalize=options.l2_normalize,
            **head,
        )
    else:
        precision = TFLITE[name]
        values = dataclasses.asdict(options)
        if precision not in ("int8", "uint8"):
            values["keep_float"] = ()
        path = export_tflite(
            encoder,
            work / f"encoder_{precision}.tflite",
            precision=precision,
            calibration_images=proof.calibration,
            **values,
            **head,
        )
    return Artefact(path, name, options, class_names if classifier else None)


def _require(parity: Parity, encoder: keras.Model, proof: Proof) -> None:
    """Raises ParityError; where int8 strays, with the layers that it loses in."""
    try:
        require_parity(parity)
    except ParityError as error:
        if parity.format not in ("tflite_int8", "tflite_uint8"):
            raise
        losses = quantization.find_lossy_layers(
            encoder, proof.calibration, proof.views[:64]
        )
        raise ParityError(
            f"{error}\n{quantization.format_layers(losses)}\n"
            "--keep_float=auto leaves in float32 what it takes."
        ) from error


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
