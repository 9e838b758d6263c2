"""What a SimSiam run depends on beyond what every run does."""

import dataclasses
from typing import ClassVar, Literal

from selfsup_tf.config import StartedConfig
from selfsup_tf.config.checks import check_widths
from selfsup_tf.errors import check


@dataclasses.dataclass(frozen=True)
class SimSiamConfig(StartedConfig):
    """A SimSiam run.

    The fields declared here are the paper's for ImageNet. Views, optimizer and the
    input's mean are set by the recipes.
    """

    method: ClassVar[str] = "simsiam"
    num_views: ClassVar[int | None] = 2

    projector: tuple[int, ...] = (2048, 2048, 2048)
    """Output size of each layer of the projector."""
    projector_norm: Literal["bare", "full"] = "bare"
    """Whether the BatchNorm after the projector's last layer is bare, without centre
    and scale, or full, as in lightly's benchmark."""
    predictor: tuple[int, ...] = (512, 2048)
    """Output size of each layer of the predictor: a bottleneck."""
    fixed_predictor_rate: bool = True
    """Whether the predictor's rate stays at its peak for the whole run."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("projector", "predictor"):
            check_widths(name, getattr(self, name))
        check(
            self.projector[-1] == self.predictor[-1],
            "projector and predictor to end in the same size",
            f"projector={self.projector}, predictor={self.predictor}",
            "The prediction is compared with a projection; give both the same end.",
        )
