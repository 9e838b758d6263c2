"""One artefact of an export, by its format."""

import dataclasses
import pathlib

import keras
import numpy as np

from selfsup_tf.exporting.artefact import TFLITE, Artefact, Options
from selfsup_tf.exporting.onnx_file import export_onnx
from selfsup_tf.exporting.request import MIXED
from selfsup_tf.exporting.saved_model import export_saved_model
from selfsup_tf.exporting.serving_files import write_serving_files
from selfsup_tf.exporting.tflite import export_tflite


def write_artefact(
    name: str,
    encoder: keras.Model,
    work: pathlib.Path,
    options: Options,
    calibration: np.ndarray | None,
    classifier: keras.Model | None,
    class_names: tuple[str, ...] | None,
) -> Artefact:
    """Writes one artefact.

    Args:
        name: Its format.
        encoder: A portable one, float32 [0, 1] (N, S, S, 3) -> h (N, D) float32.
        work: The directory of the export.
        options: What is asked of all; each format takes those that change it.
        calibration: (M, S, S, 3) float32 in [0, 1], for integer formats.
        classifier: float32 [0, 1] (N, S, S, 3) -> logits (N, C), or None.
        class_names: What the logits mean.

    Returns:
        The artefact, with the options that it has.
    """
    head = {"classifier": classifier, "class_names": class_names}
    used = Options()
    if name == "saved_model":
        path = export_saved_model(encoder, work / name, **head)
        write_serving_files(
            work,
            path,
            size=encoder.input_shape[1],
            classifier=classifier is not None,
        )
    elif name == "onnx":
        used = dataclasses.replace(options, batch=None, keep_float=())
        path = export_onnx(
            encoder,
            work / "encoder.onnx",
            uint8_input=used.uint8_input,
            l2_normalize=used.l2_normalize,
            **head,
        )
    else:
        used = options
        if name not in MIXED:
            used = dataclasses.replace(options, keep_float=())
        path = export_tflite(
            encoder,
            work / f"encoder_{TFLITE[name]}.tflite",
            precision=TFLITE[name],
            calibration_images=calibration,
            **dataclasses.asdict(used),
            **head,
        )
    return Artefact(path, name, used, class_names if classifier else None)
