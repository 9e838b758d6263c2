"""What of a config follows from the images: their channels, a smaller batch."""

import dataclasses
import logging

import tensorflow as tf

from selfsup_tf.config import Config
from selfsup_tf.data.channels import counted
from selfsup_tf.data.colour import OF_RGB
from selfsup_tf.data.source import Source
from selfsup_tf.errors import check
from selfsup_tf.methods import Method

logger = logging.getLogger("selfsup_tf")


def fit_to_images(
    method: Method, source: Source, strategy: tf.distribute.Strategy
) -> Config:
    """Sets the channels of `method.config`, and a batch that there are images for.

    `method.asked` stays, by which the same call resumes the run.

    Returns:
        The config.

    Raises:
        InputError: The source has been opened with other channels than it says.
    """
    asked = method.config.channels
    check(
        asked in (None, source.channels),
        f"images of the {asked} channels that the config asks for",
        f"{source.channels} in {source.name}",
        f"Open them with channels={asked}.",
    )
    config = dataclasses.replace(method.config, channels=source.channels)
    parts = strategy.num_replicas_in_sync * config.accumulate
    fitting = source.size // parts * parts
    # A contrast of fewer images is another contrast, which a user has to want; and one
    # image at a time is refused.
    fewest = 2 * config.accumulate
    if not method.couples_images and fewest <= fitting < config.batch_size:
        logger.info(
            "A batch of %d images in place of %d: there are %d to learn from.",
            *(fitting, config.batch_size, source.size),
        )
        config = dataclasses.replace(config, batch_size=fitting)
    if source.channels != 3:
        drawn = config.drawn_views.values()
        left_out = [
            name
            for name in OF_RGB
            if any(vars(v)[name] and (v.jitter or name == "grayscale") for v in drawn)
        ]
        said = f"Images of {counted(source.channels)}."
        if left_out:
            said += f" Left out of the views, as of RGB alone: {', '.join(left_out)}."
        logger.info("%s", said)
    method.config = config
    return config
