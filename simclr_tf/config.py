"""What a SimCLR run depends on beyond what every run does."""

import dataclasses
from typing import ClassVar, Literal

from selfsup_tf.config import StartedConfig
from selfsup_tf.config.checks import check_positive, check_widths


@dataclasses.dataclass(frozen=True)
class SimCLRConfig(StartedConfig):
    """A SimCLR run. The defaults are v2's head and v1's temperature."""

    method: ClassVar[str] = "simclr"
    num_views: ClassVar[int | None] = 2

    temperature: float = 0.1
    """Divides the cosines; lower sharpens the contrast."""
    projector: tuple[int, ...] = (2048, 2048, 128)
    """Output size of each layer of the projection head."""
    projector_norm: Literal["all", "hidden", "none"] = "all"
    """Which layers of the projection head end in a BatchNorm: all as in the reference,
    the last one without centre; all but the last; or none, as in solo-learn."""
    directions: Literal["mean", "sum"] = "mean"
    """Whether the losses of an image's two anchors are averaged, as in the paper, or
    added, as in the authors' code."""

    def __post_init__(self):
        super().__post_init__()
        check_positive("temperature", self.temperature)
        check_widths("projector", self.projector)
