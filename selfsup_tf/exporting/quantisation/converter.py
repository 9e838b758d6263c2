"""A program, set up for the TFLite converter in a precision."""

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from selfsup_tf.errors import check
from selfsup_tf.exporting.program import Program
from selfsup_tf.exporting.quiet import quiet_log
from selfsup_tf.files import silent_stderr

EIGHT_BITS = ("int8", "uint8")
INTEGER = ("int8", "uint8", "int16x8")


def build_converter(
    program: Program,
    precision: str,
    calibration_images: Sequence[np.ndarray] | None = None,
) -> tf.lite.TFLiteConverter:
    """The converter of a program, ready to convert.

    Args:
        program: What the file is to compute.
        precision: Of those that `tflite_file` tells of.
        calibration_images: For the integer ones: (M, S, S, 3) float32 in [0, 1].
    """
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [program.function], program.module
    )
    sets = tf.lite.OpsSet
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision in EIGHT_BITS:
        # Integer kernels or an error: never a float kernel in between.
        converter.target_spec.supported_ops = [sets.TFLITE_BUILTINS_INT8]
    if precision == "int16x8":
        # Fewer operations have 16-bit kernels than 8-bit ones; the rest stay float.
        converter.target_spec.supported_ops = [
            sets.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
            sets.TFLITE_BUILTINS,
        ]
    if precision == "uint8":
        converter.inference_output_type = tf.uint8
    if precision in INTEGER:
        converter.representative_dataset = samples(program, calibration_images)
    return converter


def samples(
    program: Program, images: Sequence[np.ndarray]
) -> Callable[[], Iterator[list[np.ndarray]]]:
    """Batches of images as the program takes them, over and over from the first.

    Among the first are a black and a white pixel: the input's range is then [0, 1]
    whatever the images, and each pixel value of a file, k / 255, is one integer.

    Args:
        program: Fixes the batch (1 where it is free) and the type.
        images: (M, S, S, 3) float32 in [0, 1]. The last batch is filled up with the
            first of them.
    """
    batch = program.images.shape[0] or 1

    def generate():
        for start in range(0, len(images), batch):
            rows = [images[n % len(images)] for n in range(start, start + batch)]
            taken = np.array(rows, np.float32)
            if start == 0:
                taken[0, 0, 0], taken[0, 0, 1] = 0, 1
            if program.images.dtype == tf.uint8:
                taken = np.round(taken * 255).astype(np.uint8)
            yield [taken]

    return generate


def check_calibration(
    precision: str, images: Sequence | None, wanted: tuple[int, int, int]
) -> None:
    """Raises InputError where an integer precision can't be calibrated on `images`."""
    if precision not in INTEGER:
        return
    check(
        images is not None and len(images) > 0,
        f"calibration_images for {precision}",
        "none",
        "Give real images of the kind the model will see; 200 are enough.",
    )
    shape = np.shape(images[0])
    check(
        shape == tuple(wanted),
        f"calibration_images of shape (M, {', '.join(map(str, wanted))})",
        f"an image of shape {shape}",
        "Pass them through selfsup_tf.data.views.evaluation_view.",
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences what converters warn of and this package has settled.

    What their C++ writes to stderr, too: no logger of Python gets to see it, and what
    matters of it comes as an exception.
    """
    # Where TensorFlow takes Python for interactive, it tells where its files are.
    quiet_tensorflow = quiet_log("tensorflow", logging.WARNING)
    with silent_stderr(), quiet_tensorflow, warnings.catch_warnings():
        # Input and output stay float32 on purpose.
        warnings.filterwarnings("ignore", message="Statistics for quantized inputs")
        # The debugger runs the interpreter that has its own operations in it.
        warnings.filterwarnings("ignore", message=r"[\s\S]*tf.lite.Interpreter is dep")
        yield
