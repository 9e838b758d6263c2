"""TFLite files that hold each list of numbers once."""

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

# LiteRT reads weights in place, and some of its kernels by 16 bytes.
_ALIGNMENT = 16
_FILE_IDENTIFIER = b"TFL3"
# Bytes; a builder grows by itself.
_FIRST_SIZE = 2**20


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
