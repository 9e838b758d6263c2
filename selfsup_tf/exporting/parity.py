"""How close an artefact is to its encoder, measured in the artefact's own runtime.

Legend: N images, S height and width of the encoder's input, D length of the
representation h.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

THRESHOLDS = {
    "saved_model": 0.9999,
    "float32": 0.9999,
    "float16": 0.999,
    "int8": 0.98,
}
BATCH_SIZE = 32


class ParityError(RuntimeError):
    """An artefact does not give the representations of its encoder."""


@dataclasses.dataclass(frozen=True)
class Parity:
    """How close one way of calling an artefact comes to the encoder.

    Attributes:
        artefact: Name of the file or directory.
        signature: What was called.
        precision: float32, float16 or int8.
        cosine_mean: Mean cosine of its representations with the encoder's.
        cosine_min: The least.
        max_difference: Largest absolute difference of two components.
        threshold: Least mean cosine that is accepted.
        num_images: Images compared.
        batch: any, or 1 where the file takes one image at a time.
        size_bytes: The artefact's size.
    """

    artefact: str
    signature: str
    precision: str
    cosine_mean: float
    cosine_min: float
    max_difference: float
    threshold: float
    num_images: int
    batch: str
    size_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return dataclasses.asdict(self)


def encode(encoder: keras.Model, views: np.ndarray) -> np.ndarray:
    """The encoder's own representations of `views`: h, (N, D) float32."""
    return _call(lambda batch: encoder(tf.constant(batch), training=False), views)


def compare(expected: np.ndarray, received: np.ndarray) -> dict[str, float]:
    """Cosines (mean, least) and largest difference of two arrays (N, D).

    Two vectors of length 0 agree (cosine 1); one beside a longer one does not (0).
    NaN or infinity, or another shape, agrees with nothing: cosine -1.
    """
    if expected.shape != received.shape or not np.isfinite(received).all():
        return {"cosine_mean": -1.0, "cosine_min": -1.0, "max_difference": np.inf}
    a, b = expected.astype(np.float64), received.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    product = lengths[0] * lengths[1]
    cosine = (a * b).sum(axis=1) / np.where(product > 0, product, 1)
    cosine = np.where((lengths[0] == 0) & (lengths[1] == 0), 1.0, cosine)
    return {
        "cosine_mean": float(cosine.mean()),
        "cosine_min": float(cosine.min()),
        "max_difference": float(np.abs(a - b).max()),
    }


def measure_saved_model(
    directory: str | pathlib.Path,
    images: Sequence[np.ndarray],
    views: np.ndarray,
    expected: np.ndarray,
) -> list[Parity]:
    """Loads a SavedModel and calls each of its signatures.

    Args:
        directory: The SavedModel.
        images: uint8, each (H, W, 3) of its own size. serve_bytes gets them as PNG
            files, which lose nothing.
        views: Their evaluation views, (N, S, S, 3) float32, for serve_float.
        expected: The encoder's representations of the views, (N, D) float32.
    """
    directory = pathlib.Path(directory)
    signatures = tf.saved_model.load(str(directory)).signatures
    files = [tf.io.encode_png(image).numpy() for image in images]
    received = {
        "serving_default": _call(
            lambda batch: signatures["serving_default"](images=tf.constant(batch)),
            images,
        ),
        "serve_float": _call(
            lambda batch: signatures["serve_float"](images=tf.constant(batch)), views
        ),
        "serve_bytes": np.concatenate(
            [
                signatures["serve_bytes"](
                    image_bytes=tf.constant(files[n : n + BATCH_SIZE])
                )["representation"].numpy()
                for n in range(0, len(files), BATCH_SIZE)
            ]
        ),
    }
    size = sum(f.stat().st_size for f in directory.rglob("*") if f.is_file())
    return [
        Parity(
            artefact=directory.name,
            signature=signature,
            precision="float32",
            **compare(expected, h),
            threshold=THRESHOLDS["saved_model"],
            num_images=len(images),
            batch="any",
            size_bytes=size,
        )
        for signature, h in received.items()
    ]


def measure_tflite(
    path: str | pathlib.Path, precision: str, views: np.ndarray, expected: np.ndarray
) -> Parity:
    """Runs a TFLite file in LiteRT, as a device does.

    Args:
        path: The file.
        precision: Chooses the threshold: float32, float16 or int8.
        views: (N, S, S, 3) float32 in [0, 1].
        expected: The encoder's representations of the views, (N, D) float32.
    """
    path = pathlib.Path(path)
    interpreter = Interpreter(model_path=str(path))
    batch = int(interpreter.get_input_details()[0]["shape_signature"][0])
    runner = interpreter.get_signature_runner()
    received = _call(
        lambda images: runner(images=images), views, BATCH_SIZE if batch < 0 else batch
    )
    return Parity(
        artefact=path.name,
        signature="serving_default",
        precision=precision,
        **compare(expected, received),
        threshold=THRESHOLDS[precision],
        num_images=len(views),
        batch="any" if batch < 0 else str(batch),
        size_bytes=path.stat().st_size,
    )


def require_parity(measured: Parity) -> None:
    """Raises ParityError where a mean cosine is below its threshold."""
    if measured.cosine_mean >= measured.threshold:
        return
    advice = (
        "Calibrate on more images, and on such as the encoder was trained on, or "
        "export float16."
        if measured.precision == "int8"
        else "The conversion does not compute what the encoder does; please report it "
        "with the encoder's layers."
    )
    raise ParityError(
        f"expected {measured.artefact} ({measured.signature}) to give the encoder's "
        f"representations, mean cosine {measured.threshold} or more; received mean "
        f"{measured.cosine_mean:.6f}, least {measured.cosine_min:.6f}, largest "
        f"difference {measured.max_difference:.4g} on {measured.num_images} images. "
        f"{advice} Nothing was exported."
    )


def batches(
    images: Sequence[np.ndarray], batch_size: int = BATCH_SIZE
) -> Iterator[np.ndarray]:
    """Consecutive images of one shape, stacked, in their order."""
    batch = []
    for image in images:
        if batch and (len(batch) == batch_size or image.shape != batch[0].shape):
            yield np.stack(batch)
            batch = []
        batch.append(image)
    if batch:
        yield np.stack(batch)


def _call(
    function: Callable[[np.ndarray], Any],
    images: Sequence[np.ndarray],
    batch_size: int = BATCH_SIZE,
) -> np.ndarray:
    """h, (N, D), of a function of batches that gives h or {"representation": h}."""
    found = []
    for batch in batches(images, batch_size):
        h = function(batch)
        h = h["representation"] if isinstance(h, dict) else h
        found.append(np.array(h))
    return np.concatenate(found)
