"""Pairs of views to judge an encoder by, as its run draws them."""

import dataclasses

import numpy as np
import tensorflow as tf

from selfsup_tf.config import Config, ViewConfig
from selfsup_tf.data import views
from selfsup_tf.data.order import permutation
from selfsup_tf.data.pipeline import BATCHED_PIXELS, GROUP, pad
from selfsup_tf.data.source import Source

_EPOCH = -1  # epochs count from 0, so training draws none of these views


@tf.autograph.experimental.do_not_convert
def view_pairs(
    source: Source,
    config: Config,
    *,
    count: int,
    batch_size: int,
    seed: int = 0,
) -> tf.data.Dataset:
    """Two views each of some images, as a run draws them, and the one it is judged by.

    The views follow from (seed, image index) alone. Which images are taken follows from
    the seed, too; of a streamed source they are the first, so that no more is read.

    Args:
        source: Images, uint8 (H, W, C), of one size or of many.
        config: Its views and image size S. The first two views of that size are drawn;
            where there is one, it is drawn twice.
        count: Images at most.
        batch_size: B.
        seed: Of the images and of their views.

    Returns:
        Elements {"view_1", "view_2", "image": (B, S, S, C) float32 in [0, 1], "index":
        (B,) int64}, where "image" is the evaluation view. Each image comes once; the
        last element may hold fewer than B.
    """
    drawn = _pair(config)
    views.check_views(drawn, source.channels)
    count = min(count, source.size)
    if not source.streamed:
        # The first files of a folder are often of one class.
        chosen = permutation(source.size, seed)[:count]
        source = source.select(np.sort(source.indices[chosen]), source.name)
    images = source.ordered(labels=False).take(count)
    shape = source.image_shape
    batched = shape is not None and shape[0] * shape[1] <= BATCHED_PIXELS
    size = GROUP if batched else 1

    def draw(group):
        # Filled up, so that what XLA compiles for a group serves the last one, too.
        group = pad(group, size)
        batch = {**group, "epoch": tf.fill([size], tf.constant(_EPOCH, tf.int64))}
        if not batched:
            batch |= views.draw_crops(batch, drawn, seed=seed)
            del batch["image"]
        return {
            **views.draw_views(batch, drawn, seed=seed),
            "image": views.evaluation_view(group["image"], config.image_size),
            "index": group["index"],
        }

    pairs = images.batch(size).map(draw, num_parallel_calls=tf.data.AUTOTUNE)
    pairs = pairs.unbatch().take(count)
    return pairs.batch(batch_size).prefetch(tf.data.AUTOTUNE)


def _pair(config: Config) -> dict[str, ViewConfig]:
    """view_1 and view_2 of the size that the encoder is judged at."""
    drawn = list(config.drawn_views.values())
    large = [view for view in drawn if view.size == config.image_size]
    large = large or [dataclasses.replace(drawn[0], size=config.image_size)]
    return {"view_1": large[0], "view_2": large[:2][-1]}
