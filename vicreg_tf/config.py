"""What a VICReg run depends on beyond what every run does."""

import dataclasses
from typing import ClassVar

from selfsup_tf.config import StartedConfig
from selfsup_tf.config.checks import check_not_negative, check_widths


@dataclasses.dataclass(frozen=True)
class VICRegConfig(StartedConfig):
    """A VICReg run.

    The fields declared here are the paper's for ImageNet. Views, optimizer and the
    input's mean are set by the recipes.
    """

    method: ClassVar[str] = "vicreg"
    num_views: ClassVar[int | None] = 2

    projector: tuple[int, ...] = (8192, 8192, 8192)
    """Output size of each layer of the projector, the paper's expander."""
    invariance: float = 25.0
    """lambda: weight of the distance of two views."""
    variance: float = 25.0
    """mu: weight of features that vary too little."""
    covariance: float = 1.0
    """nu: weight of features that vary together."""

    def __post_init__(self):
        super().__post_init__()
        check_widths("projector", self.projector)
        for name in ("invariance", "variance", "covariance"):
            check_not_negative(name, getattr(self, name))
