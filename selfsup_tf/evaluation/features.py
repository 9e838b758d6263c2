"""What an encoder makes of a data set, and which encoder it is.

Legend: N images, S height and width of the encoder's input, D length of the
representation h.
"""

import dataclasses
import hashlib
import pathlib
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import sklearn
import tensorflow as tf

from selfsup_tf.data import pipeline
from selfsup_tf.data.sources import Source, open_source
from selfsup_tf.distribution import environment
from selfsup_tf.errors import check
from selfsup_tf.evaluation.vectors import check_finite
from selfsup_tf.files import whole_file

LIMIT_BYTES = 2**32
"""What a cache may hold; beyond, what was written longest ago goes."""

_CACHE_FORMAT = "1"  # raised when evaluation views or representations change


@dataclasses.dataclass(frozen=True)
class Features:
    """The representations of a data set, each example once, in the source's order.

    Attributes:
        features: h, (N, D) float32, all finite.
        labels: (N,) int64, or None where the source is unlabelled.
        indices: (N,) int64, the number of each image in its source.
    """

    features: np.ndarray
    labels: np.ndarray | None
    indices: np.ndarray


def image_size(encoder: keras.Model) -> int:
    """S of an encoder that takes (N, S, S, 3).

    Raises:
        InputError: Its input is something else.
    """
    shape = encoder.input_shape
    check(
        isinstance(shape, tuple)
        and len(shape) == 4
        and shape[1] is not None
        and shape[1] == shape[2]
        and shape[3] == 3,
        "an encoder whose input is (N, S, S, 3) with a fixed S",
        shape,
        "Build the encoder with keras.Input((S, S, 3)).",
    )
    return shape[1]


def compile_encoder(encoder: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """The encoder in inference mode as one compiled function.

    Returns:
        A function of images, (N, S, S, 3) float32 in [0, 1], to h, (N, D) float32.
    """
    size = image_size(encoder)

    @tf.function(
        input_signature=[tf.TensorSpec((None, size, size, 3), tf.float32, "images")]
    )
    def encode(images):
        return tf.cast(encoder(images, training=False), tf.float32)

    return encode


def extract_features(
    encoder: keras.Model,
    source: Any,
    *,
    batch_size: int = 256,
    encode: Callable[[tf.Tensor], tf.Tensor] | None = None,
    cache: pathlib.Path | None = None,
) -> Features:
    """The representations of every image of `source`, each exactly once.

    Args:
        encoder: float32 [0, 1] (N, S, S, 3) -> h (N, D).
        source: A Source, or arrays as `open_source` takes them.
        batch_size: Images in a call of the encoder; the last call is padded and its
            padding dropped.
        encode: `compile_encoder(encoder)`, where the same encoder is called again and
            again and shall be traced once. It follows the encoder's weights.
        cache: A folder where representations are kept, by encoder and images.

    Raises:
        InputError: A representation is NaN or infinite, or there are no images.
    """
    source = open_source(source)
    key = None if cache is None else _cache_key(encoder, source)
    kept = None if key is None else read_arrays(cache, key)
    if kept is not None:
        return Features(kept["features"], kept.get("labels"), kept["indices"])
    found = _extract(
        encode or compile_encoder(encoder), source, image_size(encoder), batch_size
    )
    if key is not None:
        arrays = {"features": found.features, "indices": found.indices}
        if found.labels is not None:
            arrays["labels"] = found.labels
        write_arrays(cache, key, arrays)
    return found


def _cache_key(encoder: keras.Model, source: Source) -> str | None:
    """What decides the representations: the encoder, the images, the libraries.

    It is None where the images or the encoder can't be told from others.
    """
    if source.fingerprint is None:
        return None
    try:
        # Constants, such as those of a normalisation, are no weights.
        architecture = encoder.to_json()
    except (NotImplementedError, TypeError, ValueError):
        return None
    parts = (
        _CACHE_FORMAT,
        weights_hash(encoder),
        architecture,
        source.fingerprint,
        keras.__version__,
        tf.__version__,
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def encoded_batches(
    encode: Callable[[tf.Tensor], tf.Tensor], source: Source, size: int, batch_size: int
) -> Iterator[dict[str, np.ndarray]]:
    """Every image of a source once, batch by batch, with its representation.

    Yields:
        {"h": (n, D) float32, finite, "image": (n, S, S, 3) float32 in [0, 1], "index":
        (n,) int64, and where there are labels "label": (n,)}.

    Raises:
        InputError: A representation is NaN or infinite.
    """
    batches = pipeline.evaluation_dataset(source, size=size, batch_size=batch_size)
    for batch in batches:
        h = encode(batch["image"])
        batch = {name: values.numpy() for name, values in batch.items()}
        valid = batch.pop("valid")
        batch = {name: values[valid] for name, values in batch.items()}
        check_finite(h.numpy()[valid], source.name)
        yield {"h": h.numpy()[valid], **batch}


def _extract(
    encode: Callable[[tf.Tensor], tf.Tensor], source: Source, size: int, batch_size: int
) -> Features:
    found = {"h": [], "label": [], "index": []}
    for batch in encoded_batches(encode, source, size, batch_size):
        for name, values in found.items():
            values += [batch[name]] if name in batch else []
    check(
        len(found["h"]) > 0,
        "at least one image",
        f"none from {source.name}",
        "Check what it was opened from.",
    )
    labels = found["label"]
    return Features(
        features=np.concatenate(found["h"]),
        labels=np.concatenate(labels).astype(np.int64) if labels else None,
        indices=np.concatenate(found["index"]),
    )


def weights_hash(model: keras.Model) -> str:
    """The SHA-256 of a model's weights in their order: names, shapes, bytes.

    BatchNorm's statistics are among them, so a trunk that was called in training mode
    hashes differently even if no gradient reached it.
    """
    digest = hashlib.sha256()
    for weight, value in zip(model.weights, model.get_weights(), strict=True):
        digest.update(f"{weight.name} {value.dtype} {value.shape};".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Of the packages that numbers depend on."""
    return {**environment.versions(), "scikit-learn": sklearn.__version__}


def read_arrays(folder: pathlib.Path, key: str) -> dict[str, np.ndarray] | None:
    """The arrays kept under a key; None where there are none, or the file is damaged.

    Args:
        folder: Of the cache; may be absent.
        key: Names a file.
    """
    try:
        with np.load(folder / f"{key}.npz", allow_pickle=False) as kept:
            return {name: kept[name] for name in kept.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def write_arrays(
    folder: pathlib.Path,
    key: str,
    arrays: dict[str, np.ndarray],
    *,
    limit: int = LIMIT_BYTES,
) -> None:
    """Keeps arrays under a key, whole or not at all; too large ones are not kept.

    Args:
        folder: Of the cache; made where it is absent.
        key: Names a file.
        arrays: By name.
        limit: Bytes that the folder may hold; what is oldest goes.
    """
    if sum(array.nbytes for array in arrays.values()) > limit:
        return
    with whole_file(folder / f"{key}.npz") as beside:
        np.savez(beside, **arrays)
    kept = sorted(folder.glob("[!.]*.npz"), key=lambda file: -file.stat().st_mtime)
    total = 0
    for file in kept:
        total += file.stat().st_size
        if total > limit:
            file.unlink(missing_ok=True)
