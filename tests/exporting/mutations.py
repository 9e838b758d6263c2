"""Image files that are damaged, hostile or odd: the same ones for the same seed.

What a file's name begins with, after its number, says what a decoder owes it:

- fine: an image; anything else is a fault.
- huge: claims more pixels than a decoder may hold; an error.
- odd: an image of a rare kind, which a decoder may refuse.
- bad: damaged or no image; an error or, where the damage leaves an image, an image.
"""

import functools
import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import PIL.Image

HUGE = 20_000  # height and width that a header claims
WEBP_MOST = 16_383  # the most that VP8 and VP8L can say


@functools.cache
def mutated_files(count: int = 200, seed: int = 0) -> list[tuple[str, bytes]]:
    """Hand-made files first, then random damage to good ones.

    Args:
        count: How many; from 80 on the hand-made ones are all among them.
        seed: Of the random damage.

    Returns:
        Pairs of a name, unique and fit for a file, and the file's contents.
    """
    files = [*_fine_files(), *_huge_files(), *_odd_files(), *_bad_files()]
    bases = list(base_files().items())
    random = np.random.default_rng(seed)
    while len(files) < count:
        damage = _DAMAGES[len(files) % len(_DAMAGES)]
        name, contents = bases[random.integers(len(bases))]
        kind = damage.__name__.strip("_")
        files.append((f"bad_{kind}_{name}", damage(contents, random, bases)))
    return [(f"{n:03}_{name}", c) for n, (name, c) in enumerate(files[:count])]


def picture(height: int = 40, width: int = 56) -> np.ndarray:
    """Smooth colours with some noise, uint8 (height, width, 3)."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 9), np.cos(y / 7), np.sin((x + y) / 11)]
    noise = np.random.default_rng(1).normal(0, 6, (height, width, 3))
    return np.clip(127 + 90 * np.stack(waves, -1) + noise, 0, 255).astype(np.uint8)


def encode(image: np.ndarray | PIL.Image.Image, form: str, **options) -> bytes:
    """A file of the form (JPEG, PNG, ...) that Pillow writes."""
    file = io.BytesIO()
    if isinstance(image, np.ndarray):
        image = PIL.Image.fromarray(image)
    image.save(file, form, **options)
    return file.getvalue()


def base_files() -> dict[str, bytes]:
    """One good file of each form."""
    image = PIL.Image.fromarray(picture())
    return {
        "jpeg.jpg": encode(image, "JPEG", quality=90),
        "progressive.jpg": encode(image, "JPEG", quality=90, progressive=True),
        "rgb.png": encode(image, "PNG"),
        "palette.png": encode(image.quantize(32), "PNG"),
        "gif.gif": encode(image.quantize(32), "GIF"),
        "bmp.bmp": encode(image, "BMP"),
        "lossy.webp": encode(image, "WEBP", quality=90),
        "lossless.webp": encode(image, "WEBP", lossless=True),
    }


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *more) -> bytes:
    """A PNG file by hand, of any claim; `more` are chunks (kind, data) before IDAT."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *more, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data))
        + kind
        + data
        + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def jpeg_claiming(contents: bytes, height: int, width: int) -> bytes:
    """A JPEG file whose frame header says another size."""
    position = 2
    while contents[position + 1] not in (0xC0, 0xC1, 0xC2):
        position += 2 + struct.unpack_from(">H", contents, position + 2)[0]
    return _patch(contents, position + 5, struct.pack(">HH", height, width))


def jpeg_of_scans(scans: int, side: int) -> bytes:
    """A progressive grey JPEG whose last scan is repeated, small for what it costs."""
    grey = PIL.Image.new("L", (side, side), 90)
    contents = encode(grey, "JPEG", progressive=True)
    marker = b"\xff\xda\0"
    last = contents.rindex(b"\xff\xc4", 0, contents.rindex(marker))  # with its table
    more = scans - contents.count(marker)
    return contents[:-2] + contents[last:-2] * more + contents[-2:]


def gif_of_frames(frames: int, side: int) -> bytes:
    """An animation of equal one-coloured frames, small for what it decodes to."""
    blank = PIL.Image.new("P", (side, side))
    blank.putpalette([0, 0, 0, 255, 255, 255])
    contents = encode(blank, "GIF")
    start = contents.index(b"\x2c\0\0\0\0" + struct.pack("<HH", side, side))
    return contents[:start] + contents[start:-1] * frames + b"\x3b"


def _patch(contents: bytes, position: int, new: bytes) -> bytes:
    return contents[:position] + new + contents[position + len(new) :]


def _fine_files() -> Iterator[tuple[str, bytes]]:
    bases = base_files()
    for name, contents in bases.items():
        yield f"fine_{name}", contents
    for form in ("JPEG", "PNG", "GIF", "BMP", "WEBP"):
        yield f"fine_1x1.{form.lower()}", encode(picture(1, 1), form)
    image = PIL.Image.fromarray(picture())
    for mode in ("L", "LA", "RGBA", "1"):
        yield f"fine_{mode}.png", encode(image.convert(mode), "PNG")
    yield "fine_grey.jpg", encode(image.convert("L"), "JPEG")
    yield "fine_png_called.jpg", bases["rgb.png"]
    yield "fine_jpeg_called.png", bases["jpeg.jpg"]
    yield "fine_webp_called.txt", bases["lossy.webp"]
    yield "fine_tail.jpg", bases["jpeg.jpg"] + b"and more" * 99
    yield "fine_thin.png", encode(picture(1, 5000), "PNG")
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    yield "fine_turned.jpg", encode(image, "JPEG", exif=exif)


def _huge_files() -> Iterator[tuple[str, bytes]]:
    bases = base_files()
    for name in ("jpeg.jpg", "progressive.jpg"):
        yield f"huge_{name}", jpeg_claiming(bases[name], HUGE, HUGE)
    # A small frame header within a comment is none.
    decoy = b"\xff\xc0\0\x0b\x08\0\x10\0\x10\1\1\x11\0"
    comment = b"\xff\xfe" + struct.pack(">H", 2 + len(decoy)) + decoy
    lie = jpeg_claiming(bases["jpeg.jpg"], HUGE, HUGE)
    yield "huge_decoy.jpg", lie[:2] + comment + lie[2:]
    yield "huge_filled.jpg", lie[:2] + b"\xff" * 9 + lie[2:]
    yield "huge_claim.png", png(HUGE, HUGE, 8, 2, b"\0" * 100)
    yield "huge_claim_16_bits.png", png(HUGE, HUGE, 16, 6, b"\0" * 100)
    # This one is true: 50 MB of rows, 400 million pixels.
    yield "huge_truth.png", png(HUGE, HUGE, 1, 0, bytes(HUGE * (1 + HUGE // 8)))
    size = struct.pack("<HH", HUGE, HUGE)
    gif = bases["gif.gif"]
    frame = gif.index(b"\x2c\0\0\0\0" + gif[6:10])
    yield "huge_both.gif", _patch(_patch(gif, 6, size), frame + 5, size)
    yield "huge_frame.gif", _patch(gif, frame + 5, size)
    for name, sign in (("huge_claim.bmp", 1), ("huge_upside_down.bmp", -1)):
        size = struct.pack("<ii", HUGE, sign * HUGE)
        yield name, _patch(bases["bmp.bmp"], 18, size)
    size = struct.pack("<HH", WEBP_MOST, WEBP_MOST)
    yield "huge_lossy.webp", _patch(bases["lossy.webp"], 26, size)
    most = WEBP_MOST - 1
    size = struct.pack("<I", most | most << 14)
    yield "huge_lossless.webp", _patch(bases["lossless.webp"], 21, size)
    extended = encode(picture(), "WEBP", quality=90, exif=PIL.Image.Exif().tobytes())
    canvas = struct.pack("<I", HUGE - 1)[:3] * 2
    yield "huge_extended.webp", _patch(extended, 24, canvas)


def _odd_files() -> Iterator[tuple[str, bytes]]:
    image = PIL.Image.fromarray(picture())
    frames = [PIL.Image.fromarray(np.roll(picture(), n * 9, 1)) for n in range(3)]
    yield "odd_cmyk.jpg", encode(image.convert("CMYK"), "JPEG")
    deep = picture().astype(np.uint16) * 257
    yield "odd_grey_16_bits.png", encode(deep[..., 0], "PNG")
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
    yield "odd_rgb_16_bits.png", png(56, 40, 16, 2, rows)
    more = dict(save_all=True, append_images=frames[1:], duration=50)
    for form in ("GIF", "WEBP", "PNG"):
        yield f"odd_animated.{form.lower()}", encode(frames[0], form, **more)
    yield "odd_many_frames.gif", gif_of_frames(200, 2000)
    gif = base_files()["gif.gif"]
    yield "odd_huge_screen.gif", _patch(gif, 6, struct.pack("<HH", HUGE, HUGE))
    for mode in ("L", "1", "RGBA"):
        yield f"odd_{mode}.bmp", encode(image.convert(mode), "BMP")
    text = b"Comment\0\0" + zlib.compress(bytes(2**26))
    rows = b"".join(b"\0" + row.tobytes() for row in picture())
    yield "odd_text_bomb.png", png(56, 40, 8, 2, rows, (b"zTXt", text))
    for form in ("TIFF", "ICO", "PPM"):
        yield f"odd_{form}.{form.lower()}", encode(image, form)


def _bad_files() -> Iterator[tuple[str, bytes]]:
    bases = base_files()
    yield "bad_empty.jpg", b""
    yield "bad_one_byte.png", b"\x89"
    yield "bad_text.jpg", b"I am no image.\n" * 40
    yield "bad_page.png", b"<!DOCTYPE html><title>404</title>"
    yield "bad_drawing.svg", b'<svg xmlns="http://www.w3.org/2000/svg"/>'
    yield "bad_archive.zip", b"PK\5\6" + bytes(18)
    yield "bad_zeros.gif", bytes(5000)
    yield "bad_noise.bmp", np.random.default_rng(2).bytes(5000)
    for name, length in (("jpeg.jpg", 3), ("rgb.png", 8), ("gif.gif", 6)):
        yield f"bad_start_of_{name}", bases[name][:length]
    yield "bad_start_of_bmp.bmp", b"BM"
    yield "bad_start_of_lossy.webp", bases["lossy.webp"][:12]
    extended = encode(picture(), "WEBP", quality=90, exif=PIL.Image.Exif().tobytes())
    inner = struct.pack("<HH", WEBP_MOST, WEBP_MOST)
    yield (
        "bad_beyond_canvas.webp",
        _patch(extended, extended.index(b"VP8 ") + 14, inner),
    )
    more = dict(save_all=True, append_images=[PIL.Image.new("RGB", (56, 40))])
    animated = encode(PIL.Image.fromarray(picture()), "WEBP", **more)
    yield "bad_unsaid_animation.webp", _patch(animated, 20, b"\0")
    yield "bad_no_pixels.png", png(0, 0, 8, 2, b"")
    yield "bad_negative.png", png(2**31, 2**31, 8, 2, b"")
    yield "bad_product_wraps.png", png(2**16, 2**16, 8, 2, b"")
    yield "bad_no_height.jpg", jpeg_claiming(bases["jpeg.jpg"], 0, 56)
    yield "bad_scans.jpg", jpeg_of_scans(600, 2000)
    yield "bad_frame_without_end.gif", bases["gif.gif"][:-200]


def _truncated(contents, random, bases):
    return contents[: random.integers(1, len(contents))]


def _flipped(contents, random, bases):
    bits = np.unpackbits(np.frombuffer(contents, np.uint8))
    bits[random.integers(len(bits), size=random.integers(1, 30))] ^= 1
    return np.packbits(bits).tobytes()


def _flipped_header(contents, random, bases):
    return _flipped(contents[:64], random, bases) + contents[64:]


def _blanked(contents, random, bases):
    first, last = sorted(random.integers(len(contents), size=2))
    return contents[:first] + bytes(last - first) + contents[last:]


def _shortened(contents, random, bases):
    first, last = sorted(random.integers(len(contents), size=2))
    return contents[:first] + contents[last:]


def _repeated(contents, random, bases):
    first, last = sorted(random.integers(len(contents), size=2))
    return contents[:last] + contents[first:]


def _joined(contents, random, bases):
    other = bases[random.integers(len(bases))][1]
    return (
        contents[: random.integers(len(contents))]
        + other[random.integers(len(other)) :]
    )


_DAMAGES = (
    _truncated,
    _flipped,
    _flipped_header,
    _blanked,
    _shortened,
    _repeated,
    _joined,
)
