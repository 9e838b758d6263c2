"""Writes images once, as small as training needs them, to read them fast ever after."""

import dataclasses
import logging
import os
import pathlib
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import tensorflow as tf
import tqdm

from selfsup_tf.data import prepared, sources
from selfsup_tf.data.prepared import FORMAT, IMAGES_PER_FILE, INDEX, PLAN, Split
from selfsup_tf.data.source import Source, fingerprint
from selfsup_tf.data.tfds_metadata import write_metadata
from selfsup_tf.errors import InputError, check, check_one_of
from selfsup_tf.files import enough_room, read_object, whole_file, write_json
from selfsup_tf.locks import only_writer

_SPLITS = ("train", "test")

logger = logging.getLogger("selfsup_tf")


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What `prepare` has written.

    Attributes:
        folder: Where it lies.
        images: How many, by split.
        size_bytes: Of all files.
    """

    folder: pathlib.Path
    images: dict[str, int]
    size_bytes: int


def prepare(
    data: Any,
    output: str | pathlib.Path,
    *,
    size: int = 512,
    encoding: Literal["jpeg", "png"] = "jpeg",
    quality: int = 95,
    **reading: Any,
) -> Prepared:
    """Writes all images of some data once, resized, to train from them at speed.

    The same call goes on where one was stopped. What it writes is opened by the name of
    the folder, and by `tensorflow_datasets.builder_from_directory`.

    Args:
        data: As for `open_source`. What is learned from and what judges are written,
            as train and test, if it has both, else all of it; other splits are not.
        output: A folder, which is made.
        size: The shorter side, in pixels, that larger images are shrunk to: about twice
            that of a view keeps what a crop can show.
        encoding: How images are stored; png keeps every pixel.
        quality: Of a JPEG, 1 to 100.
        reading: As for `open_source`.

    Raises:
        InputError: There are no such data, the folder holds something else, or an image
            was lost meanwhile.
    """
    check(size >= 1, "a size of 1 or more", size, "512 suits views of 224.")
    check_one_of(encoding, ("jpeg", "png"), "encoding to be jpeg or png")
    check(1 <= quality <= 100, "a quality of 1 to 100", quality, "95 is the default.")
    check(
        encoding == "jpeg" or quality == 95,
        "no quality beside encoding=png, which keeps every pixel",
        quality,
        "Leave one of them out.",
    )
    output = pathlib.Path(output).expanduser()
    opened = dict(zip(_SPLITS, sources.open_splits(data, **reading), strict=False))
    for source in opened.values():
        for note in source.notes:
            logger.info("%s", note)
        for line in source.skipped:
            logger.warning("Left out: %s", line)
    plan = _plan(opened, {"size": size, "encoding": encoding, "quality": quality})
    _check_output(output, plan)
    room = enough_room(output, "room for prepared images", "The same command goes on.")
    with only_writer(output / ".lock"), room:
        for left in output.glob(".images-*"):
            left.unlink()  # of a process that was killed
        if not (output / INDEX).is_file():
            splits = {}
            for name, source in opened.items():
                _write_split(output, name, source, plan)
            for name, source in opened.items():
                splits[name] = _look_up(output, name, source)
            write_metadata(output, plan, splits)
            prepared.write_index(output, splits)
    splits = prepared.read_index(output)
    files = [path for path in _seen(output) if path.is_file()]
    return Prepared(
        output,
        {name: len(table) for name, table in splits.items()},
        sum(path.stat().st_size for path in files),
    )


def _plan(opened: dict[str, Source], options: dict[str, Any]) -> dict[str, Any]:
    """What is going to be written, by which a call that goes on is known."""
    first, all_of_it = opened["train"], []
    for source in opened.values():
        check(
            source.channels in (1, 3, 4),
            "images of 1, 3 or 4 channels, which files hold",
            f"{source.channels} in {source.name}",
            "Train from them as they are.",
        )
        check(
            source.class_names == first.class_names,
            f"the same classes in {first.name} and {source.name}",
            f"{first.class_names} and {source.class_names}",
            "Give both the same class folders, or leave the labels: --labels=False.",
        )
        check(
            options["encoding"] == "png" or source.channels in (1, 3),
            "images of 1 or 3 channels, which a JPEG holds",
            f"{source.channels} in {source.name}",
            "Use --encoding=png.",
        )
        all_of_it.append(source.fingerprint or source.contents)
    return {
        "format": FORMAT,
        "identity": fingerprint(*all_of_it),
        "has_paths": first.paths is not None,
        "splits": {name: source.size for name, source in opened.items()},
        "class_names": first.class_names and list(first.class_names),
        "channels": first.channels,
        **options,
    }


def _check_output(output: pathlib.Path, plan: dict[str, Any]) -> None:
    """Makes the folder, or raises InputError where it holds something else."""
    file = output / PLAN
    if file.is_file():
        known = read_object(file)
        differs = [key for key in plan if known.get(key) != plan[key]]
        check(
            not differs,
            f"the images that {output} was begun with",
            f"others: {', '.join(differs)}",
            "Name another --output, or remove that one.",
        )
        return
    check(
        not output.exists() or (output.is_dir() and not any(_seen(output))),
        f"an empty folder at {output}, or none",
        "something else",
        "Name another --output.",
    )
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"a folder to write to at {output}", str(error), "") from error
    write_json(file, plan)


def _seen(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """What is in a folder but for hidden files, as of a process that was killed."""
    return (path for path in folder.iterdir() if not path.name.startswith("."))


def _write_split(
    output: pathlib.Path, split: str, source: Source, plan: dict[str, Any]
) -> None:
    """Writes the files that are not there yet."""
    names = [
        prepared.shard_name(split, number, source.size)
        for number in range(-(-source.size // IMAGES_PER_FILE))
    ]
    begun = [(output / name).is_file() for name in names]
    done = begun.index(False) if False in begun else len(names)
    first = done * IMAGES_PER_FILE
    rest = source.select(source.indices[first:], source.name)
    examples = _examples(rest, _names(split, source)[first:], plan)
    options = {"unit": " images", "leave": False, "disable": None}
    with tqdm.tqdm(total=source.size, initial=first, desc=split, **options) as bar:
        for number, name in enumerate(names[done:], done):
            count = min(IMAGES_PER_FILE, source.size - number * IMAGES_PER_FILE)
            with whole_file(output / name) as beside:
                with tf.io.TFRecordWriter(str(beside)) as writer:
                    for _ in range(count):
                        writer.write(next(examples))
                lost = source.check_readable()
                check(
                    lost == 0,
                    "images that stay as they are while they are prepared",
                    f"{lost} that can't be read any longer",
                    "Bring them back, or remove the output and begin anew.",
                )
            bar.update(count)


def _examples(
    source: Source, paths: tuple[str, ...], plan: dict[str, Any]
) -> Iterator[bytes]:
    """The records of a source, in its order."""

    def encode(element):
        image = _shrunk(element["image"], plan["size"])
        if plan["encoding"] == "png":
            contents = tf.io.encode_png(image)
        else:
            contents = tf.io.encode_jpeg(image, quality=plan["quality"])
        return {**element, "image": contents}

    encoded = source.ordered().map(encode, num_parallel_calls=tf.data.AUTOTUNE)
    elements = encoded.prefetch(IMAGES_PER_FILE).as_numpy_iterator()
    for element, path in zip(elements, paths, strict=True):
        features = {
            "image": _bytes(element["image"]),
            "path": _bytes(path.encode(errors="surrogateescape")),
        }
        if "label" in element:
            label = tf.train.Int64List(value=[element["label"]])
            features["label"] = tf.train.Feature(int64_list=label)
        features = tf.train.Features(feature=features)
        yield tf.train.Example(features=features).SerializeToString()


def _names(split: str, source: Source) -> tuple[str, ...]:
    """The path of each image within what holds all of them, or its number."""
    paths = source.paths
    if paths is None:
        return tuple(f"{split}/{index}" for index in source.indices)
    above = os.path.commonpath([os.path.dirname(path) for path in paths])
    within = (pathlib.Path(os.path.relpath(path, above)) for path in paths)
    return tuple(f"{split}/{path.as_posix()}" for path in within)


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _shrunk(image: tf.Tensor, size: int) -> tf.Tensor:
    """An image whose shorter side is at most `size`, uint8."""
    sides = tf.shape(image)[:2]
    shorter = tf.reduce_min(sides)

    def shrink():
        share = tf.cast(size / shorter, tf.float64)
        to = tf.cast(tf.round(share * tf.cast(sides, tf.float64)), tf.int32)
        resized = tf.image.resize(image, to, "bicubic", antialias=True)
        return tf.cast(tf.round(tf.clip_by_value(resized, 0.0, 255.0)), tf.uint8)

    return tf.cond(shorter > size, shrink, lambda: image)


def _look_up(output: pathlib.Path, split: str, source: Source) -> Split:
    """Reads every record of a split, whose checksum is compared, and where it lies."""
    columns: dict[str, list] = {name: [] for name in ("length", "height", "width")}
    columns |= {"offset": [], "path": [], "label": []}
    for number in range(-(-source.size // IMAGES_PER_FILE)):
        path = output / prepared.shard_name(split, number, source.size)
        try:
            records = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
        except tf.errors.OpError as error:
            path.unlink(missing_ok=True)
            raise InputError(
                f"whole images in {path}",
                "others",
                "It has been removed; the same command writes it again.",
            ) from error
        lengths = [len(record) for record in records]
        columns["length"] += lengths
        columns["offset"] += prepared.offsets(lengths)
        for record in records:
            feature = tf.train.Example.FromString(record).features.feature
            image = tf.io.decode_image(feature["image"].bytes_list.value[0])
            columns["height"].append(image.shape[0])
            columns["width"].append(image.shape[1])
            path = feature["path"].bytes_list.value[0]
            columns["path"].append(path.decode(errors="replace"))
            columns["label"] += feature["label"].int64_list.value
    check(
        len(columns["offset"]) == source.size,
        f"{source.size} images of {split} in {output}",
        len(columns["offset"]),
        "Remove it and begin anew.",
    )
    numbers = {n: np.array(v, np.int64) for n, v in columns.items() if n != "path"}
    return Split(path=np.array(columns["path"], str), **numbers)
