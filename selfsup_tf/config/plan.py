"""The plan of a run: durations in steps and the rate, from a config and its data."""

import dataclasses
import math

from selfsup_tf.config.run_config import Config
from selfsup_tf.errors import check


@dataclasses.dataclass(frozen=True)
class Plan:
    """The numbers that follow from a config and the size of its data, in steps.

    Attributes:
        steps_per_epoch: Full batches in the data; the rest of an epoch is dropped.
        total_steps: Length of the run.
        warmup_steps: Length of the warm-up, see `fitting_warmup`.
        learning_rate: The rate after the warm-up.
        checkpoint_steps: Steps between two checkpoints.
        knn_steps: Steps between two looks at the encoder: online k-NN and health.
    """

    steps_per_epoch: int
    total_steps: int
    warmup_steps: int
    learning_rate: float
    checkpoint_steps: int
    knn_steps: int


def fitting_warmup(warmup: float, length: float) -> float:
    """A warm-up; a tenth of a run that would end within it, as one tried for a moment.

    Both are in epochs, or both in steps.
    """
    return warmup if warmup < length else length / 10


def make_plan(config: Config, num_images: int) -> Plan:
    """Turns epochs into steps and the base rate into the rate of this batch, once.

    Args:
        config: The run's config.
        num_images: Images that the run learns from.

    Raises:
        InputError: The batch is larger than the data.
    """
    check(
        config.batch_size <= num_images,
        f"a batch no larger than the data ({num_images} images)",
        f"batch_size={config.batch_size}",
        f"Use --batch_size={num_images} or less, or more images."
        if num_images > 1
        else "Give more images.",
    )
    per_epoch = num_images // config.batch_size
    if config.steps is not None:
        total = config.steps
    else:
        total = max(1, round(config.epochs * per_epoch))
    warmup = round(config.optimizer.warmup_epochs * per_epoch)
    ratio = config.batch_size / 256
    scale = {"linear": ratio, "sqrt": math.sqrt(ratio), "none": 1.0}
    return Plan(
        steps_per_epoch=per_epoch,
        total_steps=total,
        warmup_steps=int(fitting_warmup(warmup, total)),
        learning_rate=config.optimizer.learning_rate * scale[config.optimizer.scaling],
        checkpoint_steps=max(1, round(config.checkpoint_epochs * per_epoch)),
        knn_steps=max(1, round(config.knn_epochs * per_epoch)),
    )
