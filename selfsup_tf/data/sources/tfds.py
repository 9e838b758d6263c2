"""Images of tensorflow-datasets, which is imported only when one is named."""

import functools
import socket
import urllib.request
from typing import Any

import numpy as np
import tensorflow as tf

from selfsup_tf.data.channels import choose_channels, decode_channels
from selfsup_tf.data.source import (
    Reading,
    Source,
    SourceKind,
    fingerprint,
)
from selfsup_tf.data.sources.arrays import array_source
from selfsup_tf.data.splits import find_splits, judges_of
from selfsup_tf.data.streamed import StreamSource, buffer_size
from selfsup_tf.errors import InputError, check
from selfsup_tf.existing import looks_like_path
from selfsup_tf.files import cache_folder
from selfsup_tf.locks import one_after_another


def _recognises(name: str, reading: Reading) -> bool:
    """Whether TFDS knows this name, or data of this name lie in its folder."""
    if looks_like_path(name):
        return False
    import tensorflow_datasets as tfds

    try:
        tfds.builder(name, data_dir=reading.data_dir)
    except tfds.core.registered.DatasetNotFoundError:
        return False
    except (ValueError, OSError):
        # A known name with an unknown config or version: opening it tells which exist.
        return name.split("/")[0].split(":")[0] in _names()
    return True


def _names() -> list[str]:
    import tensorflow_datasets as tfds

    return tfds.list_builders(with_community_datasets=False)


def _splits(name: str, reading: Reading) -> tuple[str, ...]:
    splits = find_splits(_prepared_builder(name, reading.data_dir).info.splits)
    words = ("train", *judges_of(splits)[:1])
    return tuple(splits[word] for word in words) if splits else ("train",)


def open_tfds(
    name: str,
    *,
    split: str = "train",
    data_dir: str | None = None,
    channels: int | None = None,
    memory: int = 2**31,
) -> Source:
    """Opens a split of TFDS data, which is downloaded and prepared if it is not.

    Args:
        name: Such as "cifar10", "name/config" or "namespace/name".
        split: In the language of TFDS, such as "train[:10%]".
        data_dir: Where TFDS keeps its data; None for its default.
        channels: See `Reading`.
        memory: Bytes up to which decoded images of one size are kept in memory.

    Raises:
        InputError: The data can't be prepared, have no such split, or not one image.
    """
    builder = _prepared_builder(name, data_dir)
    splits = ", ".join(builder.info.splits)
    try:
        info = builder.info.splits[split]
    except (ValueError, KeyError) as error:
        raise InputError(
            f"a split of {name}", repr(split), f"Choose one of: {splits}"
        ) from error
    size = info.num_examples
    check(size > 0, f"images in split {split} of {name}", "none", f"Try: {splits}")
    image_key, label_key, class_names = _keys(name, builder.info.features)

    shape = builder.info.features[image_key].shape
    channels = choose_channels(3, channels, name)
    image_shape = None if None in shape[:2] else (*shape[:2], channels)
    total = sum(s.num_examples for s in builder.info.splits.values())
    stream = StreamSource(
        f"{name}:{split}",
        functools.partial(_read, builder, split, image_key, label_key),
        # As TFDS itself does, which overlooks EXIF.
        functools.partial(decode_channels, channels=channels, exif=False),
        total=size,
        buffer=buffer_size(builder.info.dataset_size / max(1, total)),
        labelled=label_key is not None,
        class_names=class_names,
        channels=channels,
        image_shape=image_shape,
        identity=_identity(builder, split),
        contents=_contents(builder, split),
    )
    if image_shape is not None and size * int(np.prod(image_shape)) <= memory:
        return _in_memory(stream)
    return stream


def _identity(builder: Any, split: str) -> str:
    """Names a split by its files: a version may lie elsewhere or be built anew."""
    files = [(file.name, file.stat()) for file in sorted(builder.data_path.iterdir())]
    found = [(name, stat.length, stat.mtime) for name, stat in files]
    return repr((str(builder.data_path), split, found))


def _contents(builder: Any, split: str) -> str:
    """Names a split by the names and lengths of the files, wherever they lie."""
    found = [file for file in builder.data_path.iterdir() if file.suffix != ".json"]
    return fingerprint(split, sorted((file.name, file.stat().length) for file in found))


def _prepared_builder(name: str, data_dir: str | None) -> Any:
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=data_dir)
        if not builder.is_prepared():
            # The workers of a run on one machine all come here; one prepares.
            lock = fingerprint(str(builder.data_path))[:16]
            with one_after_another(cache_folder("locks") / lock):
                builder = tfds.builder(name, data_dir=data_dir)
                if not builder.is_prepared():
                    if builder.url_infos and not builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
                        _check_network()
                    builder.download_and_prepare()
    except Exception as error:  # each builder fails in ways of its own
        where = data_dir or "the default folder of TFDS"
        raise InputError(
            f"the TFDS data {name} in {where}, or a network to download them from",
            f"{type(error).__name__}: {' '.join(str(error).split())[:200]}",
            "Prepare them where there is a network, and name the folder by --data_dir.",
        ) from error
    return builder


def _check_network() -> None:
    """Raises OSError where no name of the internet is known, for which TFDS waits long.

    Behind a proxy it need not be known here.
    """
    if not urllib.request.getproxies():
        socket.getaddrinfo("storage.googleapis.com", 443)


def _keys(name: str, features: Any) -> tuple[str, str | None, tuple[str, ...] | None]:
    """The keys of image and label (or None), and the names of the classes (or None)."""
    import tensorflow_datasets as tfds

    def of_type(kind: type) -> list[str]:
        return [key for key, value in features.items() if type(value) is kind]

    images = of_type(tfds.features.Image)
    if "image" in images:
        images = ["image"]
    check(
        len(images) == 1,
        f"one image in each element of {name}",
        f"the images {images} among the features {list(features)}",
        "Choose other data, or give a tf.data.Dataset of the images you mean.",
    )
    labels = of_type(tfds.features.ClassLabel)
    if "label" in labels:
        labels = ["label"]
    if len(labels) != 1:
        return images[0], None, None
    return images[0], labels[0], tuple(features[labels[0]].names)


def _read(
    builder: Any, split: str, image_key: str, label_key: str, images: bool, labels: bool
) -> tf.data.Dataset:
    """Encoded images and labels, where they are wanted, in a fixed order."""
    import tensorflow_datasets as tfds

    wanted = {image_key: True} if images else {}
    if labels:
        wanted[label_key] = True
    skip = {image_key: tfds.decode.SkipDecoding()} if images else None
    dataset = builder.as_dataset(
        split=split,
        shuffle_files=False,
        decoders=tfds.decode.PartialDecoding(wanted, decoders=skip),
        read_config=tfds.ReadConfig(try_autocache=False),
    )

    def rename(element: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        renamed = {"image": element[image_key]} if images else {}
        if labels:
            renamed["label"] = tf.cast(element[label_key], tf.int64)
        return renamed

    return dataset.map(rename)


def _in_memory(stream: StreamSource) -> Source:
    """Decodes all images of a stream and keeps them in memory."""
    images = np.empty((stream.size, *stream.image_shape), np.uint8)
    labels = np.empty(stream.size, np.int64) if stream.labelled else None
    for batch in stream.ordered().batch(256).as_numpy_iterator():
        images[batch["index"]] = batch["image"]
        if labels is not None:
            labels[batch["index"]] = batch["label"]
    return array_source(
        stream.name,
        images,
        labels=labels,
        class_names=stream.class_names,
        channels=stream.channels,
    )


SOURCE = SourceKind(
    takes="a name of tensorflow-datasets",
    recognises=_recognises,
    open=lambda name, split, reading: open_tfds(
        name, split=split, data_dir=reading.data_dir, channels=reading.channels
    ),
    splits=_splits,
    names=_names,
    turn=2,
)
