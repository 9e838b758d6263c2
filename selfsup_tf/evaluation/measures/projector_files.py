"""Vectors, names and thumbnails as TensorBoard's projector reads them.

Legend: N images, S side of the encoder's input, D length of the representation h.
"""

import math
import os
import pathlib
from typing import Any

import keras
import numpy as np
import PIL.Image
from google.protobuf import text_format
from tensorboard.plugins import projector

from selfsup_tf.data.sources import Source
from selfsup_tf.errors import check
from selfsup_tf.evaluation.features import (
    compile_network,
    encoded_batches,
    image_size,
    join,
    open_images,
)
from selfsup_tf.evaluation.thumbnails import join_thumbnails, make_thumbnails
from selfsup_tf.files import whole_file, write_atomically

TENSORS, METADATA, SPRITE = "tensors.tsv", "metadata.tsv", "sprite.png"
CONFIG = "projector_config.pbtxt"

LARGEST_SPRITE = 8192  # px: the projector refuses a larger picture

_BATCH = 64


def write_projector(
    encoder: keras.Model,
    source: Any,
    directory: str | pathlib.Path,
    *,
    count: int = 2000,
    thumbnail: int = 32,
    seed: int = 0,
) -> pathlib.Path:
    """Writes what `tensorboard --logdir DIRECTORY` shows as a cloud of images.

    The directory gets tensors.tsv, the vectors; metadata.tsv, the class, the index in
    the source and the path of each image, as far as there are such; sprite.png, the
    thumbnails, in rows of a square; and projector_config.pbtxt, which names them.
    Earlier files of these names are replaced.

    Args:
        encoder: float32 [0, 1] (N, S, S, 3) -> h (N, D).
        source: Anything `open_source` takes.
        directory: Where the files go.
        count: Images, drawn at random; all where there are fewer.
        thumbnail: Side of a thumbnail, in pixels.
        seed: Chooses the images.

    Returns:
        The directory.

    Raises:
        InputError: The thumbnails do not fit in 8192 x 8192 pixels, or a vector is not
            finite.

    Reference: tensorboard/plugins/projector (the formats, and the 8192).
    """
    directory = pathlib.Path(directory).expanduser()
    source = open_images(encoder, source)
    check(count >= 1, "count of 1 or more", count, "Ask for more images.")
    check(thumbnail >= 1, "thumbnail of 1 pixel or more", thumbnail, "Raise it.")
    check(source.size > 0, "at least one image", f"none in {source.name}", "Add some.")
    count = min(count, source.size)
    columns = math.ceil(math.sqrt(count))
    check(
        columns * thumbnail <= LARGEST_SPRITE,
        f"thumbnails that fit in {LARGEST_SPRITE} x {LARGEST_SPRITE} pixels",
        f"{count} of {thumbnail} x {thumbnail}",
        f"Use thumbnails of {max(1, LARGEST_SPRITE // columns)} pixels or less, or at "
        f"most {(LARGEST_SPRITE // thumbnail) ** 2} images.",
    )
    chosen = np.random.default_rng(seed).permutation(source.indices)[:count]
    part = source.select(np.sort(chosen), source.name)
    encode, size = compile_network(encoder), image_size(encoder)
    found = join(
        batch | {"image": make_thumbnails(batch["image"], thumbnail)}
        for batch in encoded_batches(encode, part, size, _BATCH)
    )
    vectors = found["h"]
    directory.mkdir(parents=True, exist_ok=True)
    with whole_file(directory / TENSORS) as beside:
        # Text, since TensorBoard tells a binary file only by its bytes being no UTF-8,
        # which those of some vectors are. Nine digits give every float32 back.
        np.savetxt(beside, vectors, fmt="%.9g", delimiter="\t")
    write_atomically(directory / METADATA, _metadata(part, found.get("label")))
    sprite = join_thumbnails(found["image"], columns, rows=columns, blank=255)
    with whole_file(directory / SPRITE) as beside:
        PIL.Image.fromarray(sprite).save(beside)
    # Last: it names the others.
    write_atomically(directory / CONFIG, _config(source.name, vectors.shape, thumbnail))
    return directory


def _metadata(source: Source, labels: np.ndarray | None) -> str:
    columns = {}
    if labels is not None:
        names = source.class_names
        columns["class"] = [names[n] if n >= 0 else "(no label)" for n in labels]
    columns["index"] = [str(index) for index in source.indices]
    if source.paths is not None:
        columns["path"] = source.paths
    rows = zip(*(map(_cell, values) for values in columns.values()), strict=True)
    lines = ["\t".join(row) for row in rows]
    # A single column has no header, which the projector would take for an image.
    header = ["\t".join(columns)] if len(columns) > 1 else []
    return "".join(line + "\n" for line in [*header, *lines])


def _cell(text: str) -> str:
    """A text without what ends a cell or a line, as UTF-8 can hold it."""
    text = os.fsencode(text).decode("utf-8", "backslashreplace")
    return text.translate(dict.fromkeys(map(ord, "\t\n\r"), " "))


def _config(name: str, shape: tuple[int, int], thumbnail: int) -> str:
    config = projector.ProjectorConfig()
    embedding = config.embeddings.add()
    embedding.tensor_name = f"representations of {_cell(name)}"
    embedding.tensor_path = TENSORS
    embedding.tensor_shape.extend(shape)
    embedding.metadata_path = METADATA
    embedding.sprite.image_path = SPRITE
    embedding.sprite.single_image_dim.extend([thumbnail, thumbnail])
    return text_format.MessageToString(config)
