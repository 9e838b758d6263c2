"""TFLite files whose first step quantises floats, made to take uint8 in their place."""

from ai_edge_litert import schema_py_generated as schema

from selfsup_tf.errors import check
from selfsup_tf.exporting.compact import read_model, write_model

# int8 zero points lie 128 below those of uint8.
_OFFSET = 128


def take_uint8(contents: bytes) -> bytes:
    """The same file for uint8 images, 0 to 255, in place of float32 in [0, 1].

    Its first operation, QUANTIZE, turns floats into int8 by a scale and a zero point.
    From uint8 with that scale, and that zero point shifted by 128, it becomes a shift:
    what it gives on is the same to the last bit.

    Args:
        contents: Of a TFLite file with one input.

    Raises:
        InputError: A layer computes with the input in float32.
    """
    model = read_model(contents)
    (graph,) = model.subgraphs
    (entry,) = graph.inputs
    takers = [operator for operator in graph.operators if entry in operator.inputs]
    kinds = [model.operatorCodes[taker.opcodeIndex].builtinCode for taker in takers]
    check(
        len(takers) > 0
        and all(kind == schema.BuiltinOperator.QUANTIZE for kind in kinds),
        "keep_float without the first layer, beside uint8 images",
        "a layer that takes the image in float32",
        "Leave uint8_input out, or that layer in int8.",
    )
    quantized = graph.tensors[takers[0].outputs[0]].quantization
    tensor = graph.tensors[entry]
    tensor.type = schema.TensorType.UINT8
    tensor.quantization = schema.QuantizationParametersT(
        scale=list(quantized.scale),
        zeroPoint=[int(quantized.zeroPoint[0]) + _OFFSET],
    )
    return write_model(model)
