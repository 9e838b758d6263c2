"""What a BYOL run depends on beyond what every run does."""

import dataclasses
from typing import ClassVar, Literal

from selfsup_tf.config import StartedConfig
from selfsup_tf.config.checks import check_widths
from selfsup_tf.errors import check


@dataclasses.dataclass(frozen=True)
class BYOLConfig(StartedConfig):
    """A BYOL run.

    The fields declared here are the paper's for 1000 epochs of ImageNet. Views,
    optimizer and the input's mean are set by the recipes.
    """

    method: ClassVar[str] = "byol"
    num_views: ClassVar[int | None] = 2

    base_tau: float = 0.996
    """Decay of the target's moving average at the start; it rises to 1."""
    projector: tuple[int, ...] = (4096, 256)
    """Output size of each layer of the projector."""
    predictor: tuple[int, ...] = (4096, 256)
    """Output size of each layer of the predictor."""
    directions: Literal["mean", "sum"] = "sum"
    """Whether the losses of the two directions are added, as in the paper, or
    averaged, as in lightly."""

    def __post_init__(self):
        super().__post_init__()
        check(
            0 <= self.base_tau <= 1,
            "base_tau in [0, 1]",
            self.base_tau,
            "The papers use .97 to .996.",
        )
        for name in ("projector", "predictor"):
            check_widths(name, getattr(self, name))
        check(
            self.projector[-1] == self.predictor[-1],
            "projector and predictor to end in the same size",
            f"projector={self.projector}, predictor={self.predictor}",
            "The prediction is compared with a projection; give both the same end.",
        )
