"""The encoder as an ONNX file, for runtimes that know neither TensorFlow nor LiteRT.

tf2onnx is called here, and not by `keras.Model.export(format="onnx")` (Keras 3.15.1):
of that, onnxruntime refuses a GELU and a grouped convolution and wants the mean and
variance of a `keras.layers.Normalization` as inputs, so that ViT, ResNeXt and
EfficientNet do not run; it names no outputs, has no metadata, and writes opset 15.

Legend: N images, S height and width of the encoder's input, D length of the
representation h, C classes.
"""

import contextlib
import importlib
import json
import logging
import pathlib
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import tensorflow as tf

from selfsup_tf.commands import installing
from selfsup_tf.data.views import evaluation_crop
from selfsup_tf.errors import InputError
from selfsup_tf.exporting.format import Networks, Options, name_channels
from selfsup_tf.exporting.program import (
    ConversionError,
    Program,
    build_program,
    check_classifier,
)
from selfsup_tf.exporting.quiet import quiet_log

# Of ONNX's operations: the first with LayerNormalization.
OPSET = 17
NEEDED = ("onnx", "onnxruntime", "tf2onnx")


def write_onnx(
    networks: Networks, path: str | pathlib.Path, *, options: Options
) -> None:
    """Writes the encoder as an ONNX file, checked by onnx and run by onnxruntime.

    Its input is images, (N, S, S, 3) float32 in [0, 1] and any N; its output is
    representation, (N, D) float32, and with a classifier probabilities, (N, C) float32;
    the normalisation is inside. Its metadata (in onnxruntime
    `session.get_modelmeta().custom_metadata_map`) say how an image becomes one of
    images: input_size, input_range, preprocessing and, as JSON lists, class_names.

    Args:
        networks: The encoder, and a classifier or none.
        path: The file to write.
        options: uint8_input and l2_normalize are used.

    Raises:
        InputError: The extra `onnx` is not installed, or the classifier does not fit.
        ConversionError: The encoder has an operation that ONNX lacks.
    """
    onnx, onnxruntime, tf2onnx = import_onnx()
    check_classifier(networks)
    with _inlined_functions():
        program = build_program(networks, options)
    represent = program.module.represent
    # What tf2onnx logs is an error here anyway.
    with quiet_log("tf2onnx", logging.CRITICAL):
        model, _ = tf2onnx.convert.from_function(
            represent,
            input_signature=represent.input_signature,
            opset=OPSET,
            custom_op_handlers={"Erfc": (_write_erfc, [])},
        )
    _check_operations(onnx, model, program)
    _store_constants(onnx, model, program)
    model.graph.output.sort(key=lambda output: output.name != "representation")
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    onnx.helper.set_model_props(model, _metadata(networks, options))
    try:
        onnx.checker.check_model(model, full_check=True)
        _run_on_two(onnxruntime, model.SerializeToString(), program)
    except Exception as error:
        # onnx and onnxruntime have no exception in common but this.
        raise ConversionError(
            "expected an encoder that ONNX can express for any number of images; "
            f"received from the check of the file: {str(error).splitlines()[0]}. "
            "Export saved_model or TFLite."
        ) from error
    pathlib.Path(path).write_bytes(model.SerializeToString())


def import_onnx() -> tuple[ModuleType, ModuleType, ModuleType]:
    """The packages onnx, onnxruntime and tf2onnx.

    Raises:
        InputError: One of them is not installed.
    """
    try:
        return tuple(importlib.import_module(name) for name in NEEDED)
    except ImportError as error:
        raise InputError(
            f"the packages {', '.join(NEEDED)} for format onnx",
            f"an error from their import: {error}",
            f"Install them: {installing('onnx')}",
        ) from error


def _metadata(networks: Networks, options: Options) -> dict[str, str]:
    size, names = networks.size, networks.class_names
    share = evaluation_crop(size)
    crop = ""
    if share is not None:
        crop = f"the central square of {100 * share:g} % of the shorter side; "
    values = {
        "input_size": str(size),
        "input_range": "0 to 255" if options.uint8_input else "0 to 1",
        "preprocessing": f"{name_channels(networks.channels)}; {crop}bicubic with "
        f"antialiasing to {size} x {size}; the normalisation is inside",
        "l2_normalized": json.dumps(options.l2_normalize),
    }
    return values | ({"class_names": json.dumps(names)} if names else {})


def _write_erfc(context, node, name, args) -> None:
    """1 - erf: Keras writes GELU with erfc, which ONNX lacks."""
    node.type = "Erf"
    one = context.make_const(f"{name}_one", np.float32(1)).output[0]
    output = node.output[0]
    context.insert_new_node_on_output("Sub", output, inputs=[one, output])


def _store_constants(onnx: ModuleType, model, program: Program) -> None:
    """Gives the file the values of tensors that layers hold beside their weights.

    Keras's Normalization has such a mean; tf2onnx makes an input of it.
    """
    held = {inner.name: outer for outer, inner in program.function.graph.captures}
    for value in list(model.graph.input):
        if value.name in held:
            array = held[value.name].numpy()
            model.graph.initializer.append(
                onnx.numpy_helper.from_array(array, value.name)
            )
            model.graph.input.remove(value)


def _check_operations(onnx: ModuleType, model, program: Program) -> None:
    """Raises ConversionError for operations that were copied for want of others."""
    missing = [
        node.op_type
        for node in model.graph.node
        if not onnx.defs.has(node.op_type, node.domain)
    ]
    if missing:
        raise ConversionError(
            f"expected an encoder that ONNX can express; received "
            f"{program.describe_operations(missing)}, which ONNX lacks. Replace that "
            "layer by one of ONNX's operations (https://onnx.ai/onnx/operators), or "
            "export saved_model."
        )


def _run_on_two(onnxruntime: ModuleType, contents: bytes, program: Program) -> None:
    """Raises where a batch of 2 can't be run, or isn't answered by 2."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; it warns of each constant that it folds
    session = onnxruntime.InferenceSession(
        contents, options, providers=["CPUExecutionProvider"]
    )
    images = program.images
    images = np.zeros((2, *images.shape[1:]), images.dtype.as_numpy_dtype)
    (h,) = session.run(["representation"], {"images": images})
    if h.shape[0] != 2:
        raise RuntimeError(f"2 images gave representations of shape {h.shape}")


@contextlib.contextmanager
def _inlined_functions() -> Iterator[None]:
    """Functions that layers compile for XLA, as Keras's grouped convolutions do, are
    traced as part of the program: ONNX knows no calls of compiled functions.
    """
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)
