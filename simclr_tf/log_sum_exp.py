"""What each anchor's similarities to all others amount to, whole or tile by tile.

A is the number of anchors, C that of candidates, P the projection's features.
"""

import math

import tensorflow as tf

PLAIN_LOGITS = 2**24
"""The most that are not cut into tiles: 64 MB in float32, of which the plain form keeps
some three at its peak. Tiles take about a tenth longer, forward and backward
(benchmarks/nt_xent.py), so that they are not worth it before memory is scarce."""

TILE_LOGITS = 2**22
"""Logits in a tile: 16 MB in float32, of which some four live at once. Two to four
times as many take as long, a quarter as many up to a quarter longer."""


def log_sum_exp(
    anchors: tf.Tensor,
    candidates: tf.Tensor,
    itself: tf.Tensor,
    *,
    tile: int | None = None,
) -> tf.Tensor:
    """Of each anchor, log sum_k exp(anchor . candidate_k), k all but the anchor itself.

    Args:
        anchors: (A, P), float32 or float64.
        candidates: (C, P), of the same dtype, the anchors among them.
        itself: (A,) int32, where each anchor stands among the candidates.
        tile: Candidates looked at at once, 1 or more. None takes all of them up to
            `PLAIN_LOGITS` logits or where A or C is unknown while tracing, otherwise
            as many as `TILE_LOGITS` allow.

    Returns:
        (A,), of the same dtype, differentiable once by anchors and candidates. In tiles
        it takes memory O((A + C) P + A tile), and 4 matrix products in place of 3.

    Reference: the running maximum and sum of Milakov and Gimelshein 2018, "Online
        normalizer calculation for softmax", algorithm 3.
    """
    rows, columns = anchors.shape[0], candidates.shape[0]
    known = rows is not None and columns is not None
    if tile is None and known and rows * columns > PLAIN_LOGITS:
        # As few tiles as may be, of one size.
        tile = math.ceil(columns / math.ceil(rows * columns / TILE_LOGITS))
    if tile is None or not known or tile >= columns:
        return tf.reduce_logsumexp(_logits(anchors, candidates, itself, 0), axis=1)
    return _in_tiles(anchors, candidates, itself, tile)


def _logits(anchors, candidates, itself, first, total=None):
    """(A, C) for candidates that stand at `first` and after.

    Those that are the anchor itself, or stand at `total` and after, count for nothing.
    """
    logits = tf.matmul(anchors, candidates, transpose_b=True)
    position = first + tf.range(candidates.shape[0] or tf.shape(candidates)[0])
    out = position == itself[:, None]
    if total is not None:
        out |= position >= total
    return tf.where(out, _nothing(logits.dtype), logits)


def _nothing(dtype):
    """Far below any logit, and finite: its exponential is exactly 0."""
    return tf.constant(dtype.min / 4, dtype)


def _in_tiles(anchors, candidates, itself, tile):
    """`log_sum_exp` of static shapes, (A, tile) logits at a time.

    The gradient computes them again: none outlives its turn of a loop.
    """
    (rows, features), columns = anchors.shape, candidates.shape[0]
    count = math.ceil(columns / tile)
    padding = count * tile - columns
    total = columns if padding else None

    def for_each_tile(body, *start):
        """The last of what `body` makes of a tile's index and what came before."""
        _, *last = tf.while_loop(
            lambda i, *_: i < count,
            lambda i, *before: (i + 1, *body(i, *before)),
            (tf.constant(0), *start),
            parallel_iterations=1,
        )
        return last

    @tf.custom_gradient
    def summed(anchors, candidates):
        # A tape would otherwise keep the logits of every tile when run eagerly.
        anchors, candidates = tf.stop_gradient(anchors), tf.stop_gradient(candidates)
        padded = tf.pad(candidates, [[0, padding], [0, 0]])
        tiles = tf.reshape(padded, [count, tile, features])

        def logits(i):
            return _logits(anchors, tiles[i], itself, i * tile, total)

        def add(i, top, amount):
            """`amount` is the sum so far of exp(logit - top), `top` the largest."""
            tile_logits = logits(i)
            new_top = tf.maximum(top, tf.reduce_max(tile_logits, axis=1))
            new = tf.reduce_sum(tf.exp(tile_logits - new_top[:, None]), axis=1)
            return new_top, amount * tf.exp(top - new_top) + new

        zeros = tf.zeros([rows], anchors.dtype)
        top, amount = for_each_tile(add, zeros + _nothing(anchors.dtype), zeros)

        def gradient(upstream):
            # Of softmax, only the exponentials vary within a row.
            row = (upstream / amount)[:, None]
            weighted = row * anchors

            def add(i, d_anchors, d_tiles):
                exponentials = tf.exp(logits(i) - top[:, None])
                d_tile = tf.matmul(exponentials, weighted, transpose_a=True)
                d_anchors += tf.matmul(exponentials, tiles[i])
                return d_anchors, d_tiles.write(i, d_tile)

            d_tiles = tf.TensorArray(
                anchors.dtype, count, element_shape=[tile, features]
            )
            d_anchors, d_tiles = for_each_tile(add, tf.zeros_like(anchors), d_tiles)
            d_candidates = tf.reshape(d_tiles.stack(), [count * tile, features])
            return row * d_anchors, d_candidates[:columns]

        return top + tf.math.log(amount), gradient

    return summed(anchors, candidates)
