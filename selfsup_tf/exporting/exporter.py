"""Writes an encoder in the formats asked for and proves each before it is named.

An export directory is written beside its place and renamed into it at the end, so
what stands there is whole and proven.
"""

import dataclasses
import logging
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

import keras

from selfsup_tf.errors import check_one_of
from selfsup_tf.exporting import manifest as manifests
from selfsup_tf.exporting.card import MODEL_CARD, format_model_card
from selfsup_tf.exporting.format import Artefact, Options, Threshold
from selfsup_tf.exporting.formats import find_formats
from selfsup_tf.exporting.measure import measure
from selfsup_tf.exporting.parity import Parity
from selfsup_tf.exporting.place import put_in_place, work_beside
from selfsup_tf.exporting.portable import portable_encoder, portable_pair
from selfsup_tf.exporting.program import check_classifier
from selfsup_tf.exporting.proof import (
    NUM_BANK,
    NUM_CALIBRATION,
    NUM_IMAGES,
    choose_images,
)
from selfsup_tf.exporting.quantisation import search
from selfsup_tf.exporting.reference import make_reference, without_outliers
from selfsup_tf.exporting.request import check_request
from selfsup_tf.files import enough_room, write_atomically

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

    def __repr__(self) -> str:
        return f"ExportResult in {self.directory.name}\n\n{format_table(self)}"

    def _repr_markdown_(self) -> str:
        return format_table(self)


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
    thresholds: Mapping[str, Threshold] | None = None,
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
        formats: Words of `formats.find_formats`; tflite (float32, float16 and int8) and
            all stand for several.
        images: Held-out images of the kind the encoder is for: a Source, or uint8
            images (N, H, W, 3), or (images, labels). They prove the artefacts. None:
            `shapes`, drawn by this package, which says less about your images.
        training_images: Images of the kind the encoder learned from, likewise: integer
            formats are calibrated on some and, where both are labelled, k-NN and a
            linear classifier learn from others. None: others of `images`.
        classifier: float32 [0, 1] (N, S, S, 3) -> logits (N, C), fine-tuned from the
            encoder or on top of it: every artefact gives its probabilities, too.
        class_names: What the logits mean; their numbers where it is left out.
        options: How TFLite and ONNX files are called. `keep_float=("auto",)` leaves
            those layers in float32 without which int8 misses its threshold.
        thresholds: Of formats by their words, in place of their own, see
            `formats.override_thresholds`.
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
    for word in thresholds or {}:
        check_one_of(word, find_formats(), "a format with a threshold")
    thresholds = {f.word: f.threshold for f in wanted} | dict(thresholds or {})
    networks = portable_pair(portable_encoder(encoder), classifier, class_names)
    check_classifier(networks)  # before the minutes that the proof takes
    encoder = networks.encoder
    proof = choose_images(
        images,
        training_images,
        size=networks.size,
        channels=networks.channels,
        calibrates=any(f.calibration != "none" for f in wanted),
        num_images=num_images,
        num_bank=num_bank,
        num_calibration=num_calibration,
    )
    proof = without_outliers(encoder, proof)
    reference = make_reference(networks, proof)
    asked = options
    options = search.resolve_keep_float(options, wanted, encoder, proof, thresholds)
    calibrations = {
        "none": None,
        "all": proof.calibration and proof.calibration.views,
        "typical": proof.typical,
    }
    size = sum(weight.numpy().nbytes for weight in encoder.weights) / 1e6
    with (
        enough_room(
            directory.parent,
            f"{size * (1 + len(wanted)):,.1f} MB or so for an export",
            "Nothing was exported, and what stood there stands there. Make room, and "
            "export again.",
        ),
        work_beside(directory) as work,
    ):
        artefacts, parities = [], []
        with tempfile.TemporaryDirectory() as scratch:
            for one in wanted:
                artefact = Artefact(
                    path=work / one.file,
                    format=one,
                    options=one.heeded(options),
                    class_names=networks.class_names,
                )
                one.write(
                    networks,
                    artefact.path,
                    options=artefact.options,
                    calibration=calibrations[one.calibration],
                )
                rows = measure(
                    artefact,
                    reference,
                    proof,
                    thresholds[one.word],
                    work=pathlib.Path(scratch),
                )
                for row in rows:
                    search.require_parity_by_layers(row, one, encoder, proof, asked)
                logger.info("%s: written and proven", artefact.path.name)
                artefacts.append(_with_batch(artefact, rows[0]))
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
        write_atomically(work / MODEL_CARD, format_model_card(found))
        manifests.write_manifest(work, found)
        # Made private by mkdtemp; a server may run as another user.
        work.chmod(0o755)
        put_in_place(work, directory, overwrite)
    return ExportResult(directory, tuple(parities), found, options)


def lossy_layers(
    encoder: keras.Model, images: Any, training_images: Any
) -> list[search.LayerLoss]:
    """The layers through which int8 loses most, the worst first.

    Args:
        encoder: As for `export`; likewise the images.
        images: What the loss is measured on.
        training_images: What int8 is calibrated on.
    """
    encoder = portable_encoder(encoder)
    _, size, _, channels = encoder.input_shape
    few = {"calibrates": True, "num_images": 64, "num_bank": 0}
    few |= {"size": size, "channels": channels}
    proof = choose_images(images, training_images, **few)
    return search.of_proof(encoder, without_outliers(encoder, proof)).lossy_layers()


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
