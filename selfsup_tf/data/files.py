"""Decoding of image files by their contents."""

import tensorflow as tf


def decode_image(contents: tf.Tensor) -> tf.Tensor:
    """The image in a file's contents, in graph and eagerly.

    The format is told by the contents: JPEG, PNG, BMP, GIF (its first frame) or WebP.
    Grey, palettes, 16 bits a channel and CMYK become RGB of 8 bits. An alpha channel is
    dropped: a transparent pixel shows the colour that is stored beneath. An orientation
    that a camera notes in EXIF is not applied.

    Args:
        contents: string ().

    Returns:
        uint8 (H, W, 3).

    Raises:
        tf.errors.InvalidArgumentError: The contents are no image of these formats, are
            incomplete, or are an animated WebP.
    """
    # 64 bytes reach past every field read below, of a shorter file too.
    start = tf.strings.substr(contents, 0, 64) + tf.constant(b"\0" * 64)
    header = tf.cast(tf.io.decode_raw(start, tf.uint8)[:64], tf.int32)

    def starts(magic: bytes, offset: int = 0) -> tf.Tensor:
        part = header[offset : offset + len(magic)]
        return tf.reduce_all(part == list(magic))

    is_webp = starts(b"RIFF") & starts(b"WEBP", 8)
    is_palette_bmp = starts(b"BM") & (header[28] == 8) & (header[29] == 0)
    # TensorFlow 2.21 corrupts its memory on an animated WebP, so none reaches it.
    is_animated = is_webp & starts(b"VP8X", 12) & (header[20] // 2 % 2 == 1)
    with tf.control_dependencies(
        [tf.debugging.Assert(~is_animated, ["an animated WebP can't be decoded"])]
    ):
        kind = tf.cast(is_webp, tf.int32) + 2 * tf.cast(is_palette_bmp, tf.int32)
    image = tf.switch_case(
        kind,
        [
            lambda: tf.io.decode_image(contents, channels=3, expand_animations=False),
            lambda: tf.io.decode_webp(contents)[0, :, :, :3],
            lambda: _decode_palette_bmp(contents, header),
        ],
    )
    return tf.ensure_shape(image, (None, None, 3))


def _decode_palette_bmp(contents: tf.Tensor, header: tf.Tensor) -> tf.Tensor:
    """A BMP of 8 bits a pixel, whose palette `tf.io.decode_bmp` overlooks."""

    def number(offset: int) -> tf.Tensor:
        return tf.reduce_sum(header[offset : offset + 4] * [1, 2**8, 2**16, 2**24])

    with tf.control_dependencies(
        [tf.debugging.Assert(number(30) == 0, ["a compressed BMP can't be decoded"])]
    ):
        pixels = tf.io.decode_bmp(contents)[..., 0]
    first, last = 14 + number(14), number(10)
    colours = tf.io.decode_raw(
        tf.strings.substr(contents, first, last - first), tf.uint8
    )
    colours = tf.reshape(colours, (-1, 4))[:, 2::-1]  # stored as blue, green, red, 0
    return tf.gather(colours, tf.cast(pixels, tf.int32))
