"""Cuts a GIF after its first frame, before a decoder sees the others."""

import tensorflow as tf

# A GIF is a header, blocks (extensions and frames) and a trailer. A block ends with a
# chain of sub-blocks: each a byte with its length and as many bytes; a length of 0 ends
# the chain. https://www.w3.org/Graphics/GIF/spec-gif89a.txt
_EXTENSION, _FRAME, _TRAILER = 0x21, 0x2C, b"\x3b"
# Encoders fill their sub-blocks, and a run of equal ones is one step. A file of many
# small ones would be walked for hours.
_MAX_STEPS = 2**14
_LONGEST_RUN = 2**10


@tf.function(input_signature=[tf.TensorSpec((), tf.string)], autograph=False)
def keep_first_frame(contents: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Cuts a GIF, string (), after its first frame.

    A frame can be 2,000 times larger than its bytes, and a decoder holds every frame of
    a file to give the first.

    Returns:
        The file with one frame, string (); as it is where no whole frame is found. And
        the frame's height and width, int32 (2,); 0 without one.

    Raises:
        tf.errors.InvalidArgumentError: It has too many sub-blocks.
    """
    size = tf.strings.length(contents)
    # Zeros, so that every field of a block that is cut short can be read.
    data = tf.io.decode_raw(contents + tf.constant(b"\0" * 16), tf.uint8)

    def is_looking(position, frame, in_chain, steps):
        return (position < size) & ((frame == 0) | in_chain) & (steps < _MAX_STEPS)

    def step(position, frame, in_chain, steps):
        position, frame, in_chain = tf.cond(
            in_chain,
            lambda: _skip_sub_blocks(data, position, frame),
            lambda: _enter_block(data, position, frame, size),
        )
        return position, frame, in_chain, steps + 1

    first = 13 + _table_size(tf.cast(data[tf.minimum(10, size)], tf.int32))
    position, frame, in_chain, steps = tf.while_loop(
        is_looking, step, (first, 0, False, 0)
    )
    message = "a GIF of too many sub-blocks cannot be decoded"
    tf.debugging.Assert(steps < _MAX_STEPS, [message])
    is_whole = (frame > 0) & ~in_chain & (position <= size)
    cut = tf.strings.substr(contents, 0, tf.minimum(position, size)) + _TRAILER
    sides = tf.cast(data[frame + 5 : frame + 9], tf.int32)
    shape = tf.stack([sides[2] + 2**8 * sides[3], sides[0] + 2**8 * sides[1]])
    return tf.where(is_whole, cut, contents), tf.where(frame > 0, shape, 0)


def _enter_block(data, position, frame, size):
    """The start of a block's chain; the end of the data where there is no block."""
    is_frame = data[position] == _FRAME
    is_extension = data[position] == _EXTENSION
    after_frame = position + 11 + _table_size(tf.cast(data[position + 9], tf.int32))
    after = tf.where(is_frame, after_frame, tf.where(is_extension, position + 2, size))
    return after, tf.where(is_frame, position, frame), True


def _skip_sub_blocks(data, position, frame):
    """The position after one sub-block, or after a run of equally long ones."""
    length = tf.cast(data[position], tf.int32)
    stride = length + 1
    run = data[position : position + _LONGEST_RUN * stride : stride]
    differs = tf.ensure_shape(tf.cast(run != data[position], tf.int32), (None,))
    run_length = tf.where(
        tf.reduce_any(differs > 0), tf.argmax(differs, 0, tf.int32), tf.size(run)
    )
    run_length = tf.where(length == 0, 1, run_length)
    return position + run_length * stride, frame, length > 0


def _table_size(flags):
    """Bytes of the colour table that a screen's or a frame's flags announce."""
    return tf.where(flags >= 2**7, 3 * 2 ** (flags % 8 + 1), 0)
