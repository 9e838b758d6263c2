"""The files of a folder: which images can be read, which can't, and why."""

import collections
import dataclasses
import logging
import os
import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tqdm

from selfsup_tf.data.channels import INTERCHANGEABLE, counted, decode_channels
from selfsup_tf.data.checked import Checked
from selfsup_tf.data.conversion import convert_to_png, convertible
from selfsup_tf.data.decode import decode_image, describe_error, held_bits
from selfsup_tf.data.folder_layout import SUFFIXES, UNREAD, suffix_of
from selfsup_tf.data.lost import MAX_BAD_SHARE
from selfsup_tf.errors import InputError, check

_MANY = 10_000  # files, which take seconds
_LARGE = 1024  # height and width from which on most of a file is decoded for nothing
_PREPARED = 512  # what they are prepared at
_TIMED = 3  # files
logger = logging.getLogger("selfsup_tf")


@dataclasses.dataclass(frozen=True)
class ImageFiles:
    """What was found of a folder's files; each is named relative to the folder.

    Attributes:
        good: Those that can be read, sorted.
        reads: Path of what is read in place of a file that was converted.
        bad: Those that should be images and can't be read, and why.
        unread: Pictures of kinds that are not read.
        shapes: The sizes (H, W) of the good ones, turned upright if that was asked for.
        notes: What there is to say of them, in sentences.
    """

    good: list[str]
    reads: dict[str, str]
    bad: dict[str, str]
    unread: list[str]
    shapes: set[tuple[int, int]]
    notes: tuple[str, ...]


def check_files(
    root: pathlib.Path, found: Sequence[str], *, exif: bool, channels: int = 3
) -> ImageFiles:
    """Reads every image file once: what was found is kept, see `checked`.

    Args:
        root: The folder.
        found: All its files, sorted, relative to it.
        exif: Whether a photograph is turned upright.
        channels: Of the images; TIFF files alone have others than 1 or 3.

    Raises:
        InputError: There is no image, or over 5 % of the files are bad.
    """
    converted = convertible()
    suffixes = (*SUFFIXES, *sorted(converted))
    files = [file for file in found if suffix_of(file) in suffixes]
    others = [file for file in found if suffix_of(file) not in suffixes]
    check(
        bool(files),
        f"images ({', '.join(suffixes)}) in {root}",
        _count(others) if others else "no files",
        "Name the folder that holds them, or convert them.",
    )
    foreign = [file for file in files if suffix_of(file) in converted]
    reads, bad = convert_to_png(root, foreign, channels)
    if channels not in INTERCHANGEABLE:
        why = f"no TIFF, which alone has {counted(channels)}"
        bad |= {file: why for file in files if file not in foreign}
    here = os.fspath(root)  # joins twenty times as fast
    paths = {f: reads.get(f) or os.path.join(here, f) for f in files if f not in bad}
    checked = Checked(root, exif, channels)
    looks = {f: look for f, look in checked.known(paths).items() if _is_look(look)}
    new = [path for file, path in paths.items() if file not in looks]
    found = _decode_all(new, channels, exif=exif)
    looks |= {f: found[p] for f, p in paths.items() if isinstance(found.get(p), list)}
    if new:
        checked.keep({file: looks[file] for file in paths if file in looks})
    bad |= {file: found[path] for file, path in paths.items() if file not in looks}
    by_path = {paths[file]: look for file, look in looks.items()}
    depths = collections.Counter(bits for _, _, bits in looks.values())
    if len(bad) > MAX_BAD_SHARE * len(files):
        few = "; ".join(f"{file}: {bad[file]}" for file in sorted(bad)[:3])
        raise InputError(
            f"images in {root} that can be decoded",
            f"{len(bad)} bad of {len(files)} ({few})",
            "Mend or remove them; up to 5 % would be skipped.",
        )
    return ImageFiles(
        good=[file for file in files if file not in bad],
        reads=reads,
        bad=bad,
        unread=[file for file in others if suffix_of(file) in UNREAD],
        shapes={(height, width) for height, width, _ in looks.values()},
        notes=(
            *_beside(others),
            *_deep(depths),
            *_large(by_path, channels),
        ),
    )


def why_unreadable(path: str) -> str:
    """Why a file can't be decoded, in a few words."""
    try:
        contents = pathlib.Path(path).read_bytes()
        if not contents:
            return "empty file"
        decode_image(tf.constant(contents))
    except tf.errors.OpError as error:
        return describe_error(error)
    except OSError as error:
        return error.strerror
    return "it could not be read the first time"


def describe_unread(files: Sequence[str], root: pathlib.Path) -> Iterator[str]:
    """A line that counts the pictures of kinds that are not read, if there are any."""
    if not files:
        return
    counts = collections.Counter(map(suffix_of, files)).most_common()
    kinds = ", ".join(f"{count} {suffix}" for suffix, count in counts)
    total = "1 file" if len(files) == 1 else f"{len(files)} files"
    advice = "convert to PNG or JPEG"
    if any(suffix in (".heic", ".heif", ".hif", ".avif") for suffix, _ in counts):
        advice += ", or pip install pillow-heif, which reads HEIC"
    yield f"{total} not read: {kinds}, such as {root / files[0]}; {advice}"


def _decode_all(
    paths: list[str], channels: int, *, exif: bool
) -> dict[str, list[int] | str]:
    """Decodes all files.

    Returns:
        Of each file its height, width and `held_bits`; or why it can't be decoded.
    """
    if not paths:
        return {}
    if len(paths) >= _MANY:
        logger.info("Looking at %d files, once.", len(paths))
    names = tf.constant([os.fsencode(path) for path in paths], tf.string)

    @tf.autograph.experimental.do_not_convert
    def measure(position: tf.Tensor, path: tf.Tensor) -> tuple[tf.Tensor, ...]:
        contents = tf.io.read_file(path)
        shape = tf.shape(decode_channels(contents, channels, exif=exif))
        with tf.control_dependencies([shape]):  # what claims too much is not decoded
            return position, shape[:2], held_bits(contents)

    results = (
        tf.data.Dataset.from_tensor_slices(names)
        .enumerate()
        .map(measure, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False)
        .ignore_errors(log_warning=False)
        .batch(256)
    )
    found: dict[str, list[int] | str] = {}
    # None: where nobody watches there is no bar.
    options = {"unit": " files", "leave": False, "disable": None}
    with tqdm.tqdm(total=len(paths), desc="looking at", **options) as bar:
        for positions, shapes, bits in results.as_numpy_iterator():
            for n, shape, depth in zip(positions, shapes, bits, strict=True):
                found[paths[n]] = [*shape.tolist(), int(depth)]
            bar.update(len(positions))
    bad = [path for path in paths if path not in found]
    return found | {path: why_unreadable(path) for path in bad}


def _is_look(kept: Any) -> bool:
    """Whether it is what `_decode_all` gives, as a file might hold anything."""
    return isinstance(kept, list) and [type(part) for part in kept] == [int] * 3


def _beside(others: list[str]) -> Iterator[str]:
    """A sentence that counts the files that are no pictures, if there are any."""
    rest = [file for file in others if suffix_of(file) not in UNREAD]
    if rest:
        yield f"Left out, as no pictures: {_count(rest)}."


def _deep(depths: collections.Counter[int]) -> Iterator[str]:
    """A sentence on files of 16 bits, some of which hold fewer."""
    if set(depths) - {0, 16}:
        counts = (f"{depths[bits]} hold {bits}" for bits in sorted(depths) if bits)
        yield f"Of the files of 16 bits {', '.join(counts)}; each is scaled by its own."


def _large(looks: dict[str, list[int]], channels: int) -> Iterator[str]:
    """A sentence on images much larger than views, and what preparing them would do."""
    sides = {path: min(look[:2]) for path, look in looks.items()}
    large = sorted(path for path, side in sides.items() if side >= _LARGE)
    if 2 * len(large) <= len(sides) or channels not in INTERCHANGEABLE:
        return
    few = large[:: -(-len(large) // _TIMED)]
    typical = int(np.median(list(sides.values())))
    try:
        times = _speed_up(few)
    except tf.errors.OpError:  # a file has just vanished
        return
    yield (
        f"The shorter side of the images is {typical:,} pixels, and most of the time "
        f"will go into decoding them. Prepared once at {_PREPARED}, they are decoded "
        f"about {times:.0f} times as fast: train.py prepare --help"
    )


def _speed_up(paths: list[str]) -> float:
    """How many times as fast smaller images are decoded, as timed on these files."""
    seconds = np.zeros(2)
    for path in paths:
        contents = tf.io.read_file(path)
        image = decode_image(contents)
        share = _PREPARED / min(image.shape[:2])
        to = [max(1, round(share * side)) for side in image.shape[:2]]
        small = tf.cast(tf.image.resize(image, to, "area"), tf.uint8)
        for n, file in enumerate((contents, tf.io.encode_jpeg(small))):
            start = time.perf_counter()
            decode_image(file)
            seconds[n] += time.perf_counter() - start
    return seconds[0] / seconds[1]


def _count(files: list[str]) -> str:
    suffixes = sorted({suffix_of(file) or "no suffix" for file in files})
    what = "other file" if len(files) == 1 else "other files"
    return f"{len(files)} {what} ({', '.join(suffixes)})"
