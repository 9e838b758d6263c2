"""Runs a SavedModel in TensorFlow on the CPU: needs TensorFlow alone. See `probing`."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# The program that starts a probe may hold all the memory of a GPU.
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import numpy as np
import tensorflow as tf
from probing import Signature, main


def load(path: str, threads: int) -> dict[str, Signature]:
    """The signatures of a SavedModel."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    loaded = tf.saved_model.load(path)
    return {
        name: _signature(function, loaded)
        for name, function in loaded.signatures.items()
    }


def _signature(function, loaded) -> Signature:
    ((name, spec),) = function.structured_input_signature[1].items()

    def prepare(items):
        if spec.dtype == tf.string:
            return tf.constant([item.tobytes() for item in items])
        images = np.stack(items)
        if images.dtype == np.uint8 and spec.dtype == tf.float32:
            images = images / np.float32(255)
        return tf.constant(images, spec.dtype)

    def call(batch, _keeps_the_variables=loaded):
        found = function(**{name: batch})
        return {key: _as_array(value) for key, value in found.items()}

    return Signature(
        prepare=prepare,
        call=call,
        batch=spec.shape[0],
        inputs={name: _describe(spec)},
        outputs={
            key: _describe(value) for key, value in function.structured_outputs.items()
        },
    )


def _as_array(value: tf.Tensor) -> np.ndarray:
    """Text as bytes of one width, which NumPy's files can hold."""
    return value.numpy().astype(bytes) if value.dtype == tf.string else value.numpy()


def _describe(tensor) -> dict:
    shape = None if tensor.shape.rank is None else tensor.shape.as_list()
    return {"dtype": tensor.dtype.name, "shape": shape}


if __name__ == "__main__":
    main(load, f"tensorflow {tf.__version__}")
