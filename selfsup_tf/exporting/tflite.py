"""The encoder as TFLite (LiteRT) files for phones, boards and browsers.

Legend: N images, S height and width of the encoder's input, D length of the
representation h, C classes.
"""

import contextlib
import dataclasses
import io
import pathlib
import re
import zipfile
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from selfsup_tf.errors import InputError, check, nearest
from selfsup_tf.exporting.artefact import TFLITE_PRECISIONS as PRECISIONS
from selfsup_tf.exporting.artefact import Options
from selfsup_tf.exporting.compact import compact
from selfsup_tf.exporting.mixed_quantizer import MixedQuantizer, computes_in_int8
from selfsup_tf.exporting.program import (
    L2_NORMALIZE,
    ConversionError,
    Program,
    build_program,
    check_classifier,
)
from selfsup_tf.exporting.tflite_converter import (
    build_converter,
    check_calibration,
    quiet,
)
from selfsup_tf.exporting.uint8_entry import take_uint8

LABELS = "labels.txt"
# The earliest that a zip file can say; the same file is the same bytes.
_NO_DATE = (1980, 1, 1, 0, 0, 0)


def export_tflite(
    encoder: keras.Model,
    path: str | pathlib.Path,
    *,
    precision: str = "float32",
    calibration_images: np.ndarray | Sequence[np.ndarray] | None = None,
    batch: int | None = None,
    uint8_input: bool = False,
    l2_normalize: bool = False,
    classifier: keras.Model | None = None,
    class_names: Sequence[str] | None = None,
    keep_float: Sequence[str] = (),
) -> pathlib.Path:
    """Writes the encoder as a TFLite file.

    Its one signature, serving_default, takes images, (N, S, S, 3) float32 in [0, 1],
    and gives representation, (N, D) float32; the normalisation is inside. BatchNorm is
    folded into the convolutions.

    - float32: the same numbers.
    - float16: the weights are kept in half, computed with in float32 on a CPU: half
      the size.
    - dynamic: weights are int8, activations float32, quantised anew for each image
      where a kernel gains by it. Needs no calibration: a quarter of the size.
    - int8: weights (per channel) and activations are integers and so are all kernels;
      the input is quantised on entry, the output turned back: a quarter of the size.
      Only the length 1 of `l2_normalize` is computed in float32.
    - uint8: the same, with uint8 images, 0 to 255, and uint8 outputs, for
      accelerators that know no float. An output q stands for scale * (q - zero_point),
      the two being the `quantization` of the interpreter's `get_output_details()`.
    - int16x8: int16 activations and int8 weights, for what int8 loses too much of; a
      quarter of the size, slower than int8 on most CPUs.

    Args:
        encoder: float32 [0, 1] (N, S, S, 3) -> h (N, D) float32.
        path: The file to write.
        precision: Of `artefact.TFLITE_PRECISIONS`.
        calibration_images: int8, uint8 and int16x8: real images like those to come,
            100 or more, (M, S, S, 3) float32 in [0, 1]; the ranges of the activations
            are theirs.
        batch: N. None: it may be changed after loading (`resize_tensor_input`, which a
            signature runner does by itself) and is 1 at first; where the converter
            can't do that for an encoder, N is fixed to 1.
        uint8_input: Whether images are uint8, 0 to 255, as files hold them. uint8 files
            take no others.
        l2_normalize: Whether representations have length 1 (0 stays 0).
        classifier: float32 [0, 1] (N, S, S, 3) -> logits (N, C). With it the signature
            gives probabilities, (N, C), beside representation. Weights that it has in
            common with the encoder are stored once.
        class_names: What the C probabilities mean; see `read_class_names`.
        keep_float: int8 and uint8: names of layers that stay float32, with those that
            take their results, as `quantization.find_lossy_layers` gives them. uint8
            then gives float32.

    Returns:
        The path.

    Raises:
        InputError: An unknown precision, an integer one without calibration images,
            options that do not fit each other or the encoder.
        ConversionError: The encoder has an operation that the format lacks.
    """
    options = Options(batch, uint8_input, l2_normalize, tuple(keep_float))
    class_names = tuple(class_names or ())
    _check_options(precision, options)
    check_calibration(precision, calibration_images, encoder.input_shape[1])
    check_classifier(encoder, classifier, class_names)

    def write(batch):
        fixed = dataclasses.replace(options, batch=batch)
        return _convert(encoder, classifier, precision, fixed, calibration_images)

    contents = None
    if batch is None:
        # Some operations convert or run with a fixed batch only; if that is not the
        # reason, the second attempt fails likewise and says why.
        with contextlib.suppress(ConversionError):
            contents = write(None)
    contents = contents or write(batch or 1)
    path = pathlib.Path(path)
    path.write_bytes(_add_labels(contents, class_names))
    return path


def read_class_names(path: str | pathlib.Path) -> tuple[str, ...] | None:
    """What a file's probabilities mean, or None.

    They are kept as TFLite's metadata keep labels: a zip archive after the model, with
    a labels.txt, one name a line. `unzip -p FILE labels.txt` shows them.
    """
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        return tuple(archive.read(LABELS).decode().split("\n"))


def _add_labels(contents: bytes, class_names: tuple[str, ...]) -> bytes:
    """A zip reader starts at a file's end, LiteRT at its beginning."""
    if not class_names:
        return contents
    file = io.BytesIO(contents)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(zipfile.ZipInfo(LABELS, _NO_DATE), "\n".join(class_names))
    return file.getvalue()


def _check_options(precision: str, options: Options) -> None:
    check(
        precision in PRECISIONS,
        "a precision of TFLite",
        repr(precision),
        nearest(str(precision), PRECISIONS),
    )
    check(
        options.batch is None or options.batch >= 1,
        "batch to be 1 or more, or None",
        options.batch,
        "None leaves it free.",
    )
    check(
        not options.keep_float or precision in ("int8", "uint8"),
        "keep_float with int8 or uint8",
        precision,
        "No other precision quantises what a layer gives to 8 bits; leave it out.",
    )


def _convert(encoder, classifier, precision, options, calibration_images) -> bytes:
    """The contents of a TFLite file, without labels."""
    integer = precision in ("int8", "uint8")
    kept = options.keep_float
    if options.l2_normalize and (precision == "int8" or kept):
        # In integers its step is 1/128 whatever the vectors, a third of a component
        # of length 1 in 2048 dimensions; where floats come out it need not be.
        kept += (L2_NORMALIZE,)
    takes_uint8 = options.uint8_input or precision == "uint8"
    # In integers, a file takes uint8 as it is: pixel k is integer k. Otherwise its
    # first operations make floats of it.
    casts = takes_uint8 and not integer
    options = dataclasses.replace(options, uint8_input=casts)
    program = build_program(encoder, options, classifier=classifier)
    unknown = [name for name in options.keep_float if name not in program.layers]
    check(
        not unknown,
        "keep_float to name layers of the encoder",
        ", ".join(unknown),
        nearest("".join(unknown[:1]), program.layers),
    )
    try:
        with quiet():
            if kept:
                contents = MixedQuantizer(program, calibration_images).quantize(kept)
                check(
                    computes_in_int8(contents),
                    "keep_float to leave some layer in int8",
                    ", ".join(options.keep_float),
                    "Export float16 where all are to be float.",
                )
                if takes_uint8:
                    contents = take_uint8(contents)
            else:
                converter = build_converter(program, precision, calibration_images)
                if integer and takes_uint8:
                    converter.inference_input_type = tf.uint8
                contents = converter.convert()
        contents = compact(contents)
        with quiet():
            _invoke(contents, encoder.input_shape[1], options.batch or 2)
    except InputError:
        raise
    except Exception as error:
        # The converter raises several types, one of them private; so does LiteRT.
        raise _conversion_error(error, program, precision) from error
    return contents


def _conversion_error(
    error: Exception, program: Program, precision: str
) -> ConversionError:
    missing = re.findall(r"'tf\.(\w+)' op", str(error))
    if missing:
        received = f"{program.describe_operations(missing)}, which TFLite lacks"
        advice = (
            "Replace that layer by one of TFLite's operations "
            "(https://ai.google.dev/edge/litert/conversion/tensorflow/ops_compatibility)"
            ", or export saved_model or onnx."
        )
    else:
        # Below its first line the converter prints its whole program.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        received = f"this from the converter or LiteRT: {reason}"
        advice = "Export another precision, or replace the operation that it names."
        if precision in ("int8", "uint8"):
            advice += " keep_float leaves layers in float32."
    return ConversionError(
        f"expected an encoder that TFLite can express in {precision}; received "
        f"{received}. {advice}"
    )


def _invoke(contents: bytes, size: int, batch: int) -> None:
    """Raises where LiteRT can't run a batch of this size, or answers with another."""
    runner = Interpreter(model_content=contents).get_signature_runner()
    dtype = runner.get_input_details()["images"]["dtype"]
    h = runner(images=np.zeros((batch, size, size, 3), dtype))["representation"]
    if h.shape[0] != batch:
        raise RuntimeError(f"{batch} images gave representations of shape {h.shape}")
