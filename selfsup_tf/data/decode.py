"""Decodes image files, after a check of the size that their headers claim."""

import functools
import re

import tensorflow as tf

from selfsup_tf.data.depth import held_by, to_bytes
from selfsup_tf.data.gif import keep_first_frame
from selfsup_tf.data.orientation import upright

MAX_PIXELS = 2**26
# Of a JPEG; encoders write 10 of a colour image. Each is a pass over the whole image
# for as little as 20 bytes.
MAX_SCANS = 100
# The marker and the length's high byte, which is 0: two bytes stand in what follows an
# image (a telephone's film, say) by chance.
_SCAN = b"\xff\xda\0"
_DEEP = b"\x10"  # in the header of a PNG: 16 bits a channel
# How lines begin that say where in a graph an error is.
_TRACE = ("Graph execution error", "Detected at node", "<stack traces", "  ")


def decode_image(
    contents: tf.Tensor, max_pixels: int = MAX_PIXELS, *, exif: bool = True
) -> tf.Tensor:
    """Decodes the contents of an image file, in a graph or eagerly.

    The format is told by the contents: JPEG, PNG, BMP, GIF (its first frame) or WebP.
    Grey, palettes, 16 bits a channel and CMYK become RGB of 8 bits. An alpha channel is
    dropped: a transparent pixel shows the colour that is stored beneath. A JPEG is
    turned upright, as its camera notes in EXIF.

    A PNG of 16 bits often holds fewer, such as the 12 of a sensor, and nothing in the
    file says so. Of the largest value of the image follows how many: 8, 10, 12, 14 or
    16, whichever is the least that holds it; the upper 8 of these are kept.

    The header's height and width are read first. A file of a few bytes can claim any
    size, and one of 50 kB can truly be 20,000 x 20,000; what claims more than
    `max_pixels` never reaches a decoder. Neither does a JPEG of more than `MAX_SCANS`
    scans, by which a few bytes could cost minutes.

    Args:
        contents: string ().
        max_pixels: The most pixels, H x W, that are decoded.
        exif: Whether the orientation of EXIF is applied.

    Returns:
        uint8 (H, W, 3).

    Raises:
        tf.errors.InvalidArgumentError: The contents are no image of these formats, are
            incomplete, claim more than `max_pixels` pixels, have too many scans, or are
            an animated WebP.
    """
    start = _start(contents)
    is_jpeg = tf.strings.substr(start, 0, 3) == b"\xff\xd8\xff"
    is_plain_png = _is_png(start) & ~_is_deep(start)
    image = tf.switch_case(
        tf.where(is_jpeg, 0, tf.where(is_plain_png, 1, 2)),
        [
            lambda: _decode_jpeg(contents, max_pixels, exif),
            lambda: _decode_png(contents, start, max_pixels),
            lambda: _decode_rare(contents, start, tf.constant(max_pixels, tf.int64)),
        ],
    )
    return tf.ensure_shape(image, (None, None, 3))


def describe_error(error: tf.errors.OpError) -> str:
    """The message of TensorFlow's error in one line, without the place in a graph."""
    message = re.sub(r"\{\{.*?\}\}|\s\[\[.*|\[Op:\w+\].*", "", error.message)
    lines = [line for line in message.splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(_TRACE)] or [str(error)]
    assertion = re.fullmatch(r"assertion failed: \[(.*)\]", said[0].strip())
    return assertion.group(1) if assertion else said[0].strip()


def _decode_jpeg(contents, max_pixels, exif):
    shape = tf.io.extract_jpeg_shape(contents)[:2]
    contents = _require_size(contents, shape, max_pixels)
    # One op, where comparing bytes would be several, as long as the file.
    parts = tf.raw_ops.StringSplitV2(
        input=[contents], sep=_SCAN, maxsplit=MAX_SCANS + 1
    )
    message = f"a JPEG of more than {MAX_SCANS} scans cannot be decoded"
    contents = _require(tf.size(parts.values) <= MAX_SCANS + 1, message, contents)
    image = tf.io.decode_image(contents, channels=3, expand_animations=False)
    return upright(image, contents) if exif else image


def held_bits(contents: tf.Tensor) -> tf.Tensor:
    """How many bits the values of a PNG of 16 take, int32 (); 0 of any other file.

    Args:
        contents: string (), of a file that `decode_image` decodes.
    """
    start = _start(contents)
    return tf.cond(
        _is_png(start) & _is_deep(start),
        lambda: held_by(tf.io.decode_png(contents, channels=3, dtype=tf.uint16)),
        lambda: 0,
    )


def _start(contents):
    # 64 bytes reach past every field of a header, of a shorter file too.
    return tf.strings.substr(contents, 0, 64) + tf.constant(b"\0" * 64)


def _is_png(start):
    return tf.strings.substr(start, 0, 4) == b"\x89PNG"


def _is_deep(start):
    return tf.strings.substr(start, 24, 1) == _DEEP


def _decode_png(contents, start, max_pixels):
    field = tf.strings.substr(start, 16, 8)
    sides = tf.io.decode_raw(field, tf.int32, little_endian=False)
    return _decode_bounded(contents, sides[::-1], max_pixels)


# A call: within the graph of every image it would cost time for each JPEG and PNG.
@tf.function(
    input_signature=[
        tf.TensorSpec((), tf.string),
        tf.TensorSpec((), tf.string),
        tf.TensorSpec((), tf.int64),
    ],
    autograph=False,
    experimental_attributes={"_noinline": True},
)
def _decode_rare(contents, start, max_pixels):
    header = tf.io.decode_raw(start, tf.uint8)[:64]
    is_bmp = tf.strings.substr(start, 0, 2) == b"BM"
    is_riff = tf.strings.substr(start, 0, 4) == b"RIFF"
    decoders = [
        (is_riff & (tf.strings.substr(start, 8, 4) == b"WEBP"), _decode_webp),
        (tf.strings.substr(start, 0, 4) == b"GIF8", _decode_gif),
        (is_bmp & (_number(header, 28, 2) == 8), _decode_palette_bmp),
        (is_bmp, _decode_bmp),
        (_is_png(start), _decode_deep_png),
        (True, _refuse),
    ]
    arguments = contents, header, max_pixels
    branches = [functools.partial(decode, *arguments) for _, decode in decoders]
    kind = tf.argmax(tf.cast([fits for fits, _ in decoders], tf.int32), 0, tf.int32)
    return tf.switch_case(kind, branches)


def _decode_deep_png(contents, header, max_pixels):
    sides = tf.reshape(header[16:24][::-1], (2, 4))  # the greatest byte stands first
    contents = _require_size(contents, tf.bitcast(sides, tf.int32), max_pixels)
    return to_bytes(tf.io.decode_png(contents, channels=3, dtype=tf.uint16))


def _decode_gif(contents, header, max_pixels):
    return _decode_bounded(*keep_first_frame(contents), max_pixels)


def _decode_bmp(contents, header, max_pixels):
    return _decode_bounded(contents, _bmp_shape(header), max_pixels)


def _decode_palette_bmp(contents, header, max_pixels):
    """A BMP of 8 bits a pixel, whose palette `tf.io.decode_bmp` overlooks."""
    contents = _require(
        _number(header, 30, 4) == 0, "a compressed BMP cannot be decoded", contents
    )
    contents = _require_size(contents, _bmp_shape(header), max_pixels)
    pixels = tf.io.decode_bmp(contents)[..., 0]
    first, last = 14 + _number(header, 14, 4), _number(header, 10, 4)
    colours = tf.strings.substr(contents, first, last - first)
    colours = tf.reshape(tf.io.decode_raw(colours, tf.uint8), (-1, 4))
    # Stored as blue, green, red, 0.
    return tf.gather(colours[:, 2::-1], tf.cast(pixels, tf.int32))


def _bmp_shape(header):
    """Height and width, (2,) int64; the height of an upright BMP is negative."""
    sides = tf.bitcast(tf.reshape(header[18:26], (2, 4)), tf.int32)
    return tf.abs(tf.cast(sides[::-1], tf.int64))


def _decode_webp(contents, header, max_pixels):
    def is_chunk(name):
        return tf.reduce_all(header[12:16] == list(name))

    # Three layouts: of a canvas, lossless and lossy.
    is_extended = is_chunk(b"VP8X")
    # TensorFlow 2.21 corrupts its memory on an animated WebP, so none reaches it.
    is_animated = is_extended & (header[20] // 2 % 2 == 1)
    contents = _require(~is_animated, "an animated WebP cannot be decoded", contents)
    canvas = [_number(header, offset, 3) + 1 for offset in (27, 24)]
    sides = _number(header, 21, 4)
    lossless = [sides // 2**14 % 2**14 + 1, sides % 2**14 + 1]
    lossy = [_number(header, offset, 2) % 2**14 for offset in (28, 26)]
    shape = tf.where(is_extended, canvas, tf.where(is_chunk(b"VP8L"), lossless, lossy))
    contents = _require_size(contents, shape, max_pixels)
    return tf.io.decode_webp(contents)[0, :, :, :3]


def _refuse(contents, header, max_pixels):
    message = "Unknown image file format: not JPEG, PNG, GIF, BMP or WebP"
    _require(False, message, contents)
    return tf.zeros((0, 0, 3), tf.uint8)


def _number(header: tf.Tensor, offset: int, size: int) -> tf.Tensor:
    """The number that stands in `size` bytes, the least first, int64 ()."""
    digits = tf.cast(header[offset : offset + size], tf.int64)
    return tf.reduce_sum(digits * [256**n for n in range(size)])


def _decode_bounded(contents: tf.Tensor, shape: tf.Tensor, max_pixels) -> tf.Tensor:
    """Decodes an image whose header claims `shape`, (height, width)."""
    contents = _require_size(contents, shape, max_pixels)
    return tf.io.decode_image(contents, channels=3, expand_animations=False)


def _require_size(contents: tf.Tensor, shape: tf.Tensor, max_pixels) -> tf.Tensor:
    """Returns `contents`; an error if `shape`, (height, width), has too many pixels."""
    shape = tf.cast(shape, tf.int64)
    height, width = tf.strings.as_string(shape[0]), tf.strings.as_string(shape[1])
    limit = tf.strings.as_string(max_pixels)
    message = ["expected an image of at most ", limit, " pixels; its header claims "]
    return _require(
        tf.reduce_prod(shape) <= max_pixels,
        tf.strings.join([*message, height, " x ", width, " (height x width)"]),
        contents,
    )


def _require(condition, message, contents: tf.Tensor) -> tf.Tensor:
    """Returns `contents`; an error with this message where the condition fails."""
    # One op, where tf.debugging.Assert is a branch.
    required = tf.raw_ops.Assert(condition=condition, data=[message], summarize=1)
    with tf.control_dependencies([required] if required is not None else []):
        return tf.identity(contents)
