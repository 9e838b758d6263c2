"""The representations of a data set, kept on disk, and the hash of an encoder.

Legend: N images, S height and width of the encoder's input, D length of the
representation h.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import sklearn
import tensorflow as tf

from selfsup_tf.data import pipeline
from selfsup_tf.data.sources import Source, open_source
from selfsup_tf.data.stored_vectors import StoredVectors
from selfsup_tf.distribution import environment
from selfsup_tf.errors import check
from selfsup_tf.evaluation.kept_arrays import read_arrays, write_arrays
from selfsup_tf.evaluation.vectors import check_finite
from selfsup_tf.shown import brief

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

    __repr__ = brief


def image_size(encoder: keras.Model) -> int:
    """S of an encoder that takes (N, S, S, 3) and gives (N, D).

    Raises:
        InputError: Its input or its output is something else.
    """
    shape = encoder.input_shape
    check(
        isinstance(shape, tuple)
        and len(shape) == 4
        and shape[1] is not None
        and shape[1] == shape[2]
        and shape[3] is not None,
        "an encoder whose input is (N, S, S, 3) with a fixed S",
        shape,
        "Build the encoder with keras.Input((S, S, 3)).",
    )
    vectors = encoder.output_shape
    check(
        isinstance(vectors, tuple) and len(vectors) == 2,
        "an encoder whose one output is a vector of each image, (N, D)",
        vectors,
        "End it with a pooling layer, such as keras.layers.GlobalAveragePooling2D.",
    )
    return shape[1]


def open_images(encoder: keras.Model | StoredVectors, data: Any) -> Source:
    """Images as `open_source` opens them, of the channels that the encoder takes.

    Raises:
        InputError: They have others.
    """
    if isinstance(encoder, StoredVectors):
        return open_source(data)
    image_size(encoder)  # refuses what is no encoder
    channels = encoder.input_shape[-1]
    source = open_source(data, channels=channels)
    check(
        source.channels == channels,
        f"images of the {channels} channels that the encoder takes",
        f"{source.channels} in {source.name}",
        f"Open them with channels={channels}.",
    )
    return source


def compile_network(network: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """An encoder, or a head, in inference mode as one compiled function.

    Returns:
        A function of (N, S, S, 3), or (N, D), to (N, D), all float32.
    """
    spec = tf.TensorSpec((None, *network.input_shape[1:]))

    @tf.function(input_signature=[spec], autograph=False)
    def call(inputs):
        return tf.cast(network(inputs, training=False), tf.float32)

    # Traced here, once: of functions that trace when they are called TensorFlow warns
    # as soon as some networks have been judged in one process.
    return call.get_concrete_function()


def extract_features(
    encoder: keras.Model | StoredVectors,
    source: Any,
    *,
    batch_size: int = 256,
    encode: Callable[[tf.Tensor], tf.Tensor] | None = None,
    cache: pathlib.Path | None = None,
    skip_lost: bool = False,
) -> Features:
    """The representations of every image of `source`, each exactly once.

    Args:
        encoder: float32 [0, 1] (N, S, S, 3) -> h (N, D), or what one has said, in a
            file.
        source: A Source, or arrays as `open_source` takes them.
        batch_size: Images in a call of the encoder; the last call is padded and its
            padding dropped.
        encode: `compile_network(encoder)`, where the same encoder is called again and
            again and shall be traced once. It follows the encoder's weights.
        cache: A folder where representations are kept, by encoder and images.
        skip_lost: Whether images that can't be read any longer are left out.

    Raises:
        InputError: A representation is NaN or infinite, there are no images, or one of
            them can't be read any longer.
    """
    source = open_images(encoder, source)
    if isinstance(encoder, StoredVectors):
        return Features(encoder.of(source, by_path=True), source.labels, source.indices)
    key = None if cache is None else _cache_key(encoder, source)
    kept = None if key is None else read_arrays(cache, key)
    if kept is not None:
        return Features(**{"labels": None} | kept)
    size = image_size(encoder)
    encode = encode or compile_network(encoder)
    found = join(
        {"features": batch["h"], "indices": batch["index"]}
        | ({"labels": batch["label"]} if source.labelled else {})
        for batch in encoded_batches(
            encode, source, size, batch_size, skip_lost=skip_lost
        )
    )
    advice = "Check what it was opened from."
    check(bool(found), "at least one image", f"none from {source.name}", advice)
    if key is not None:
        write_arrays(cache, key, found)
    return Features(**{"labels": None} | found)


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
    encode: Callable[[tf.Tensor], tf.Tensor],
    source: Source,
    size: int,
    batch_size: int,
    *,
    skip_lost: bool = False,
) -> Iterator[dict[str, np.ndarray]]:
    """Every image of a source once, batch by batch, with its representation.

    Yields:
        {"h": (n, D) float32, finite, "image": (n, S, S, 3) float32 in [0, 1], "index":
        (n,) int64, and where there are labels "label": (n,) int64}.

    Raises:
        InputError: A representation is NaN or infinite, or an image can't be read any
            longer and may not be skipped.
    """
    last = -1
    batches = pipeline.evaluation_dataset(source, size=size, batch_size=batch_size)
    for batch in batches:
        h = encode(batch["image"])
        batch = {name: values.numpy() for name, values in batch.items()}
        batch["h"], valid = h.numpy(), batch.pop("valid")
        again = valid & replaced(batch["index"], last)
        if not skip_lost:
            check_none_lost(again, source)
        valid &= ~again
        last = max(last, batch["index"].max())
        batch = {name: values[valid] for name, values in batch.items()}
        check_finite(batch["h"], source.name)
        if source.labelled:
            batch["label"] = batch["label"].astype(np.int64)
        yield batch


def replaced(indices: np.ndarray, last: int) -> np.ndarray:
    """In whose place another image stands, since a file was lost; (n,) bool.

    Args:
        indices: Of a batch of `pipeline.evaluation_dataset`, in which they rise.
        last: The greatest of the batches before; -1 of the first.
    """
    return indices <= np.maximum.accumulate([last, *indices[:-1]])


def check_none_lost(again: np.ndarray, source: Source) -> None:
    """Raises InputError where an image of a batch is `replaced`."""
    check(
        not again.any(),
        f"every image of {source.name}, as it was opened",
        "; ".join(source.skipped[-3:]),
        "Mend or remove what can't be read any longer.",
    )


def join(batches: Iterable[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays of all batches by name, one after the other."""
    batches = list(batches)
    names = batches[0] if batches else ()
    return {name: np.concatenate([b[name] for b in batches]) for name in names}


def weights_hash(model: keras.Model | StoredVectors) -> str:
    """The SHA-256 of a model's weights in their order: names, shapes, bytes.

    Of vectors in a file, that of the file.

    BatchNorm's statistics are among them, so a trunk that was called in training mode
    hashes differently even if no gradient reached it.
    """
    if isinstance(model, StoredVectors):
        return model.digest
    digest = hashlib.sha256()
    for weight, value in zip(model.weights, model.get_weights(), strict=True):
        digest.update(f"{weight.name} {value.dtype} {value.shape};".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """The versions of the packages that numbers depend on."""
    return {**environment.versions(), "scikit-learn": sklearn.__version__}
