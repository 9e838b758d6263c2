"""The batch of a run that has fewer images than its recipe takes in a step."""

import dataclasses
import logging

import tensorflow as tf

from selfsup_tf.config import Config
from selfsup_tf.methods import Method

logger = logging.getLogger("selfsup_tf")


def fit_batch(
    method: Method, num_images: int, strategy: tf.distribute.Strategy
) -> Config:
    """Lowers the batch of `method.config` to the images that there are, and says so.

    `method.asked` stays, by which the same call resumes the run.

    Only where an image's loss depends on no other: a contrast of fewer images is
    another contrast, which a user has to want.

    Returns:
        The config.
    """
    config = method.config
    if method.couples_images or config.batch_size <= num_images:
        return config
    parts = strategy.num_replicas_in_sync * config.accumulate
    fitting = num_images // parts * parts
    if fitting < 2:
        return config  # which is refused for it
    logger.info(
        "A batch of %d images in place of %d: there are %d to learn from.",
        *(fitting, config.batch_size, num_images),
    )
    method.config = dataclasses.replace(config, batch_size=fitting)
    return method.config
