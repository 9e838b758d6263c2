"""What a MoCo run depends on beyond what every run does."""

import dataclasses
from typing import ClassVar, Literal

from selfsup_tf.config import StartedConfig
from selfsup_tf.config.checks import (
    check_not_negative,
    check_positive,
    check_taus,
    check_widths,
)
from selfsup_tf.errors import check


@dataclasses.dataclass(frozen=True)
class MoCoConfig(StartedConfig):
    """A MoCo run, v3 without a queue and v2 with one.

    The fields declared here are those of v3 for a ResNet-50 on ImageNet. Views,
    optimizer and the input's mean are set by the recipes.
    """

    method: ClassVar[str] = "moco"
    num_views: ClassVar[int | None] = 2

    queue: int = 0
    """Keys of past images that are the negatives (v2); 0 takes the other images of the
    global batch in their place (v3)."""
    temperature: float = 1.0
    """Divides the cosines."""
    base_tau: float = 0.99
    """Decay of the target's moving average at the start."""
    final_tau: float = 1.0
    """What it has come to at the end."""
    projector: tuple[int, ...] = (4096, 256)
    """Output size of each layer of the projector."""
    projector_norm: Literal["bare", "none"] = "bare"
    """Whether the projector has BatchNorms, the last without centre and scale (v3), or
    biases in their place (v2)."""
    predictor: tuple[int, ...] = (4096, 256)
    """Output size of each layer of the predictor; none, a bare --predictor, for v2."""
    predictor_norm: Literal["hidden", "bare"] = "hidden"
    """Whether the predictor ends without BatchNorm (ResNets) or in one without centre
    and scale (ViTs)."""
    directions: Literal["one", "mean", "sum"] = "sum"
    """Whether view 1 alone looks for view 2 (v2), or each for the other, the two losses
    being averaged or added (v3)."""

    def __post_init__(self):
        super().__post_init__()
        check_not_negative("queue", self.queue)
        check_positive("temperature", self.temperature)
        check_taus(self.base_tau, self.final_tau)
        check_widths("projector", self.projector)
        if self.predictor:
            check_widths("predictor", self.predictor)
            check(
                self.projector[-1] == self.predictor[-1],
                "projector and predictor to end in the same size",
                f"projector={self.projector}, predictor={self.predictor}",
                "The prediction is compared with a projection; give both the same end.",
            )

    def unheeded(self):
        """How a predictor ends, where there is none."""
        found = super().unheeded()
        if not self.predictor:
            found |= {"predictor_norm": "with a predictor: --predictor 512 128"}
        return found
