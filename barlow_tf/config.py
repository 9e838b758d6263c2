"""What a Barlow Twins run depends on beyond what every run does."""

import dataclasses
from typing import ClassVar

from selfsup_tf.config import StartedConfig
from selfsup_tf.config.checks import check_not_negative, check_positive, check_widths


@dataclasses.dataclass(frozen=True)
class BarlowTwinsConfig(StartedConfig):
    """A Barlow Twins run.

    The fields declared here are those of the authors' code for ImageNet. Views,
    optimizer and the input's mean are set by the recipes.
    """

    method: ClassVar[str] = "barlow"
    title: ClassVar[str | None] = "Barlow Twins"
    num_views: ClassVar[int | None] = 2

    projector: tuple[int, ...] = (8192, 8192, 8192)
    """Output size of each layer of the projector."""
    off_diagonal: float = 0.0051
    """lambda: what two features that are correlated weigh beside one that differs."""
    loss_scale: float = 1.0
    """What multiplies the loss; LARS hides it from all but biases and norms."""
    bias_rate: float | None = None
    """Learning rate of biases and norms, as optimizer.learning_rate is that of the
    rest, and follows the same schedule; None is the same rate."""

    def __post_init__(self):
        super().__post_init__()
        check_widths("projector", self.projector)
        check_not_negative("off_diagonal", self.off_diagonal)
        check_positive("loss_scale", self.loss_scale)
        if self.bias_rate is not None:
            check_positive("bias_rate", self.bias_rate)
