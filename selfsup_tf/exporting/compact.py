"""TFLite files that hold each list of numbers once."""

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

# LiteRT reads weights in place, and some of its kernels by 16 bytes.
_ALIGNMENT = 16
_FILE_IDENTIFIER = b"TFL3"


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
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(contents, 0))
    builder = _SharingBuilder(len(contents))
    builder.Finish(model.Pack(builder), file_identifier=_FILE_IDENTIFIER)
    return bytes(builder.Output())
