"""examples/edge: files become the pixels and views that the encoder is served with."""

import re
import struct

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from artefacts import EXAMPLES, load
from mutations import encode, jpeg_of_scans, mutated_files, picture

from selfsup_tf.data.decode import decode_image
from selfsup_tf.data.sources import open_source
from selfsup_tf.data.views import evaluation_view

edge = load(EXAMPLES / "edge" / "encoder.py")


@pytest.mark.parametrize("size", [16, 32, 33, 96, 224])
def test_the_view_is_that_of_the_evaluation(size):
    random = np.random.default_rng(size)
    # TensorFlow keeps places in an image in float32. An error there of 2 ** -23 of the
    # side shifts the filter, which spans S times less, by S * 2 ** -23 of its width;
    # where it falls from 1 to 0 in half of that, a sum of weights moves by as much
    # times the filter's total variation, below 3.
    tolerance = 4 * size * 2**-23
    # 12 and 36 pixels are cropped to 10.5 and 31.5, which are rounded to even.
    shapes = (1, 1), (1, 7), (12, 40), (36, 50), (32, 32), (60, 44), (333, 500)
    for height, width in shapes:
        image = random.integers(0, 256, (height, width, 3), np.uint8)
        received = edge.evaluation_view(PIL.Image.fromarray(image), size)
        correct = evaluation_view(tf.constant(image), size).numpy()
        np.testing.assert_allclose(received, correct, rtol=0, atol=tolerance)
        assert received.dtype == np.float32


def readable_files():
    chosen = re.compile(r"\d+_(fine_|odd_(cmyk|grey_16|rgb_16|animated.gif|L.bmp))")
    return {name: c for name, c in mutated_files() if chosen.match(name)}


@pytest.mark.parametrize("name", readable_files())
def test_a_file_is_read_as_it_is_served(tmp_path, name):
    contents = readable_files()[name]
    path = tmp_path / name
    path.write_bytes(contents)
    received = np.asarray(edge.read_image(path)).astype(int)
    correct = decode_image(tf.constant(contents)).numpy()
    assert received.shape == correct.shape
    # TensorFlow takes the quick inverse cosine transform of libjpeg, Pillow the exact.
    levels = 5 if contents.startswith(b"\xff\xd8") else 0
    assert np.abs(received - correct).max() <= levels


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("orientation", range(10))
def test_a_photograph_is_turned_as_it_is_served(tmp_path, orientation, endian):
    exif = PIL.Image.Exif()
    exif.endian = endian
    exif[0x010F], exif[0x0112] = "a camera", orientation
    # Grey squares as large as JPEG's own, of which decoders disagree by a rounding.
    grey = np.random.default_rng(0).integers(0, 256, (5, 7), np.uint8)
    squares = PIL.Image.fromarray(grey.repeat(8, 0).repeat(8, 1)).convert("RGB")
    contents = encode(squares, "JPEG", exif=exif.tobytes(), quality=95)
    (tmp_path / "a.jpg").write_bytes(contents)
    for turned in (True, False):
        received = np.asarray(edge.read_image(tmp_path / "a.jpg", exif=turned))
        served = decode_image(tf.constant(contents), exif=turned).numpy()
        assert received.shape == served.shape
        assert np.abs(received.astype(int) - served).max() <= 1


def test_grey_of_fewer_bits_in_16_is_scaled_as_it_is_served(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 2**12, (9, 8), np.uint16)
    pixels[0, 0] = 2**12 - 1
    PIL.Image.fromarray(pixels).save(tmp_path / "a.png")
    served = decode_image(tf.constant((tmp_path / "a.png").read_bytes()))
    np.testing.assert_array_equal(edge.read_image(tmp_path / "a.png"), served)


@pytest.mark.parametrize("suffix", [".tif", ".avif", ".heic"])
def test_what_a_folder_converts_is_read_alike(tmp_path, monkeypatch, suffix):
    """Training reads these kinds through PNG files of its own."""
    if suffix == ".heic":
        heif = pytest.importorskip("pillow_heif", reason="it reads HEIC")
        heif.register_heif_opener()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "photos").mkdir()
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "photos" / f"a{suffix}"
    PIL.Image.fromarray(picture()).save(path, exif=exif)
    upright = (40, 56, 3) if suffix == ".heic" else (56, 40, 3)  # HEIF heeds no EXIF
    (element,) = open_source(tmp_path / "photos").ordered().as_numpy_iterator()
    assert element["image"].shape == upright
    np.testing.assert_array_equal(edge.read_image(path), element["image"])


def test_tiffs_that_are_no_single_picture_are_refused(tmp_path):
    page = PIL.Image.fromarray(picture())
    page.save(tmp_path / "a.tif", save_all=True, append_images=[page])
    with pytest.raises(edge.Problem, match="a TIFF of 2 pages"):
        edge.read_image(tmp_path / "a.tif")
    PIL.Image.fromarray(np.ones((9, 8), np.float32)).save(tmp_path / "b.tif")
    with pytest.raises(edge.Problem, match="a TIFF of 32 bits"):
        edge.read_image(tmp_path / "b.tif")


def test_grey_of_16_bits_keeps_its_high_bits(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 2**16, (9, 8), np.uint16)
    PIL.Image.fromarray(pixels).save(tmp_path / "a.png")
    received = np.asarray(edge.read_image(tmp_path / "a.png"))
    np.testing.assert_array_equal(received, np.stack([pixels >> 8] * 3, axis=-1))


def test_transparent_pixels_show_what_is_stored(tmp_path):
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (9, 8, 4), np.uint8)
    PIL.Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(edge.read_image(tmp_path / "a.png"), pixels[..., :3])


@pytest.mark.parametrize("screen", [(56, 40), (80, 70)])
def test_a_gif_is_its_first_frame(tmp_path, screen):
    """Of a larger screen too, and black where it is transparent."""
    image = PIL.Image.fromarray(picture()).quantize(16)
    contents = bytearray(encode(image, "GIF", transparency=3))
    contents[6:10] = struct.pack("<HH", *screen)
    (tmp_path / "a.gif").write_bytes(contents)
    received = np.asarray(edge.read_image(tmp_path / "a.gif"))
    served = decode_image(tf.constant(bytes(contents)))
    np.testing.assert_array_equal(received, served)


def test_a_header_is_refused_before_its_image_is_decoded(tmp_path, monkeypatch):
    PIL.Image.new("1", (8193, 8192)).save(tmp_path / "large.png")
    PIL.Image.new("1", (2**16, 1)).save(tmp_path / "long.png")
    monkeypatch.setattr(PIL.Image.Image, "load", lambda image: pytest.fail("decoded"))
    with pytest.raises(edge.Problem, match="8193 x 8192 pixels; expected at most 67"):
        edge.read_image(tmp_path / "large.png")
    with pytest.raises(edge.Problem, match="65,535 a side"):
        edge.read_image(tmp_path / "long.png")


def test_a_jpeg_of_endless_scans_is_refused(tmp_path, monkeypatch):
    (tmp_path / "100.jpg").write_bytes(jpeg_of_scans(100, 9))
    assert edge.read_image(tmp_path / "100.jpg").size == (9, 9)
    (tmp_path / "101.jpg").write_bytes(jpeg_of_scans(101, 9))
    monkeypatch.setattr(PIL.Image.Image, "load", lambda image: pytest.fail("decoded"))
    with pytest.raises(edge.Problem, match="a JPEG of more than 100 scans"):
        edge.read_image(tmp_path / "101.jpg")
