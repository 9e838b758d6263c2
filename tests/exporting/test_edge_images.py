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
