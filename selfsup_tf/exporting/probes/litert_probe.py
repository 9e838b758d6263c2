"""Runs a TFLite file in LiteRT: needs ai-edge-litert and NumPy alone. See `probing`."""

import importlib.metadata

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from probing import Signature, main


def load(path: str, threads: int) -> dict[str, Signature]:
    """The signatures of a file; they take float32 in [0, 1] or uint8 images."""
    interpreter = Interpreter(model_path=path, num_threads=threads)
    return {
        name: _signature(interpreter.get_signature_runner(name))
        for name in interpreter.get_signature_list()
    }


def _signature(runner) -> Signature:
    ((name, images),) = runner.get_input_details().items()
    outputs = runner.get_output_details()
    batch = int(images["shape_signature"][0])

    def call(batch):
        found = runner(**{name: batch})
        return {key: _as_float(value, outputs[key]) for key, value in found.items()}

    return Signature(
        prepare=lambda items: _as_input(np.stack(items), images),
        call=call,
        batch=None if batch < 0 else batch,
        inputs={name: _describe(images)},
        outputs={key: _describe(details) for key, details in outputs.items()},
    )


def _as_input(images: np.ndarray, details: dict) -> np.ndarray:
    """Float images in [0, 1] as the file takes them; integers are left as they are."""
    dtype = details["dtype"]
    if images.dtype == dtype:
        return images
    scale, zero_point = details["quantization"]
    # An integer input without a scale is a picture's: 0 to 255.
    values = np.rint(images / (scale or 1 / 255)) + zero_point
    limits = np.iinfo(dtype)
    return np.clip(values, limits.min, limits.max).astype(dtype)


def _as_float(values: np.ndarray, details: dict) -> np.ndarray:
    scale, zero_point = details["quantization"]
    if np.issubdtype(values.dtype, np.integer) and scale:
        return ((values.astype(np.float32) - zero_point) * scale).astype(np.float32)
    return values


def _describe(details: dict) -> dict:
    shape = [None if n < 0 else int(n) for n in details["shape_signature"]]
    described = {"dtype": np.dtype(details["dtype"]).name, "shape": shape}
    scale, zero_point = details["quantization"]
    if scale:
        described |= {"scale": float(scale), "zero_point": int(zero_point)}
    return described


if __name__ == "__main__":
    main(load, f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')}")
