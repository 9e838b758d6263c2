"""Measures what an encoder costs on a device: size and speed of its int8 file."""

import pathlib
import tempfile
from typing import Any

import keras

from selfsup_tf.errors import InputError
from selfsup_tf.exporting.exporter import export
from selfsup_tf.exporting.format import Threshold
from selfsup_tf.exporting.formats import find_formats
from selfsup_tf.exporting.quantisation.tflite_file import ConversionError
from selfsup_tf.exporting.runtime import ParityError

FORMAT = "tflite_int8"
NUM_IMAGES = 200
"""Images that it is compared on, and as many to calibrate it."""


def int8_cost(
    encoder: keras.Model, images: Any, training_images: Any
) -> dict[str, Any]:
    """Converts an encoder to int8, runs it, and throws the file away.

    Args:
        encoder: float32 [0, 1] (N, S, S, 3) -> h (N, D).
        images: What the file is compared on, as for `exporting.export`.
        training_images: What its integers are calibrated on.

    Returns:
        {"int8_bytes": size of the file, "int8_cosine": mean cosine of its vectors with
        the encoder's, in [-1, 1], "int8_faithful": whether an export would accept that,
        "latency_ms": of an image on one core}; or {"int8_fault": why there is none}.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            result = export(
                encoder,
                pathlib.Path(folder) / "export",
                formats=(FORMAT,),
                images=images,
                training_images=training_images,
                # A bad cosine is told, and no reason to say nothing of the size.
                thresholds={FORMAT: Threshold(cosine=-1.0)},
                num_images=NUM_IMAGES,
                num_bank=0,
                num_calibration=NUM_IMAGES,
            )
        except (ConversionError, InputError, ParityError) as error:
            return {"int8_fault": str(error).splitlines()[0]}
    parity = result.parities[0]
    return {
        "int8_bytes": parity.size_bytes,
        "int8_cosine": parity.cosine_mean,
        "int8_faithful": parity.cosine_mean >= find_formats()[FORMAT].threshold.cosine,
        "latency_ms": parity.latency_ms_one_core,
    }
