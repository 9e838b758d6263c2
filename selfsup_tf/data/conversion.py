"""TIFF, HEIC and AVIF files as PNG files, since TensorFlow decodes no such files.

A PNG holds one, three or four channels: a TIFF of other numbers becomes a grey one with
its channels below each other, see `channels.planes`.
"""

import concurrent.futures
import contextlib
import functools
import hashlib
import importlib.util
import logging
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps

from selfsup_tf.commands import installing
from selfsup_tf.data.channels import INTERCHANGEABLE, counted, planes
from selfsup_tf.data.decode import MAX_PIXELS
from selfsup_tf.data.depth import as_bytes
from selfsup_tf.errors import InputError, check
from selfsup_tf.files import cache_folder, enough_room, state_of, whole_file

logger = logging.getLogger("selfsup_tf")

_FORMATS = {
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIF"),
    ".avif": "AVIF",
}
_MISNAMED = ("JPEG", "PNG")  # what such a file turns out to be at times
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # how one begins
_EXTRA = "pillow_heif"  # reads HEIF, and AVIF where Pillow is built without
_DEEP = ("I;16", "I;16L", "I;16B")  # Pillow's modes of grey in 16 bits
_PLAIN = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB")


def convertible() -> frozenset[str]:
    """The suffixes that are converted: those of TIFF, and what this Pillow reads."""
    formats = _register()
    return frozenset(suffix for suffix, form in _FORMATS.items() if form in formats)


@functools.cache
def _register() -> frozenset[str]:
    """The formats that can be read here, once the extra has been told to Pillow."""
    PIL.Image.init()
    if importlib.util.find_spec(_EXTRA):
        import pillow_heif

        pillow_heif.register_heif_opener()
    return frozenset(PIL.Image.OPEN)


def convert_to_png(
    root: pathlib.Path,
    files: Sequence[str],
    channels: int = 3,
    cache: pathlib.Path | None = None,
) -> tuple[dict[str, str], dict[str, str]]:
    """Converts files to PNG, each once: it is known again by its size and time.

    Grey of 16 bits keeps them, as what it holds may be less (`held_bits`); every other
    image becomes RGB of 8 bits. All are turned upright. Of other channels than 1 and 3
    a TIFF's are read as they are, by tifffile, which the extra "tiff" brings.

    Args:
        root: The folder that the files lie in.
        files: Relative to it; their suffixes are among `convertible`.
        channels: How many the images have to have.
        cache: Where the PNG files are kept; None is converted/ of `cache_folder`.

    Returns:
        The path of the PNG file of each; and why there is none, for the others.

    Raises:
        InputError: The folder of the PNG files can't be made or written, or is full;
            or tifffile is needed and missing.
    """
    if not files:
        return {}, {}
    cache, convert, told = cache or cache_folder("converted"), _convert, []
    if channels not in INTERCHANGEABLE:
        _check_tifffile(channels)
        convert, told = functools.partial(_stack, channels=channels), [channels]
    pngs = {file: cache / f"{_key(root / file, *told)}.png" for file in files}
    new = [file for file in files if not pngs[file].is_file()]
    failed: dict[str, str] = {}
    if new:
        logger.info("Converting %d files to PNG in %s, once.", len(new), cache)
        with _written(cache), concurrent.futures.ThreadPoolExecutor() as threads:
            whys = threads.map(lambda file: convert(root / file, pngs[file]), new)
            failed = {f: why for f, why in zip(new, whys, strict=True) if why}
    return {f: str(png) for f, png in pngs.items() if f not in failed}, failed


@contextlib.contextmanager
def _written(cache: pathlib.Path) -> Iterator[None]:
    """Makes the folder; one message says what is wrong with it, not with the images."""
    advice = "Name another by the environment's XDG_CACHE_HOME."
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with enough_room(cache, "room for PNG files", "Those that are done are kept."):
            yield
    except OSError as error:
        raise InputError(
            f"a folder to write to at {cache}", str(error), advice
        ) from error


def _key(path: pathlib.Path, *told: int) -> str:
    """A name for a file as it is now, and for how it is read."""
    state = state_of(path)
    if state is None:
        return "gone"
    told = os.path.abspath(path), *state, *told
    return hashlib.sha256(repr(told).encode(errors="surrogateescape")).hexdigest()


def _convert(path: pathlib.Path, png: pathlib.Path) -> str | None:
    """Converts one file; why not, in a few words, where that can't be."""
    form = _FORMATS[path.suffix.lower()]
    _register()
    try:
        with PIL.Image.open(path, formats=(form, *_MISNAMED)) as image:
            _check(image)
            image = PIL.ImageOps.exif_transpose(image)
            if image.mode in _DEEP:  # of either byte order
                image = PIL.Image.fromarray(np.asarray(image).astype(np.uint16))
            else:
                image = image.convert("RGB")
            image.load()  # what follows is no fault of the image
    except InputError as error:
        return str(error)
    except PIL.UnidentifiedImageError:
        if form == "TIFF" and path.read_bytes()[:4] in _TIFF:
            return "not a TIFF file that Pillow reads; --channels=N reads those of N"
        return f"not a {form} file, whatever its name says"
    except OSError as error:
        return " ".join(str(error).split()) or type(error).__name__
    except Exception as error:  # a decoder's own way to say that a file is broken
        return f"{type(error).__name__}: {error}"
    with whole_file(png) as beside:
        image.save(beside, "PNG", compress_level=1)
    return None


def _check_tifffile(channels: int) -> None:
    check(
        importlib.util.find_spec("tifffile") is not None,
        f"tifffile, which reads TIFF files of {counted(channels)}",
        "no such package",
        installing("tiff"),
    )


def _stack(path: pathlib.Path, png: pathlib.Path, channels: int) -> str | None:
    """Converts a TIFF of so many channels; why not, where that can't be."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            image = _read_series(file.series[0], channels)
        pixels = as_bytes(image[np.newaxis])[0]
    except InputError as error:
        return str(error)
    except Exception as error:  # a decoder's own way to say that a file is broken
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    with whole_file(png) as beside:
        PIL.Image.fromarray(planes(pixels)).save(beside, "PNG", compress_level=1)
    return None


def _read_series(series: Any, channels: int) -> np.ndarray:
    """The image of a TIFF, (H, W, channels), in whichever order it has them."""
    sides = dict(zip(series.axes, series.shape, strict=True))
    others = [axis for axis in series.axes if axis not in "YX" and sides[axis] > 1]
    found = sides[others[0]] if others else 1
    check(
        {"Y", "X"} <= sides.keys() and len(others) <= 1 and found == channels,
        f"a TIFF of {counted(channels)}",
        f"one of the shape {tuple(series.shape)}, {series.axes}",
        f"Use --channels={found}." if len(others) == 1 else "Write each as a file.",
    )
    _check_size(sides["Y"], sides["X"], channels)
    check(
        series.dtype in (np.uint8, np.uint16) or series.dtype.kind == "f",
        "8 or 16 bits a channel, or floats in [0, 1]",
        str(series.dtype),
        "Convert it to 16 bits.",
    )
    image = series.asarray().squeeze()
    axis = series.axes.index(others[0])
    axis -= sum(sides[a] == 1 for a in series.axes[:axis])
    return np.moveaxis(image, axis, -1)


def _check_size(height: int, width: int, channels: int = 1) -> None:
    if height * width * channels > MAX_PIXELS:
        raise InputError(
            f"at most {MAX_PIXELS // channels} pixels",
            f"{height} x {width} (height x width)",
            "Make it smaller.",
        )


def _check(image: PIL.Image.Image) -> None:
    """Raises InputError of an image that is not one picture of a usual kind."""
    _check_size(*image.size[::-1])
    pages = getattr(image, "n_frames", 1)
    if image.format == "TIFF" and pages > 1:
        raise InputError(
            "a TIFF of one page", f"{pages} pages", "Write each as a file."
        )
    if image.mode not in (*_DEEP, *_PLAIN):
        raise InputError(
            "8 or 16 bits a channel",
            f"a {image.format} that Pillow reads as mode {image.mode}",
            "Convert it to 16 bits.",
        )
