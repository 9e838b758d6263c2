"""A TFLite encoder and what it is fed with: image files as views.

    from encoder import Encoder, evaluation_view, read_image

    encoder = Encoder("encoder_int8.tflite")
    view = evaluation_view(read_image("photo.jpg"), *encoder.takes)
    h = encoder(view[None])[0]

Needs ai-edge-litert, numpy and pillow. Legend: N images, S height and width of the
encoder's input, D length of the representation h, C classes.
"""

import contextlib
import hashlib
import io
import os
import pathlib
import zipfile

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps, UnidentifiedImageError

with contextlib.suppress(ImportError):  # pip install pillow-heif, for HEIC
    import pillow_heif

    pillow_heif.register_heif_opener()
Image.init()
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "HEIF", "AVIF")
FORMATS = tuple(form for form in FORMATS if form in Image.OPEN)  # which Pillow reads
MAX_PIXELS = 2**26  # of one image: 67 million, about 550 MB while it is resized
MAX_SIDE = 2**16 - 1  # of one image, in pixels: JPEG's own limit
MAX_SCANS = 100  # of a JPEG; encoders write 10. Each is a pass over the whole image
_HELD = (8, 10, 12, 14, 16)  # bits that cameras and scanners give, in 16
_TURNS = {  # by the values of EXIF's tag 274
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SCAN = b"\xff\xda\0"  # the marker, and the high byte of a length that is below 256


class Problem(Exception):
    """Something given can't be used; the message is all that is shown."""


class Encoder:
    """A TFLite file that turns images into representations.

    Attributes:
        sha256: Of the file, by which an index knows its encoder.
        size: S.
        batch: How many images a call takes; None where that is free.
        class_names: The C classes that `classify` tells apart, numbers where the file
            does not name them; None of a file without a classifier.

    Args:
        path: The file; its inputs may be float32 or quantised, and so may its outputs.
        num_threads: How many cores to use; None leaves it to the runtime.

    Raises:
        Problem: No TFLite file of an encoder.
    """

    def __init__(self, path: str, num_threads: int | None = None):
        try:
            contents = pathlib.Path(path).read_bytes()
            interpreter = Interpreter(model_content=contents, num_threads=num_threads)
            self._runner = interpreter.get_signature_runner()
            ((self._input_name, self._input),) = (
                self._runner.get_input_details().items()
            )
            self._outputs = self._runner.get_output_details()
            _ = self._outputs["representation"]  # a KeyError where it is no encoder
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise Problem(
                f"expected the TFLite file of an encoder; received {path} ({error}). "
                "Take one that export.py has written."
            ) from error
        self.sha256 = hashlib.sha256(contents).hexdigest()
        shape = (int(n) for n in self._input["shape_signature"])
        batch, self.size, _, channels = shape
        if channels not in (1, 3):
            raise Problem(
                f"expected an encoder of grey images or RGB; received {path}, of "
                f"{channels} channels. Call it with arrays, as its model card says."
            )
        self.takes = self.size, channels
        self.batch = batch if batch > 0 else None
        self.class_names = None
        if "probabilities" in self._outputs:
            count = int(self._outputs["probabilities"]["shape"][-1])
            names = read_class_names(contents)
            self.class_names = names or tuple(map(str, range(count)))

    def __call__(self, views: np.ndarray) -> np.ndarray:
        """h, (N, D) float32, of views (N, S, S, channels) float32 in [0, 1]."""
        return self._call(views, "representation")

    def classify(self, views: np.ndarray) -> np.ndarray:
        """Probabilities of the classes, (N, C) float32, of views as above.

        Raises:
            Problem: The file has no classifier.
        """
        self.require_classifier()
        return self._call(views, "probabilities")

    def require_classifier(self) -> None:
        """Raises Problem unless the file has a classifier."""
        if self.class_names is None:
            raise Problem(
                "expected a file with a classifier; received one without. Export it "
                "from a fine-tuned run, or with --classifier=linear."
            )

    def _call(self, views: np.ndarray, output: str) -> np.ndarray:
        count = self.batch or len(views)
        parts = [
            self._call_once(views[start : start + count], output)
            for start in range(0, len(views), count)
        ]
        return np.concatenate(parts)

    def _call_once(self, views: np.ndarray, output: str) -> np.ndarray:
        missing = (self.batch or len(views)) - len(views)
        padded = np.concatenate([views, np.zeros((missing, *views.shape[1:]), "f4")])
        images = quantise(padded, self._input)
        numbers = self._runner(**{self._input_name: images})[output]
        return dequantise(numbers, self._outputs[output])[: len(views)]


def read_class_names(contents: bytes) -> tuple[str, ...] | None:
    """The names of the classes, in a zip archive at the end of a TFLite file."""
    try:
        with zipfile.ZipFile(io.BytesIO(contents)) as archive:
            return tuple(archive.read("labels.txt").decode().split("\n"))
    except (zipfile.BadZipFile, KeyError, ValueError):  # damaged, or none
        return None


def quantise(views: np.ndarray, details: dict) -> np.ndarray:
    """Views in [0, 1] as the numbers that an input expects.

    Args:
        views: float32, of any shape.
        details: The runtime's description of the input. Integers without a scale
            are pixels, 0 to 255.
    """
    if not np.issubdtype(details["dtype"], np.integer):
        return views.astype(details["dtype"])
    scale, zero_point = details["quantization"]
    limits = np.iinfo(details["dtype"])
    numbers = np.round(views / (scale or 1 / 255)) + zero_point
    return np.clip(numbers, limits.min, limits.max).astype(details["dtype"])


def dequantise(numbers: np.ndarray, details: dict) -> np.ndarray:
    """The numbers of an output as float32; the inverse of `quantise`."""
    scale, zero_point = details["quantization"]
    if not scale:
        return numbers.astype(np.float32)
    return (numbers.astype(np.float32) - zero_point) * np.float32(scale)


def read_image(path: str | os.PathLike, *, exif: bool = True) -> Image.Image:
    """The image of a file, told by its contents, as RGB of 8 bits a channel.

    Of a GIF the first frame without the screen around it, black where transparent; of
    another animation the first frame; of transparent pixels the colours stored beneath.
    A photograph is turned upright as its camera notes in EXIF. Of 16 bits of grey the
    upper 8 are kept of the fewest, 8, 10, 12, 14 or 16, that hold the largest value.
    All this is as the encoder was trained, and as its SavedModel reads files (which
    takes the first five formats alone, and no animated WebP).

    Args:
        path: The file.
        exif: Whether a JPEG is turned; False for an encoder of a run with --exif=False.

    Raises:
        Problem: No readable image, or one whose header claims too many pixels or that
            has too many scans; those are not decoded.
    """
    if os.path.isdir(path):
        raise Problem("a folder")
    if not os.path.isfile(path):
        raise Problem("no such file")
    try:
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
                raise Problem(
                    f"{width} x {height} pixels; expected at most {MAX_PIXELS:,} and "
                    f"{MAX_SIDE:,} a side"
                )
            # MPO is what Pillow calls a JPEG with more images behind it.
            if image.format in ("JPEG", "MPO") and _count_scans(path) > MAX_SCANS:
                raise Problem(f"a JPEG of more than {MAX_SCANS} scans")
            if image.format == "TIFF" and image.n_frames > 1:
                raise Problem(f"a TIFF of {image.n_frames} pages; expected one")
            if image.format == "TIFF" and image.mode in ("F", "I"):
                raise Problem("a TIFF of 32 bits; expected 8 or 16")
            image.load()
            return _as_rgb(_upright(image, exif))
    except Problem:
        raise
    except Image.DecompressionBombError as error:
        # Pillow's own limit, which lies higher.
        raise Problem(f"expected at most {MAX_PIXELS:,} pixels ({error})") from error
    except UnidentifiedImageError as error:
        raise Problem(f"no {', '.join(FORMATS)}, or broken at its start") from error
    except Exception as error:
        # Pillow's parsers raise a dozen types on broken files; each means the same.
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise Problem(f"no readable image ({reason})") from error


def _count_scans(path: str | os.PathLike) -> int:
    count, end = 0, b""
    with open(path, "rb") as file:
        while block := file.read(2**20):
            count += (end + block).count(_SCAN)
            end = block[1 - len(_SCAN) :]
    return count


def _upright(image: Image.Image, exif: bool) -> Image.Image:
    if image.format in ("JPEG", "MPO"):
        notes = Image.Exif()
        with contextlib.suppress(Exception):  # broken notes say nothing
            notes.load(image.info.get("exif"))
        turn = _TURNS.get(notes.get(0x0112)) if exif else None
        return image if turn is None else image.transpose(turn)
    if image.format in ("TIFF", "HEIF", "AVIF"):
        return ImageOps.exif_transpose(image)
    return image


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # Grey of 16 bits: Pillow's own conversion clips what is above 255.
        values = np.asarray(image).astype(np.uint16)
        bits = next(bits for bits in _HELD if values.max() < 2**bits)
        return Image.fromarray((values >> (bits - 8)).astype("u1")).convert("RGB")
    if image.format == "GIF":
        layer = image.crop(image.dispose_extent).convert("RGBA")
        black = Image.new("RGB", layer.size)
        black.paste(layer, mask=layer.getchannel("A"))
        return black
    image.info.pop("transparency", None)  # which would only make Pillow warn
    return image.convert("RGB")


def evaluation_view(image: Image.Image, size: int, channels: int = 3) -> np.ndarray:
    """What an encoder sees of an image: the view that it was evaluated with.

    Above 32 pixels: the central square of 87.5 % of the shorter side, resized; up to 32
    pixels: the whole image, resized.

    Args:
        image: RGB.
        size: S.
        channels: 3, or 1 for its grey.

    Returns:
        (S, S, channels) float32 in [0, 1].
    """
    image = image if channels == 3 else image.convert("L")
    if size > 32:
        width, height = image.size
        side = max(round(0.875 * min(width, height)), 1)
        left, top = (width - side + 1) // 2, (height - side + 1) // 2
        image = image.crop((left, top, left + side, top + side))
    # Channels as floats, one after the other: Pillow would round each pass to 8 bits.
    planes = [
        plane.convert("F").resize((size, size), Image.Resampling.BICUBIC)
        for plane in image.split()
    ]
    return np.clip(np.stack(planes, axis=-1) / np.float32(255), 0, 1)
