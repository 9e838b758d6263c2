"""A SavedModel as the server of this folder holds it: loaded, warmed up, called."""

import math
import pathlib
import re
import sys
import threading

import numpy as np
import tensorflow as tf
from png import bounded_png
from tensorflow_serving.apis import prediction_log_pb2

WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"
_AT_ONCE = 4
"""Requests that are worked on; the others wait."""
_SAID = 500
"""The most characters of a message: it may quote what came."""


class RequestError(Exception):
    """A request that can't be answered, and the HTTP status that says so."""

    def __init__(self, message: str, status: int = 400):
        super().__init__(message[:_SAID])
        self.status = status


class Model:
    """The newest version of a model, loaded and warmed up.

    Args:
        base: A directory with a SavedModel in each sub-directory 1, 2, ..., or a
            SavedModel itself, which is then version 1.
        name: What clients call it.

    Attributes:
        turns: What a server holds while it makes arrays of a request and answers it.
    """

    def __init__(self, base: pathlib.Path, name: str):
        self.name = name
        self.turns = threading.BoundedSemaphore(_AT_ONCE)
        if (base / "saved_model.pb").is_file():
            self.version, directory = 1, base
        else:
            versions = [
                int(path.name)
                for path in base.glob("*")
                if path.name.isdigit() and (path / "saved_model.pb").is_file()
            ]
            if not versions:
                sys.exit(
                    f"expected a SavedModel in {base}/1 or another number; received "
                    "none. Copy the saved_model of an export there."
                )
            self.version = max(versions)
            directory = base / str(self.version)
        # Kept whole: the signatures use its variables.
        self._loaded = tf.saved_model.load(str(directory))
        self.signatures = dict(self._loaded.signatures)
        self.warmed_up = self._warm_up(directory / WARMUP_FILE)

    def predict(self, signature: str, inputs: dict) -> dict[str, np.ndarray]:
        """Calls a signature with arrays by name."""
        expected = self.require_inputs(signature, inputs)
        function = self.signature(signature)
        try:
            tensors = {n: to_tensor(n, v, expected[n].dtype) for n, v in inputs.items()}
            return {name: t.numpy() for name, t in function(**tensors).items()}
        except (tf.errors.OpError, TypeError, ValueError, OverflowError) as error:
            raise RequestError(first_cause(error)) from error
        except MemoryError as error:
            raise RequestError("more than there is memory for") from error

    def signature(self, name: str):
        """The signature's function; that of serving_default for an empty name."""
        name = name or "serving_default"
        if name not in self.signatures:
            raise RequestError(
                f"no signature {name}; there are {sorted(self.signatures)}"
            )
        return self.signatures[name]

    def require_inputs(self, signature: str, names) -> dict:
        """What the signature takes, by name; raises unless these are the names."""
        expected = self.signature(signature).structured_input_signature[1]
        if set(names) != set(expected):
            raise RequestError(
                f"{signature or 'serving_default'} expects the inputs "
                f"{sorted(expected)}; received {sorted(names)}"
            )
        return expected

    def require(self, name: str, version: int | None) -> None:
        """Raises unless this is the model that is asked for."""
        if name != self.name or version not in (None, self.version):
            asked = name if version is None else f"{name}, version {version}"
            raise RequestError(
                f"no model {asked}; there is {self.name}, version {self.version}", 404
            )

    def _warm_up(self, path: pathlib.Path) -> int:
        """Answers the requests that lie beside the model; their number."""
        if not path.is_file():
            return 0
        count = 0
        for record in tf.data.TFRecordDataset(str(path)):
            log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
            request = log.predict_log.request
            inputs = {name: tf.make_ndarray(t) for name, t in request.inputs.items()}
            self.predict(request.model_spec.signature_name, inputs)
            count += 1
        return count


def to_array(name: str, tensor, max_bytes: int) -> np.ndarray:
    """The array of a TensorProto, refused before it takes more than `max_bytes`.

    A tensor of one value repeated takes a few bytes, whatever its shape.
    """
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    count = math.prod(shape)
    # A string, of no size itself, is at least a reference in the array.
    size = count * (tf.as_dtype(tensor.dtype).size or 8)
    if tensor.string_val:
        lengths = [len(value) for value in tensor.string_val]
        size += sum(lengths) + (count - len(lengths)) * lengths[-1]
    too_many = len(tensor.string_val) > max(count, 1)
    if min(shape, default=0) < 0 or too_many or size > max_bytes:
        raise RequestError(
            f"expected {name} of at most {max_bytes} bytes; received the shape {shape} "
            f"of {tf.as_dtype(tensor.dtype).name}"
        )
    return tf.make_ndarray(tensor)


def to_tensor(name: str, value, dtype: tf.DType) -> tf.Tensor:
    """A value as the signature wants it: nothing is rounded and no number wraps."""
    if dtype == tf.string:
        if isinstance(value, list | np.ndarray):
            value = [bounded_png(v) if isinstance(v, bytes) else v for v in value]
        return tf.constant(value, dtype)
    if isinstance(value, np.ndarray):
        fits = tf.as_dtype(value.dtype) == dtype
    else:
        # References: an array of texts would be as wide as the longest for each.
        value = np.asarray(value, object)
        kinds = set(map(type, value.flat))
        if list in kinds:
            raise RequestError(f"expected {name} of one shape; its lists differ")
        fits = kinds <= ({int} if dtype.is_integer else {int, float})
        if fits and kinds and dtype.is_integer:
            least, most = dtype.limits
            fits = least <= value.min() <= value.max() <= most
    if not fits:
        raise RequestError(f"expected {name} of {dtype.name} or numbers that fit it")
    return tf.constant(value.astype(dtype.as_numpy_dtype))


def first_cause(error: Exception) -> str:
    """What TensorFlow complains of, without where it stands in a graph."""
    message = re.sub(r"\{\{.*?\}\}|\s\[\[.*|\[Op:\w+\].*", "", str(error))
    places = ("Graph execution error", "Detected at node", "<stack", "  ")
    lines = [line for line in message.splitlines() if line.strip()]
    said = [line.strip() for line in lines if not line.startswith(places)]
    return said[0] if said else type(error).__name__
