"""Images that `prepare` has written, in any order at equal cost."""

import contextlib
import functools
import os
import pathlib

import numpy as np
import tensorflow as tf

from selfsup_tf.data import prepared
from selfsup_tf.data.channels import choose_channels, to_channels
from selfsup_tf.data.indexed import IndexedSource
from selfsup_tf.data.order import on_host
from selfsup_tf.data.source import Reading, SourceKind, fingerprint
from selfsup_tf.errors import InputError, check_one_of
from selfsup_tf.files import read_object

_IMAGE = {"image": tf.io.FixedLenFeature((), tf.string)}


def open_prepared(
    folder: pathlib.Path, split: str = "train", *, channels: int | None = None
) -> IndexedSource:
    """Opens the images of a split that `prepare` has written.

    Args:
        folder: Where they are.
        split: "train" or "test", as far as there is such a one.
        channels: See `Reading`.

    Raises:
        InputError: They are not whole, or there is no such split.
    """
    plan = read_object(folder / prepared.PLAN)
    splits = prepared.read_index(folder)
    check_one_of(split, splits, f"a split of {folder}")
    table, stored = splits[split], plan["channels"]
    channels = choose_channels(stored, channels, str(folder))
    names = [name for name, _ in table.files(split)]
    paths = on_host([os.fsencode(folder / name) for name in names], tf.string)
    sizes = on_host([size for _, size in table.files(split)], tf.int64)
    places = on_host(np.stack([table.offset, table.length], axis=1), tf.int64)

    def image_at(index: tf.Tensor) -> tf.Tensor:
        file = index // prepared.IMAGES_PER_FILE
        offset, length = tf.unstack(tf.gather(places, index))
        rest = tf.gather(sizes, file) - offset - length
        record = tf.data.FixedLengthRecordDataset(
            [tf.gather(paths, file)], length, offset, rest, buffer_size=length
        ).get_single_element()
        image = tf.io.parse_single_example(record, _IMAGE)["image"]
        image = tf.io.decode_image(image, channels=stored, expand_animations=False)
        image = to_channels(tf.ensure_shape(image, (None, None, stored)), channels)
        return image if shape is None else tf.ensure_shape(image, shape)

    shapes = {(int(h), int(w)) for h, w in zip(table.height, table.width, strict=True)}
    shape = None if len(shapes) > 1 else (*next(iter(shapes)), channels)
    labels = table.label if len(table.label) else None
    digest = functools.cache(lambda: fingerprint(plan["identity"], split, places_hash))
    places_hash = fingerprint(table.offset, table.length, table.path)
    return IndexedSource(
        f"{folder.resolve().name}:{split}",
        len(table),
        image_at,
        lambda indices: fingerprint(digest(), channels, labels, indices),
        labels=labels,
        class_names=None if labels is None else tuple(plan["class_names"]),
        channels=channels,
        image_shape=shape,
        paths=table.path.tolist() if plan["has_paths"] else None,
        digest=digest,
    )


def _splits(path: str, reading: Reading) -> tuple[str, ...]:
    return tuple(read_object(pathlib.Path(path) / prepared.PLAN)["splits"])


def _recognises(path: str, reading: Reading) -> bool:
    """Whether `prepare` has begun to write here; others may call a file so, too."""
    file = pathlib.Path(path) / prepared.PLAN
    with contextlib.suppress(InputError):
        return file.is_file() and read_object(file).get("format") == prepared.FORMAT
    return False


SOURCE = SourceKind(
    takes="a folder of prepared images",
    recognises=_recognises,
    open=lambda path, split, reading: open_prepared(
        pathlib.Path(path), split, channels=reading.channels
    ),
    splits=_splits,
    turn=-1,
)
