"""What a run says of itself: at its start, at its end, in its log's first line."""

import logging
from typing import Any

from selfsup_tf.config import Plan
from selfsup_tf.data.sources import Source
from selfsup_tf.methods import Method
from selfsup_tf.training.optimizers import is_excluded

logger = logging.getLogger("selfsup_tf")


def announce(
    method: Method, source: Source, plan: Plan, *, replicas: int, step: int
) -> None:
    """Says what is about to be trained, on what, and from which step on."""
    excluded = sum(is_excluded(v) for v in method.trainable_variables)
    logger.info(
        "%s on %s: %d images, %d steps of %d images (%.4g epochs) on %d %s.",
        type(method).__name__,
        source.name,
        source.size,
        plan.total_steps,
        method.config.batch_size,
        plan.total_steps / plan.steps_per_epoch,
        replicas,
        "device" if replicas == 1 else "replicas",
    )
    logger.info(
        "Learning rate %.4g; of %d variables, %d (rank 0 and 1) are neither decayed "
        "nor adapted.",
        plan.learning_rate,
        len(method.trainable_variables),
        excluded,
    )
    if step >= plan.total_steps:
        logger.info("This run is finished (step %d); nothing is trained.", step)
    elif step:
        logger.info("Resuming after step %d.", step)


def name_skipped(source: Source) -> None:
    """Counts and names the files that could not be read."""
    if source.skipped:
        logger.warning("%d files could not be read:", len(source.skipped))
    for line in source.skipped:
        logger.warning("  %s", line)


def describe_run(method: Method, source: Source) -> dict[str, Any]:
    """The log's first record: the images, and how each variable is treated."""
    variables = method.trainable_variables
    return {
        "step": 0,
        "images": source.size,
        "skipped": list(source.skipped),
        "decayed_and_adapted": [v.path for v in variables if not is_excluded(v)],
        "excluded": [v.path for v in variables if is_excluded(v)],
    }
