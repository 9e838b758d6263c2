"""TIFF, HEIC and AVIF files as PNG files, since TensorFlow decodes no such files."""

import concurrent.futures
import contextlib
import functools
import hashlib
import importlib.util
import logging
import os
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
import PIL.Image
import PIL.ImageOps

from selfsup_tf.data.decode import MAX_PIXELS
from selfsup_tf.errors import InputError
from selfsup_tf.files import enough_room, whole_file

logger = logging.getLogger("selfsup_tf")

_FORMATS = {
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIF"),
    ".avif": "AVIF",
}
_MISNAMED = ("JPEG", "PNG")  # what such a file turns out to be at times
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


def cache_folder() -> pathlib.Path:
    """Where converted files are kept: selfsup-tf/converted in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(cache) / "selfsup-tf" / "converted"


def convert_to_png(
    root: pathlib.Path, files: Sequence[str], cache: pathlib.Path | None = None
) -> tuple[dict[str, str], dict[str, str]]:
    """Converts files to PNG, each once: it is known again by its size and time.

    Grey of 16 bits keeps them, as what it holds may be less (`held_bits`); every other
    image becomes RGB of 8 bits. All are turned upright.

    Args:
        root: The folder that the files lie in.
        files: Relative to it; their suffixes are among `convertible`.
        cache: Where the PNG files are kept; None is `cache_folder`.

    Returns:
        The path of the PNG file of each; and why there is none, for the others.

    Raises:
        InputError: The folder of the PNG files can't be made or written, or is full.
    """
    if not files:
        return {}, {}
    cache = cache or cache_folder()
    pngs = {file: cache / f"{_key(root / file)}.png" for file in files}
    new = [file for file in files if not pngs[file].is_file()]
    failed: dict[str, str] = {}
    if new:
        logger.info("Converting %d files to PNG in %s, once.", len(new), cache)
        with _written(cache), concurrent.futures.ThreadPoolExecutor() as threads:
            whys = threads.map(lambda file: _convert(root / file, pngs[file]), new)
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


def _key(path: pathlib.Path) -> str:
    """A name for a file as it is now."""
    try:
        stat = os.stat(path)
    except OSError:
        return "gone"
    told = os.path.abspath(path), stat.st_size, stat.st_mtime_ns
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
        return f"not a {form} file, whatever its name says"
    except OSError as error:
        return " ".join(str(error).split()) or type(error).__name__
    except Exception as error:  # a decoder's own way to say that a file is broken
        return f"{type(error).__name__}: {error}"
    with whole_file(png) as beside:
        image.save(beside, "PNG", compress_level=1)
    return None


def _check(image: PIL.Image.Image) -> None:
    """Raises InputError of an image that is not one picture of a usual kind."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise InputError(
            f"at most {MAX_PIXELS} pixels",
            f"{height} x {width} (height x width)",
            "Make it smaller.",
        )
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
