"""TIFF, HEIC and AVIF files of a folder are read; what can't be is counted by kind."""

import io
import os
import sys

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from selfsup_tf.data import conversion
from selfsup_tf.data.decode import decode_image
from selfsup_tf.data.sources import open_source
from selfsup_tf.errors import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)
PICTURE = PIL.Image.fromarray(PIXELS)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "selfsup-tf" / "converted"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


def images_of(source):
    return [e["image"] for e in source.ordered().as_numpy_iterator()]


def as_tiff(image, **options):
    stream = io.BytesIO()
    image.save(stream, "TIFF", **options)
    return stream.getvalue()


TIFFS = {
    "rgb": (as_tiff(PICTURE), PIXELS),
    "lzw": (as_tiff(PICTURE, compression="tiff_lzw"), PIXELS),
    "grey": (as_tiff(PICTURE.convert("L")), np.asarray(PICTURE.convert("L"))),
    "black and white": (
        as_tiff(PICTURE.convert("1")),
        np.asarray(PICTURE.convert("1").convert("L")),
    ),
    "alpha": (
        as_tiff(PIL.Image.fromarray(np.dstack([PIXELS, PIXELS[..., 0]]))),
        PIXELS,
    ),
    "turned": (as_tiff(PICTURE, exif={274: 6}), np.rot90(PIXELS, -1)),
}


@pytest.mark.parametrize("name", TIFFS)
def test_tiff_is_read(folder, name):
    contents, expected = TIFFS[name]
    (folder / "a.tif").write_bytes(contents)
    (image,) = images_of(open_source(folder))
    expected = expected if expected.ndim == 3 else np.stack([expected] * 3, -1)
    np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_sixteen_bits_are_scaled_as_those_of_a_png(folder, byte_order):
    """12 bits of a sensor in 16 are no nearly black picture."""
    deep = np.random.default_rng(0).integers(0, 2**12, (12, 20), np.uint16)
    deep[0, 0] = 2**12 - 1
    image = PIL.Image.fromarray(deep.astype(f"{byte_order}u2"))
    (folder / "a.TIFF").write_bytes(as_tiff(image))
    source = open_source(folder)
    np.testing.assert_array_equal(images_of(source)[0][..., 0], deep >> 4)
    stream = io.BytesIO()
    PIL.Image.fromarray(deep).save(stream, "PNG")
    png = decode_image(tf.constant(stream.getvalue()))
    np.testing.assert_array_equal(images_of(source)[0], png)


def test_heic_and_avif_are_read(folder):
    heif = pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    heif.register_heif_opener()
    smooth = PIL.Image.fromarray(np.indices((64, 96)).sum(0).astype(np.uint8))
    smooth = smooth.convert("RGB")
    smooth.save(folder / "a.heic", quality=-1)  # without loss
    turned = PIL.Image.Exif()
    turned[274] = 6
    smooth.save(folder / "b.avif", exif=turned, quality=95)
    heic, avif = images_of(open_source(folder))
    np.testing.assert_array_equal(heic, np.asarray(smooth))
    assert avif.shape == (96, 64, 3)
    # Lossy: what a viewer shows, within its quality.
    shown = np.rot90(np.asarray(smooth), -1).astype(int)
    assert np.abs(avif.astype(int) - shown).mean() < 2


def test_without_the_extra_heic_is_counted_and_the_way_is_said(folder, monkeypatch):
    monkeypatch.setattr(conversion, "convertible", lambda: frozenset({".tif"}))
    monkeypatch.setattr("selfsup_tf.data.image_files.convertible", lambda: {".tif"})
    PICTURE.save(folder / "a.png")
    for name in ("b.heic", "c.HEIC", "d.avif"):
        (folder / name).touch()
    (line,) = open_source(folder).skipped
    assert line.startswith("3 files not read: 2 .heic, 1 .avif, such as ")
    assert "pip install pillow-heif" in line


def test_a_file_is_converted_once_and_again_when_it_changes(folder, cache, caplog):
    caplog.set_level("INFO", "selfsup_tf")
    (folder / "a.tif").write_bytes(as_tiff(PICTURE))
    first = open_source(folder)
    before = first.fingerprint
    (png,) = cache.iterdir()
    written = png.stat().st_mtime_ns
    open_source(folder)
    assert [png] == list(cache.iterdir()) and png.stat().st_mtime_ns == written
    assert caplog.text.count("Converting 1 files to PNG") == 1
    assert first.paths == (str(folder / "a.tif"),)
    darker = PIL.Image.fromarray(PIXELS // 2)
    (folder / "a.tif").write_bytes(as_tiff(darker))
    os.utime(folder / "a.tif", ns=(0, 0))
    second = open_source(folder)
    np.testing.assert_array_equal(images_of(second)[0], PIXELS // 2)
    assert second.fingerprint != before


def large():
    return as_tiff(PIL.Image.new("1", (2**13, 2**13 + 1)), compression="group4")


BAD = {
    "cut off": (as_tiff(PICTURE)[:200], "truncated|cut|read"),
    "no image": (b"II*\0 and nothing", "not a TIFF file"),
    "empty": (b"", "not a TIFF file"),
    "two pages": (
        as_tiff(PICTURE, save_all=True, append_images=[PICTURE]),
        "a TIFF of one page; received 2 pages",
    ),
    "floats": (as_tiff(PIL.Image.fromarray(np.ones((4, 4), np.float32))), "mode F"),
    "too large": (large(), "at most 67108864 pixels"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_is_named_with_its_reason(folder, name):
    for number in range(30):
        PICTURE.save(folder / f"{number:02}.png")
    contents, reason = BAD[name]
    (folder / "bad.tif").write_bytes(contents)
    source = open_source(folder)
    assert source.size == 30
    (line,) = source.skipped
    assert line.startswith(f"{folder / 'bad.tif'}: ")
    assert any(word in line for word in reason.split("|")), line


def test_a_full_disk_is_said(folder, monkeypatch):
    (folder / "a.tif").write_bytes(as_tiff(PICTURE))

    def full(*_, **__):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(PIL.Image.Image, "save", full)
    with pytest.raises(InputError, match="room for PNG files"):
        open_source(folder)


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes are Linux's")
def test_names_of_any_bytes_are_read(folder):
    path = os.fsencode(folder) + b"/gr\xfc\xdfe.tif"
    with open(path, "wb") as file:
        file.write(as_tiff(PICTURE))
    (image,) = images_of(open_source(folder))
    np.testing.assert_array_equal(image, PIXELS)


def test_a_folder_of_jpegs_needs_no_place_for_others(folder, monkeypatch):
    """Such as a container without a home."""
    PICTURE.save(folder / "a.jpg")

    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(conversion, "cache_folder", nowhere)
    assert open_source(folder).size == 1


def test_a_place_that_cannot_be_written_is_named_and_no_image_blamed(folder, tmp_path):
    (folder / "a.tif").write_bytes(as_tiff(PICTURE))
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(InputError, match=r"a folder to write to at .*XDG_CACHE_HOME"):
        open_source(folder)
