"""The encoder as a TFLite file of one precision.

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

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from selfsup_tf.errors import InputError, check, nearest
from selfsup_tf.exporting.format import Networks, Options
from selfsup_tf.exporting.program import (
    L2_NORMALIZE,
    ConversionError,
    Program,
    build_program,
    check_classifier,
)
from selfsup_tf.exporting.quantisation.converter import (
    EIGHT_BITS,
    build_converter,
    check_calibration,
    quiet,
)
from selfsup_tf.exporting.quantisation.flatbuffer import compact, take_uint8
from selfsup_tf.exporting.quantisation.mixed import MixedQuantizer, computes_in_int8

LABELS = "labels.txt"
# The earliest that a zip file can say; the same file is the same bytes.
_NO_DATE = (1980, 1, 1, 0, 0, 0)


def write_tflite(
    networks: Networks,
    path: str | pathlib.Path,
    *,
    precision: str,
    options: Options,
    calibration: Sequence[np.ndarray] | None,
) -> None:
    """Writes the encoder as a TFLite file.

    Its one signature, serving_default, takes images, (N, S, S, 3) float32 in [0, 1],
    and gives representation, (N, D) float32; the normalisation is inside. BatchNorm is
    folded into the convolutions. With a classifier it gives probabilities, (N, C),
    beside it; weights that both have in common are stored once, and the class names
    lie behind the model as TFLite's metadata keep labels: in a zip archive, a
    labels.txt with one name a line. `unzip -p FILE labels.txt` shows them.

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

    A batch of None may be changed after loading (`resize_tensor_input`, which a
    signature runner does by itself) and is 1 at first; where the converter can't do
    that for an encoder, it is fixed to 1. `keep_float` of int8 and uint8 names layers
    that stay float32, with those that take their results; uint8 then gives float32.

    Args:
        networks: The encoder, and a classifier or none.
        path: The file to write.
        precision: One of these.
        options: How it is called.
        calibration: int8, uint8 and int16x8: real images like those to come, 100 or
            more, (M, S, S, 3) float32 in [0, 1]; the ranges of the activations are
            theirs.

    Raises:
        InputError: An integer precision without calibration images, or options that do
            not fit each other or the encoder.
        ConversionError: The encoder has an operation that the format lacks.
    """
    check_calibration(precision, calibration, networks.encoder.input_shape[1:])
    check_classifier(networks)

    def convert(batch):
        fixed = dataclasses.replace(options, batch=batch)
        return _convert(networks, precision, fixed, calibration)

    contents = None
    if options.batch is None:
        # Some operations convert or run with a fixed batch only; if that is not the
        # reason, the second attempt fails likewise and says why.
        with contextlib.suppress(ConversionError):
            contents = convert(None)
    contents = contents or convert(options.batch or 1)
    pathlib.Path(path).write_bytes(_add_labels(contents, networks.class_names))


def _convert(networks, precision, options, calibration) -> bytes:
    """The contents of a TFLite file, without labels."""
    # In integers, a file takes uint8 as it is: pixel k is integer k. Otherwise its
    # first operations make floats of it.
    casts = options.uint8_input and precision not in EIGHT_BITS
    program = build_program(networks, dataclasses.replace(options, uint8_input=casts))
    unknown = [name for name in options.keep_float if name not in program.layers]
    check(
        not unknown,
        "keep_float to name layers of the encoder",
        ", ".join(unknown),
        nearest("".join(unknown[:1]), program.layers),
    )
    try:
        contents = compact(_quantise(program, precision, options, calibration))
        _invoke(contents, (options.batch or 2, *networks.encoder.input_shape[1:]))
    except InputError:
        raise
    except Exception as error:
        # The converter raises several types, one of them private; so does LiteRT.
        raise _conversion_error(error, program, precision) from error
    return contents


def _quantise(program, precision, options, calibration) -> bytes:
    """What the converter makes of a program, with the layers that stay float32."""
    kept = options.keep_float
    if options.l2_normalize and (precision == "int8" or kept):
        # In integers its step is 1/128 whatever the vectors, a third of a component
        # of length 1 in 2048 dimensions; where floats come out it need not be.
        kept += (L2_NORMALIZE,)
    with quiet():
        if not kept:
            converter = build_converter(program, precision, calibration)
            if precision in EIGHT_BITS and options.uint8_input:
                converter.inference_input_type = tf.uint8
            return converter.convert()
        contents = MixedQuantizer(program, calibration).quantize(kept)
    check(
        computes_in_int8(contents),
        "keep_float to leave some layer in int8",
        ", ".join(options.keep_float),
        "Export float16 where all are to be float.",
    )
    return take_uint8(contents) if options.uint8_input else contents


def _conversion_error(
    error: Exception, program: Program, precision: str
) -> ConversionError:
    missing = re.findall(r"'tf\.(\w+)' op", str(error))
    if missing:
        received = f"{program.describe_operations(missing)}, which TFLite lacks"
        advice = (
            "Replace that layer by one of TFLite's operations (https://ai.google.dev"
            "/edge/litert/conversion/tensorflow/ops_compatibility), or export "
            "saved_model or onnx."
        )
    else:
        # Below its first line the converter prints its whole program.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        received = f"this from the converter or LiteRT: {reason}"
        advice = "Export another precision, or replace the operation that it names."
        if precision in EIGHT_BITS:
            advice += " keep_float leaves layers in float32."
    return ConversionError(
        f"expected an encoder that TFLite can express in {precision}; "
        f"received {received}. {advice}"
    )


def _add_labels(contents: bytes, class_names: tuple[str, ...] | None) -> bytes:
    """A zip reader starts at a file's end, LiteRT at its beginning."""
    if not class_names:
        return contents
    file = io.BytesIO(contents)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(zipfile.ZipInfo(LABELS, _NO_DATE), "\n".join(class_names))
    return file.getvalue()


def _invoke(contents: bytes, shape: tuple[int, int, int, int]) -> None:
    """Raises where LiteRT can't run a batch of this shape, or answers with another."""
    with quiet():
        runner = Interpreter(model_content=contents).get_signature_runner()
        dtype = runner.get_input_details()["images"]["dtype"]
        h = runner(images=np.zeros(shape, dtype))["representation"]
    if h.shape[0] != shape[0]:
        raise RuntimeError(f"{shape[0]} images gave representations of shape {h.shape}")
