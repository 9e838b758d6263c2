"""Keys and draws: pure functions of (seed, epoch, index, view)."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from selfsup_tf.data import random

INDEX = tf.range(10_000, dtype=tf.int64)


def _everything(index):
    keys = random.image_keys(3, 5, index, 1)
    folded = random.fold_in(keys, 7)
    return (
        keys,
        folded,
        random.uniform(folded, 6),
        random.order(random.uniform(folded, 4)),
    )


def test_bits_are_the_same_however_they_are_run():
    eager = _everything(INDEX[:100])
    compiled = tf.function(_everything, jit_compile=True)(INDEX[:100])
    dataset = tf.data.Dataset.from_tensors(INDEX[:100]).map(_everything)
    for others in (compiled, next(iter(dataset))):
        for expected, actual in zip(eager, others, strict=True):
            np.testing.assert_array_equal(expected, actual)


def test_an_image_draws_the_same_in_any_batch():
    whole = _everything(INDEX[:50])
    part = _everything(tf.constant([41, 7], tf.int64))
    for all_of_them, some in zip(whole, part, strict=True):
        np.testing.assert_array_equal(all_of_them.numpy()[[41, 7]], some)


def test_the_first_draws_do_not_depend_on_their_number():
    keys = random.image_keys(0, 0, INDEX[:10], 0)
    np.testing.assert_array_equal(
        random.uniform(keys, 3), random.uniform(keys, 9)[:, :3]
    )


@pytest.mark.parametrize("seed", [0, -1, 2**40 + 1])
def test_draws_are_uniform(seed):
    draws = random.uniform(random.image_keys(seed, 2, INDEX, 0), 5).numpy()
    assert draws.shape == (10_000, 5) and draws.dtype == np.float32
    assert draws.min() >= 0 and draws.max() < 1
    for column in draws.T:
        assert scipy.stats.kstest(column, "uniform").pvalue > 1e-4


def test_keys_do_not_collide():
    keys = [
        random.image_keys(0, epoch, tf.range(50_000), view).numpy()
        for epoch in (0, 1)
        for view in (0, 1)
    ]
    keys = np.concatenate([*keys, random.fold_in(keys[0], 1).numpy()])
    assert len(np.unique(keys, axis=0)) == len(keys) == 250_000


def test_indexes_beyond_32_bits_of_sign_are_accepted():
    keys = random.image_keys(0, 0, tf.constant([2**31, 2**31 + 1], tf.int64), 0)
    assert len(np.unique(keys.numpy(), axis=0)) == 2


def test_an_order_is_one_even_of_equal_draws():
    draws = tf.constant([[0.5, 0.5, 0.25, 0.5]])
    assert random.order(draws).numpy().tolist() == [[1, 2, 0, 3]]


def test_pcg4d_equals_its_definition_in_python():
    """Four words through the published hash, with integers of any length."""
    mask = 2**32 - 1
    words = [1, 2, 3, 0x9E3779B9]  # the last sets derived keys apart from draws
    x, y, z, w = ((v * 1664525 + 1013904223) & mask for v in words)
    for last in (False, True):
        x = (x + y * w) & mask
        y = (y + z * x) & mask
        z = (z + x * y) & mask
        w = (w + y * z) & mask
        if not last:
            x, y, z, w = (v ^ (v >> 16) for v in (x, y, z, w))
    folded = random.fold_in(tf.constant([[1, 2]], tf.uint32), 3)
    assert folded.numpy().tolist() == [[x, y]]
