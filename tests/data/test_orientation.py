"""A photograph is turned upright as its camera notes in EXIF, unless that is off."""

import io

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from selfsup_tf.data.decode import decode_image
from selfsup_tf.data.sources import open_source

# What a viewer does with pixels stored under each value (Exif 2.32, tag 274).
TURNS = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].transpose(1, 0, 2),
    8: lambda x: np.rot90(x),
}
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 5, 3), np.uint8)
PICTURE = PIL.Image.fromarray(PIXELS.repeat(8, 0).repeat(8, 1))  # 24 x 40
in_graph = tf.function(decode_image, input_signature=[tf.TensorSpec((), tf.string)])


def exif(orientation, endian="<", **more):
    notes = PIL.Image.Exif()
    notes.endian = endian
    notes[0x010F] = "A maker of cameras"  # entries before and after, as cameras write
    notes[0x0112] = orientation
    notes[0x0132] = "2026:11:29 10:00:00"
    return notes.tobytes()


def jpeg(**options):
    stream = io.BytesIO()
    PICTURE.save(stream, "JPEG", quality=95, **options)
    return stream.getvalue()


def decode(contents, **options):
    return decode_image(tf.constant(contents), **options).numpy()


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("orientation", TURNS)
def test_the_pixels_stand_as_the_camera_was_held(orientation, endian):
    contents = jpeg(exif=exif(orientation, endian))
    stored = decode(contents, exif=False)
    assert stored.shape == (24, 40, 3)
    expected = TURNS[orientation](stored)
    np.testing.assert_array_equal(decode(contents), expected)
    np.testing.assert_array_equal(in_graph(contents), expected)


def broken(notes, *, keep=None, directory=None):
    """EXIF that is cut off, or whose first directory lies elsewhere."""
    header, body = notes[:6], bytearray(notes[6:])
    if directory is not None:
        body[4:8] = directory.to_bytes(4, "little")
    return header + bytes(body[:keep])


@pytest.mark.parametrize(
    "notes",
    [
        exif(0),
        exif(9),
        exif(2**16 - 1),
        broken(exif(6), keep=2),
        broken(exif(6), keep=12),
        broken(exif(6), directory=2**32 - 1),
        broken(exif(6), directory=2**16),
    ],
)
def test_notes_that_say_nothing_turn_nothing(notes):
    contents = jpeg(exif=notes)
    np.testing.assert_array_equal(decode(contents), decode(contents, exif=False))


def test_words_of_exif_elsewhere_turn_nothing():
    """A comment that quotes it is none."""
    contents = jpeg(comment=exif(6))
    np.testing.assert_array_equal(decode(contents), decode(contents, exif=False))


def test_a_folder_is_read_upright_and_as_stored(tmp_path):
    for value in (1, 6):
        (tmp_path / f"{value}.jpg").write_bytes(jpeg(exif=exif(value)))

    def read(**options):
        source = open_source(tmp_path, **options)
        shapes = [e["image"].shape for e in source.ordered().as_numpy_iterator()]
        return source, shapes

    source, shapes = read()
    assert shapes == [(24, 40, 3), (40, 24, 3)] and source.image_shape is None
    stored, shapes = read(exif=False)
    assert shapes == [(24, 40, 3)] * 2 and stored.image_shape == (24, 40, 3)
    assert stored.fingerprint != source.fingerprint  # or kept features would mix
