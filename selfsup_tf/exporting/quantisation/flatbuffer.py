"""TFLite files, read, changed and written by their flatbuffer schema.

ai-edge-quantizer 0.10 was tried in place of this and `mixed`, and does not replace them
(docs/deployment.md has the numbers): it writes a zero point for each channel as the
converter does, has no uint8 images, and leaves layers in float32 by regular expressions
over names of tensors, where a padding between two such layers has to be named too.
"""

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from selfsup_tf.errors import check

# LiteRT reads weights in place, and some of its kernels by 16 bytes.
_ALIGNMENT = 16
_FILE_IDENTIFIER = b"TFL3"
# Bytes; a builder grows by itself.
_FIRST_SIZE = 2**20
# int8 zero points lie 128 below those of uint8.
_OFFSET = 128


class _SharingBuilder(flatbuffers.Builder):
    """Writes a vector that it has written before as a reference to that one."""

    def __init__(self, size: int):
        super().__init__(size)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x):
        key = (x.dtype.str, x.tobytes())
        if key not in self._written:
            if x.dtype == np.uint8:
                self.Prep(_ALIGNMENT, x.nbytes)
            self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]


def compact(contents: bytes) -> bytes:
    """The same TFLite file, smaller.

    A file that is quantised per channel holds for each channel a zero point of 8 bytes,
    always 0: in a network of many narrow layers, a sixth of the file. Here all layers
    of one width refer to the same zeros.

    Args:
        contents: Of a TFLite file below 2 GB.
    """
    return write_model(read_model(contents))


def read_model(contents: bytes) -> schema.ModelT:
    """The contents of a TFLite file, to be read and changed."""
    return schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(contents, 0))


def write_model(model: schema.ModelT) -> bytes:
    """The contents of a compact TFLite file with this model."""
    builder = _SharingBuilder(_FIRST_SIZE)
    builder.Finish(model.Pack(builder), file_identifier=_FILE_IDENTIFIER)
    return bytes(builder.Output())


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
