"""Files whose headers lie, animations that explode, damage: refused or decoded."""

import importlib.util
import pathlib
import struct
import textwrap

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import tensorflow as tf

from selfsup_tf.data.decode import MAX_PIXELS, decode_image, describe_error
from selfsup_tf.data.gif import keep_first_frame

MUTATIONS = pathlib.Path(__file__).parents[1] / "exporting" / "mutations.py"
spec = importlib.util.spec_from_file_location("mutations", MUTATIONS)
mutations = importlib.util.module_from_spec(spec)
spec.loader.exec_module(mutations)

FILES = {name[4:]: contents for name, contents in mutations.mutated_files()}
HUGE = [name for name in FILES if name.startswith("huge")]
in_graph = tf.function(decode_image, input_signature=[tf.TensorSpec((), tf.string)])


@pytest.mark.parametrize("name", HUGE)
def test_what_claims_too_much_is_refused_by_its_header(name):
    side = mutations.WEBP_MOST if "loss" in name else mutations.HUGE
    for decode in (decode_image, in_graph):
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            decode(tf.constant(FILES[name]))
        assert describe_error(caught.value) == (
            f"expected an image of at most {MAX_PIXELS} pixels; its header claims "
            f"{side} x {side} (height x width)"
        )


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "lossless"])
def test_the_limit_is_height_times_width(form):
    options = {"lossless": True} if form == "lossless" else {}
    form = "WEBP" if form == "lossless" else form
    contents = tf.constant(mutations.encode(mutations.picture(7, 11), form, **options))
    assert decode_image(contents, max_pixels=77).shape == (7, 11, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"claims 7 x 11 \(h"):
        decode_image(contents, max_pixels=76)


def test_a_bmp_from_the_top_down_is_measured_too():
    upright = mutations.encode(mutations.picture(7, 11), "BMP")
    turned = upright[:22] + struct.pack("<i", -7) + upright[26:]
    expected = decode_image(tf.constant(upright))[::-1]
    np.testing.assert_array_equal(decode_image(tf.constant(turned), 77), expected)
    with pytest.raises(tf.errors.InvalidArgumentError, match="claims 7 x 11"):
        decode_image(tf.constant(turned), 76)


def test_fine_files_are_decoded():
    fine = [name for name in FILES if name.startswith("fine")]
    assert len(fine) > 20
    for name in fine:
        upright = PIL.ImageOps.exif_transpose(PIL.Image.open(_file(name)))
        expected = np.asarray(upright.convert("RGB"))
        image = in_graph(tf.constant(FILES[name])).numpy()
        assert image.shape == expected.shape
        is_lossy = FILES[name][:2] == b"\xff\xd8" or b"VP8 " in FILES[name][:40]
        difference = np.abs(image.astype(int) - expected).max()
        assert difference <= (24 if is_lossy else 0), name  # their own upsampling


@pytest.mark.parametrize("decode", [decode_image, in_graph])
def test_a_jpeg_of_endless_scans_is_refused(decode):
    """600 passes over 4 million pixels, in 37 kB."""
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        decode(tf.constant(FILES["bad_scans.jpg"]))
    message = "a JPEG of more than 100 scans cannot be decoded"
    assert describe_error(caught.value) == message
    assert decode(tf.constant(mutations.jpeg_of_scans(100, 9))).shape == (9, 9, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        decode(tf.constant(mutations.jpeg_of_scans(101, 9)))


def test_what_follows_a_jpeg_is_not_counted_as_scans():
    """A telephone puts a film there, where every pair of bytes stands."""
    pairs = np.arange(2**16, dtype=">u2").tobytes() * 200
    film = pairs.replace(b"\xff\xda\0", b"\xff\xda\1")
    assert film.count(b"\xff\xda") >= 200
    contents = tf.constant(FILES["fine_jpeg.jpg"] + film)
    assert decode_image(contents).shape == (40, 56, 3)


def _file(name):
    return mutations.io.BytesIO(FILES[name])


def test_the_first_frame_of_a_gif_is_cut_out():
    animated = FILES["odd_animated.gif"]
    cut, shape = keep_first_frame(tf.constant(animated))
    assert shape.numpy().tolist() == [40, 56]
    cut = cut.numpy()
    assert len(cut) < len(animated) / 2
    frame = PIL.Image.open(mutations.io.BytesIO(cut))
    assert frame.n_frames == 1
    first = PIL.Image.open(_file("odd_animated.gif")).convert("RGB")
    np.testing.assert_array_equal(np.asarray(frame.convert("RGB")), np.asarray(first))
    # One frame remains whole, comments and all.
    single = mutations.encode(first.quantize(9), "GIF", comment=b"x" * 700)
    cut, shape = keep_first_frame(tf.constant(single))
    assert cut.numpy() == single and shape.numpy().tolist() == [40, 56]


def test_a_gif_with_a_table_for_its_frame_and_uneven_sub_blocks():
    """Every way to walk: a frame's own table, blocks of 1, 2, ... 40 bytes."""
    plain = mutations.encode(mutations.picture(60, 80), "GIF")
    table_size = 3 * 2 ** (plain[10] % 8 + 1)
    table, rest = plain[13 : 13 + table_size], plain[13 + table_size :]
    start = rest.index(b"\x2c\0\0\0\0")
    packed, data = rest[start + 9] | 0x80 | plain[10] % 8, rest[start + 11 : -1]
    pixels = b""
    while data[0]:
        pixels, data = pixels + data[1 : 1 + data[0]], data[1 + data[0] :]
    blocks, length = b"", 0
    while pixels:
        length = length % 40 + 1
        block, pixels = pixels[:length], pixels[length:]
        blocks += bytes([len(block)]) + block
    head = plain[:10] + bytes([plain[10] & 0x7F]) + plain[11:13]
    frame = rest[start : start + 9] + bytes([packed]) + table
    frame += rest[start + 10 : start + 11] + blocks + b"\0"
    cut, shape = keep_first_frame(tf.constant(head + frame + frame + b"\x3b"))
    assert cut.numpy() == head + frame + b"\x3b"
    assert shape.numpy().tolist() == [60, 80]
    expected = decode_image(tf.constant(plain))
    np.testing.assert_array_equal(decode_image(tf.constant(head + frame)), expected)


def test_a_gif_of_endless_small_sub_blocks_is_refused():
    head = FILES["fine_gif.gif"][:10] + b"\0\0\0"
    blocks = b"".join(bytes([1 + n % 2]) * (2 + n % 2) for n in range(20_000))
    contents = tf.constant(head + b"\x21\xfe" + blocks + b"\0")
    with pytest.raises(tf.errors.InvalidArgumentError, match="too many sub-blocks"):
        decode_image(contents)


@pytest.mark.parametrize("end", range(13, 120, 7))
def test_a_gif_cut_anywhere_is_an_error(end):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_image(tf.constant(FILES["fine_gif.gif"][:end]))


def test_memory_stays_bounded_and_a_data_set_goes_on(run_program):
    """In a process of its own, whose peak is its own and whose crash is seen."""
    program = f"""
        import resource, sys
        sys.path.insert(0, {str(MUTATIONS.parent)!r})
        import mutations
        import tensorflow as tf
        from selfsup_tf.data.decode import decode_image

        files = mutations.mutated_files()
        fine = {{name: c for name, c in files if "_fine_" in name}}
        for contents in fine.values():
            decode_image(tf.constant(contents))
        def peak_mb():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        before = peak_mb()
        shapes = (
            tf.data.Dataset.from_tensor_slices([c for _, c in files])
            .map(lambda contents: tf.shape(decode_image(contents)))
            .ignore_errors()
        )
        count = sum(1 for _ in shapes)
        assert len(fine) < count < len(files), count
        assert peak_mb() - before < 250, (before, peak_mb())
    """
    run_program("-c", textwrap.dedent(program))
