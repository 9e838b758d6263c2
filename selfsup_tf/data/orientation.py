"""Turns a photograph upright, as its camera notes in EXIF."""

import tensorflow as tf

_MARK = b"Exif\0\0"  # EXIF follows it, in a segment of this marker and its length:
_SEGMENT = b"\xff\xe1"
_HEAD = 2**16  # bytes of a file that are looked through
_NOTES = 2**12  # bytes of EXIF that are looked through; the orientation stands first
_ENTRIES = 64  # of the first directory; cameras write about 12
_ORIENTATION = 0x0112  # the tag


def upright(image: tf.Tensor, contents: tf.Tensor) -> tf.Tensor:
    """Turns the image of a JPEG as its EXIF says; one without stays as it is.

    Args:
        image: (H, W, 3), as it is stored.
        contents: string (), the file.

    Reference: Exif 2.32, 4.6.4 A, tag 274; its values are 1 to 8.
    """
    head = tf.strings.substr(contents, 0, _HEAD)
    parts = tf.raw_ops.StringSplitV2(input=[head], sep=_MARK, maxsplit=1).values
    return tf.cond(tf.size(parts) > 1, lambda: _turn(image, parts), lambda: image)


# A call: within the graph of every image it would cost time for each without EXIF.
@tf.function(
    input_signature=[
        tf.TensorSpec((None, None, 3), tf.uint8),
        tf.TensorSpec((None,), tf.string),
    ],
    autograph=False,
    experimental_attributes={"_noinline": True},
)
def _turn(image, parts):
    orientation = _orientation(parts[0], parts[1])
    image = tf.cond(
        orientation >= 5, lambda: tf.transpose(image, (1, 0, 2)), lambda: image
    )
    across = tf.reduce_any(orientation == [2, 3, 6, 7])
    down = tf.reduce_any(orientation == [3, 4, 7, 8])
    image = tf.cond(across, lambda: image[:, ::-1], lambda: image)
    return tf.cond(down, lambda: image[::-1], lambda: image)


def _orientation(before: tf.Tensor, exif: tf.Tensor) -> tf.Tensor:
    """The orientation that EXIF notes, int64 (); 1, upright, where it notes none."""
    is_segment = tf.strings.substr(before + b"\0" * 4, -8, 2) == _SEGMENT
    # A zero at the end, which whatever points beyond it reads.
    notes = tf.strings.substr(exif, 0, _NOTES) + b"\0"
    data = tf.cast(tf.io.decode_raw(notes, tf.uint8), tf.int64)
    last = tf.size(data, tf.int64) - 1
    places = tf.range(4, dtype=tf.int64)
    is_little = data[0] == ord("I")

    def number(at: tf.Tensor, size: int) -> tf.Tensor:
        digits = tf.gather(data, tf.minimum(at[..., None] + places[:size], last))
        digits = tf.cond(is_little, lambda: digits, lambda: digits[..., ::-1])
        return tf.reduce_sum(digits * 256 ** places[:size], -1)

    directory = number(tf.constant(4, tf.int64), 4)
    entries = tf.range(_ENTRIES, dtype=tf.int64)
    starts = directory + 2 + 12 * entries
    meant = (number(starts, 2) == _ORIENTATION) & (entries < number(directory, 2))
    found = tf.reduce_max(tf.where(meant, number(starts + 8, 2), 0))
    return tf.where(is_segment & (found >= 1) & (found <= 8), found, 1)
