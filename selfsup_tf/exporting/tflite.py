"""The encoder as TFLite (LiteRT) files for phones, boards and browsers.

Legend: N images, S height and width of the encoder's input, D length of the
representation h.
"""

import pathlib
import warnings
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from selfsup_tf.errors import check, nearest

PRECISIONS = ("float32", "float16", "int8")


class ConversionError(RuntimeError):
    """The converter can't express this encoder."""


def export_tflite(
    encoder: keras.Model,
    path: str | pathlib.Path,
    *,
    precision: str = "float32",
    calibration_images: np.ndarray | Sequence[np.ndarray] | None = None,
) -> pathlib.Path:
    """Writes the encoder as a TFLite file.

    Its signature takes images, (N, S, S, 3) float32 in [0, 1], and gives
    representation, (N, D) float32, whatever the precision; the normalisation is
    inside. N may be changed after loading (`resize_tensor_input`, which a signature
    runner does by itself) and is 1 at first; where the converter can't do that for an
    encoder, N is fixed to 1. BatchNorm is folded into the convolutions.

    - float32: the same numbers.
    - float16: the weights are kept in half, computed with in float32 on a CPU: half
      the size.
    - int8: weights (per channel) and activations are integers and so are all kernels;
      the input is quantised on entry, the output turned back: a quarter of the size.

    Args:
        encoder: float32 [0, 1] (N, S, S, 3) -> h (N, D) float32.
        path: The file to write.
        precision: float32, float16 or int8.
        calibration_images: int8: real images like those to come, 100 or more,
            (M, S, S, 3) float32 in [0, 1]; the ranges of the activations are
            theirs.

    Raises:
        InputError: An unknown precision, or int8 without calibration images.
        ConversionError: The encoder has an operation that the format lacks.
    """
    check(
        precision in PRECISIONS,
        "a precision of TFLite",
        repr(precision),
        nearest(str(precision), PRECISIONS),
    )
    size = encoder.input_shape[1]
    if precision == "int8":
        check(
            calibration_images is not None and len(calibration_images) > 0,
            "calibration_images for int8",
            "none",
            "Give real images of the kind the model will see; 200 are enough.",
        )
        shape = np.shape(calibration_images[0])
        check(
            shape == (size, size, 3),
            f"calibration_images of shape (M, {size}, {size}, 3)",
            f"an image of shape {shape}",
            "Pass them through selfsup_tf.data.views.evaluation_view.",
        )
    try:
        contents = _convert(encoder, None, precision, calibration_images)
        _invoke_on_two(contents, size)
    except Exception:
        # Some operations convert or run with a fixed batch only; if that was not the
        # reason, the second attempt fails likewise and says why. (The converter raises
        # several types, one of them private.)
        contents = _convert_fixed(encoder, precision, calibration_images)
    path = pathlib.Path(path)
    path.write_bytes(contents)
    return path


def _convert_fixed(encoder, precision, calibration_images) -> bytes:
    try:
        return _convert(encoder, 1, precision, calibration_images)
    except Exception as error:
        # Below its first line the converter prints its whole program.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConversionError(
            f"expected an encoder that TFLite can express in {precision}; the "
            f"converter says: {reason}. Export the formats without it, or replace the "
            "operation that it names."
        ) from error


def _convert(encoder, batch_size, precision, calibration_images) -> bytes:
    """The contents of a TFLite file for a batch of a fixed or free (None) size."""
    size = encoder.input_shape[1]
    module = tf.Module()
    # The converter finds variables through tf.Module, not through a Keras model, and
    # leaves those it does not find uninitialised without a word.
    module.weights = [weight.value for weight in encoder.weights]
    spec = tf.TensorSpec((batch_size, size, size, 3), tf.float32, "images")

    @tf.function(input_signature=[spec])
    def represent(images):
        # A constant for the converter, so that it folds BatchNorm.
        return {"representation": tf.cast(encoder(images, training=False), tf.float32)}

    module.represent = represent
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [represent.get_concrete_function()], module
    )
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision == "int8":
        # Integer kernels or an error: never a float kernel in between.
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: (
            [np.asarray(image, np.float32)[None]] for image in calibration_images
        )
    with warnings.catch_warnings():
        # Input and output stay float32 on purpose.
        warnings.filterwarnings("ignore", message="Statistics for quantized inputs")
        return converter.convert()


def _invoke_on_two(contents: bytes, size: int) -> None:
    """Raises where a batch of 2 can't be run, or isn't answered by 2."""
    runner = Interpreter(model_content=contents).get_signature_runner()
    h = runner(images=np.zeros((2, size, size, 3), np.float32))["representation"]
    if h.shape[0] != 2:
        raise RuntimeError(f"2 images gave representations of shape {h.shape}")
