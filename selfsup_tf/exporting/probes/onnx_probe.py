"""Runs an ONNX file in onnxruntime on the CPU: needs it and NumPy alone. See `probing`.

ONNX has no signatures; its one way of being called goes by the name serving_default.
"""

import numpy as np
import onnxruntime
from probing import Signature, main

_DTYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}


def load(path: str, threads: int) -> dict[str, Signature]:
    """The one signature of a file; it takes float32 in [0, 1] or uint8 images."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(
        path, options, providers=["CPUExecutionProvider"]
    )
    (images,) = session.get_inputs()
    names = [output.name for output in session.get_outputs()]
    dtype = np.dtype(_DTYPES[images.type])

    def prepare(items):
        images = np.stack(items)
        if images.dtype != dtype and dtype == np.uint8:
            return np.rint(images * 255).astype(np.uint8)
        return images

    signature = Signature(
        prepare=prepare,
        call=lambda batch: dict(
            zip(names, session.run(names, {images.name: batch}), strict=True)
        ),
        batch=images.shape[0] if isinstance(images.shape[0], int) else None,
        inputs={images.name: _describe(images)},
        outputs={output.name: _describe(output) for output in session.get_outputs()},
    )
    return {"serving_default": signature}


def _describe(tensor) -> dict:
    return {
        "dtype": _DTYPES.get(tensor.type, tensor.type),
        "shape": [n if isinstance(n, int) else None for n in tensor.shape],
    }


if __name__ == "__main__":
    main(load, f"onnxruntime {onnxruntime.__version__}")
