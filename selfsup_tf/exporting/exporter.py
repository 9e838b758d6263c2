"""Writes an encoder in the formats asked for and proves each before it is named.

An export directory is written beside its place and renamed into it at the end, so
what stands there is whole and proven.
"""

import dataclasses
import logging
import pathlib
import shutil
import tempfile
from collections.abc import Mapping
from typing import Any

import keras

from selfsup_tf.exporting import manifest as manifests
from selfsup_tf.exporting import quantization
from selfsup_tf.exporting.artefact import Artefact, Options
from selfsup_tf.exporting.calibration import without_outliers
from selfsup_tf.exporting.images import (
    NUM_BANK,
    NUM_CALIBRATION,
    NUM_IMAGES,
    Proof,
    choose_images,
)
from selfsup_tf.exporting.model_card import write_model_card
from selfsup_tf.exporting.parity import Parity, ParityError, measure, require_parity
from selfsup_tf.exporting.place import put_in_place
from selfsup_tf.exporting.portable import portable_encoder, portable_pair
from selfsup_tf.exporting.reference import make_reference
from selfsup_tf.exporting.request import AUTO, CALIBRATED, MIXED, check_request
from selfsup_tf.exporting.thresholds import THRESHOLDS, Threshold
from selfsup_tf.exporting.writers import write_artefact

logger = logging.getLogger("selfsup_tf")


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
    num_calibration: int = NUM_CALIBRATION,
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
        formats: Of `artefact.FORMATS`; tflite (float32, float16 and int8) and all
            stand for several.
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
        num_calibration: On how many integer formats are calibrated, at most.
        training: How the encoder came about, as plain values, for the manifest.
        metrics: What evaluations of it found, likewise.
        overwrite: Whether an earlier export in `directory` is replaced, whole.

    Raises:
        InputError: An unknown format, a directory that is there, too few images, a
            format whose packages are not installed.
        ParityError: An artefact strays from the encoder. Nothing was exported.
        ConversionError: The encoder has an operation that a format lacks.
    """
    wanted, directory = check_request(
        formats,
        directory,
        options=options,
        overwrite=overwrite,
        num_images=num_images,
        num_bank=num_bank,
        num_calibration=num_calibration,
    )
    encoder, classifier = portable_pair(portable_encoder(encoder), classifier)
    proof = choose_images(
        images,
        training_images,
        size=encoder.input_shape[1],
        calibrates=any(name in CALIBRATED for name in wanted),
        num_images=num_images,
        num_bank=num_bank,
        num_calibration=num_calibration,
    )
    typical = without_outliers(encoder, proof)
    reference = make_reference(encoder, proof, classifier, class_names)
    options = _resolve_options(options, wanted, encoder, typical, thresholds)
    directory.parent.mkdir(parents=True, exist_ok=True)
    work = tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent)
    work = pathlib.Path(work)
    try:
        artefacts, parities = [], []
        with tempfile.TemporaryDirectory() as scratch:
            for name in wanted:
                calibration = (typical if name in MIXED else proof).calibration
                artefact = write_artefact(
                    name, encoder, work, options, calibration, classifier, class_names
                )
                rows = measure(
                    artefact,
                    reference,
                    proof,
                    thresholds[name],
                    work=pathlib.Path(scratch),
                )
                for row in rows:
                    _require(row, encoder, typical, options)
                logger.info("%s: written and proven", artefact.path.name)
                artefacts.append(_with_batch(artefact, rows[0]))
                parities += rows
        found = manifests.describe(
            work,
            encoder=encoder,
            artefacts=artefacts,
            parities=parities,
            reference=reference,
            proof=dataclasses.replace(proof, choice=typical.choice),
            training=training,
            metrics=metrics,
        )
        write_model_card(work, found)
        manifests.write_manifest(work, found)
        # Made private by mkdtemp; a server may run as another user.
        work.chmod(0o755)
        put_in_place(work, directory, overwrite)
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
        encoder,
        without_outliers(encoder, proof).calibration,
        proof.views,
        count=count,
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
        if left_out := proof["choice"]["calibration"]["outliers_left_out"]:
            lines[-1] += f" (8 bits without {left_out} outliers of them)"
    if result.options.keep_float:
        lines.append(f"left in float32 by int8: {', '.join(result.options.keep_float)}")
    return "\n".join(lines)


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
        encoder,
        proof.calibration,
        proof.views[:64],
        threshold=max(least),
        count=20,
    )
    return dataclasses.replace(options, keep_float=suggestion.keep_float)


def _with_batch(artefact: Artefact, parity: Parity) -> Artefact:
    """The artefact with the batch that its file turned out to take."""
    if parity.batch == "any" or artefact.options.batch is not None:
        return artefact
    logger.info(
        "%s takes %s image a call: its operations do not convert for any number.",
        artefact.path.name,
        parity.batch,
    )
    options = dataclasses.replace(artefact.options, batch=int(parity.batch))
    return dataclasses.replace(artefact, options=options)


def _require(
    parity: Parity, encoder: keras.Model, proof: Proof, options: Options
) -> None:
    """Raises ParityError; where int8 strays, with the layers that it loses in."""
    try:
        require_parity(parity)
    except ParityError as error:
        strays = parity.cosine_mean < parity.threshold
        if parity.format not in MIXED or parity.output != "representation":
            raise
        if not strays or options.keep_float:
            raise
        losses = quantization.find_lossy_layers(
            encoder, proof.calibration, proof.views[:64]
        )
        raise ParityError(
            f"{error}\n{quantization.format_layers(losses)}\n"
            "--keep_float=auto leaves in float32 what it takes, as far as that helps."
        ) from error
