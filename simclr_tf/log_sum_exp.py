"""Log-sum-exp of the similarities of each anchor to all others, whole or in tiles.

A is the number of anchors, C that of candidates, P the projection's features.
"""

import math

import tensorflow as tf

PLAIN_LOGITS = 2**24
"""The most that are not cut into tiles: 64 MB in float32, of which the plain form keeps
some three at its peak. Tiles take as long from about here on, and longer for smaller
batches (benchmarks/nt_xent.py)."""

TILE_LOGITS = 2**22
"""Logits in a tile: 16 MB in float32, of which a few live at once."""

LARGEST_BOUND = 30
"""Of logits between -30 and 30 an exponential, relative to e^30, is above e^-60. What
it divides in the gradient stays within float32, scaled for float16 as well."""


def log_sum_exp(
    anchors: tf.Tensor,
    candidates: tf.Tensor,
    itself: tf.Tensor,
    *,
    tile: int | None = None,
    bound: float | None = None,
) -> tf.Tensor:
    """Of each anchor, log sum_k exp(anchor . candidate_k), k all but the anchor itself.

    Args:
        anchors: (A, P), float32 or float64.
        candidates: (C, P), of the same dtype, the anchors among them.
        itself: (A,) int32, where each anchor stands among the candidates.
        tile: Candidates looked at at once, 1 or more. None takes all of them up to
            `PLAIN_LOGITS` logits or where A or C is unknown while tracing, otherwise
            as many as `TILE_LOGITS` allow.
        bound: What no logit exceeds in magnitude, if known. Up to `LARGEST_BOUND` it
            saves tiles a matrix product, with which they find each anchor's largest.

    Returns:
        (A,), of the same dtype, differentiable once by anchors and candidates. In tiles
        it takes memory O((A + C) P + A tile), and 4 matrix products in place of 3, or 5
        without a bound.
    """
    rows, columns = anchors.shape[0], candidates.shape[0]
    known = rows is not None and columns is not None
    if tile is None and known and rows * columns > PLAIN_LOGITS:
        # As few tiles as may be, of one size.
        tile = math.ceil(columns / math.ceil(rows * columns / TILE_LOGITS))
    if tile is None or not known or tile >= columns:
        return _whole(anchors, candidates, itself)
    return _in_tiles(anchors, candidates, itself, tile, bound)


def _whole(anchors, candidates, itself):
    logits = tf.matmul(anchors, candidates, transpose_b=True)
    position = tf.range(candidates.shape[0] or tf.shape(candidates)[0])
    # Far below any logit, and finite: its exponential is exactly 0.
    nothing = tf.constant(logits.dtype.min / 4, logits.dtype)
    logits = tf.where(position == itself[:, None], nothing, logits)
    return tf.reduce_logsumexp(logits, axis=1)


def _in_tiles(anchors, candidates, itself, tile, bound):
    """`log_sum_exp` of static shapes, (A, tile) logits at a time.

    The gradient computes them again: none outlives its turn of a loop. Passes over
    a tile cost as much as a matrix product, so two more features subtract the largest
    logit and strike out what fills up the last tile, and of the anchors themselves, of
    which a row has one at most, nothing else is touched.
    """
    (rows, features), columns = anchors.shape, candidates.shape[0]
    count = math.ceil(columns / tile)
    dtype = anchors.dtype
    nothing = tf.constant(-1e30, dtype)  # its exponential is exactly 0

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
        real = tf.constant([[1.0, 0.0]], dtype)
        tiles = tf.concat([candidates, tf.tile(real, [columns, 1])], axis=1)
        filling = tf.one_hot([features + 1], features + 2, dtype=dtype)
        filling = tf.tile(filling, [count * tile - columns, 1])
        tiles = tf.concat([tiles, filling], axis=0)
        tiles = tf.reshape(tiles, [count, tile, features + 2])

        def less(top):
            """The anchors, so that their logits are less the `top` (A,) of each."""
            struck = tf.fill([rows, 1], nothing)
            return tf.concat([anchors, -top[:, None], struck], axis=1)

        def logits(i, wide):
            """(A, tile) of the anchors that `less` made."""
            logits = tf.matmul(wide, tiles[i], transpose_b=True)
            place = itself - i * tile
            here = (place >= 0) & (place < tile)
            at = tf.stack([tf.range(rows), tf.clip_by_value(place, 0, tile - 1)], 1)
            struck = tf.where(here, nothing, -nothing)
            return tf.tensor_scatter_nd_min(logits, at, struck)

        zeros = tf.zeros([rows], dtype)
        # Whole numbers, of which the fast products of a GPU round none up to 2048, and
        # those of a TPU none up to 256.
        if bound is not None and bound <= LARGEST_BOUND:
            top = zeros + math.ceil(bound)
        else:
            wide = less(zeros)
            (top,) = for_each_tile(
                lambda i, top: (tf.maximum(top, tf.reduce_max(logits(i, wide), 1)),),
                zeros + nothing,
            )
            top = tf.math.ceil(top)
        wide = less(top)

        def add(i, amount):
            return (amount + tf.reduce_sum(tf.exp(logits(i, wide)), axis=1),)

        (amount,) = for_each_tile(add, zeros)

        def gradient(upstream):
            # Of softmax, only the exponentials vary within a row.
            row = (upstream / amount)[:, None]
            weighted = row * anchors

            def add(i, d_anchors, d_tiles):
                exponentials = tf.exp(logits(i, wide))
                d_tile = tf.matmul(exponentials, weighted, transpose_a=True)
                d_anchors += tf.matmul(exponentials, tiles[i, :, :features])
                return d_anchors, d_tiles.write(i, d_tile)

            d_tiles = tf.TensorArray(dtype, count, element_shape=[tile, features])
            d_anchors, d_tiles = for_each_tile(add, tf.zeros_like(anchors), d_tiles)
            d_candidates = tf.reshape(d_tiles.stack(), [count * tile, features])
            return row * d_anchors, d_candidates[:columns]

        return top + tf.math.log(amount), gradient

    return summed(anchors, candidates)
