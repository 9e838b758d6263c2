"""Random numbers as a pure function of (seed, epoch, image index, view).

TensorFlow's stateless ops take one seed for a whole call, so that what an image draws
depends on its place in the batch. Here every image has a key of its own, and an integer
hash turns keys into draws: the same bits eagerly, in `tf.data` and under XLA, whatever
batch the image sits in.

Reference: Jarzynski and Olano, "Hash Functions for GPU Rendering", JCGT 9 (3), 2020
(pcg4d, a bijection of 128 bits).
"""

import tensorflow as tf

# Set the uses of the hash apart, so that no draw ever equals a derived key.
_FOLD_DOMAIN, _DRAW_DOMAIN = 0x9E3779B9, 0x85EBCA6B


def image_keys(
    seed: int | tf.Tensor,
    epoch: int | tf.Tensor,
    index: tf.Tensor,
    view: int | tf.Tensor,
) -> tf.Tensor:
    """One key for each image.

    Args:
        seed: The run's seed; its lowest 32 bits count.
        epoch: Pass over the data, a scalar or (N,).
        index: (N,) integers that name the images within their source.
        view: Which view of the image, a scalar or (N,).

    Returns:
        (N, 2) uint32.
    """
    words = _pcg4d(_word(index), _word(view), _word(epoch), _word(seed))
    # pcg4d mixes what differs in few bits well, though not perfectly, in one round.
    words = _pcg4d(*words)
    return tf.stack(words[:2], axis=-1)


def fold_in(keys: tf.Tensor, salt: int) -> tf.Tensor:
    """Keys (N, 2) uint32 that are independent of `keys` and of any other salt's."""
    first, second = tf.unstack(keys, axis=-1)
    words = _pcg4d(first, second, _word(salt), _word(_FOLD_DOMAIN))
    return tf.stack(words[:2], axis=-1)


def uniform(keys: tf.Tensor, count: int) -> tf.Tensor:
    """Independent draws from [0, 1) for each key.

    Args:
        keys: (N, 2) uint32.
        count: Draws for each key. The first draws don't depend on it.

    Returns:
        (N, count) float32, multiples of 2^-24.
    """
    blocks = tf.range((count + 3) // 4, dtype=tf.int32)
    first, second = tf.unstack(keys[:, tf.newaxis, :], axis=-1)
    words = _pcg4d(first, second, _word(blocks), _word(_DRAW_DOMAIN))
    bits = tf.stack(words, axis=-1)
    bits = tf.reshape(bits, (-1, 4 * ((count + 3) // 4)))[:, :count]
    # A float32 holds 24 bits exactly. Shifted, they fit int32, whose conversion to
    # float is a single instruction.
    high = tf.cast(tf.bitwise.right_shift(bits, _word(8)), tf.int32)
    return tf.cast(high, tf.float32) * 2.0**-24


def order(draws: tf.Tensor) -> tf.Tensor:
    """Turns draws (N, M) into random orders of 0 ... M - 1: (N, M) int32."""
    # The ranks of the draws, by comparison: XLA takes seconds to compile a sort.
    place = tf.range(draws.shape[1])
    mine, other = draws[:, :, tf.newaxis], draws[:, tf.newaxis, :]
    earlier = (other == mine) & (place < place[:, tf.newaxis])
    return tf.reduce_sum(tf.cast((other < mine) | earlier, tf.int32), axis=-1)


def between(draws: tf.Tensor, low: float, high: float) -> tf.Tensor:
    """Moves `draws` from [0, 1) to [low, high)."""
    return low + (high - low) * draws


def _word(value: int | tf.Tensor) -> tf.Tensor:
    """The lowest 32 bits of an integer or of integers, uint32."""
    if isinstance(value, int):
        return tf.constant(value & 0xFFFFFFFF, tf.uint32)
    return tf.cast(value, tf.uint32)


def _pcg4d(x: tf.Tensor, y: tf.Tensor, z: tf.Tensor, w: tf.Tensor) -> list[tf.Tensor]:
    """Hashes four uint32 words, which may broadcast, into four."""
    multiplier, increment, half = _word(1664525), _word(1013904223), _word(16)
    x, y, z, w = (word * multiplier + increment for word in (x, y, z, w))
    for last in (False, True):
        x = x + y * w
        y = y + z * x
        z = z + x * y
        w = w + y * z
        if not last:
            x, y, z, w = (
                tf.bitwise.bitwise_xor(word, tf.bitwise.right_shift(word, half))
                for word in (x, y, z, w)
            )
    return [x, y, z, w]
