"""What a DINO run depends on beyond what every run does."""

import dataclasses
from typing import ClassVar, Literal

from selfsup_tf.config import StartedConfig
from selfsup_tf.config.checks import (
    check_not_negative,
    check_positive,
    check_probability,
    check_taus,
    check_widths,
)
from selfsup_tf.errors import check


@dataclasses.dataclass(frozen=True)
class DINOConfig(StartedConfig):
    """A DINO run.

    The first two views are the large ones, which the target sees; the others may be
    smaller. The fields declared here are those of the authors' command of 100 epochs.
    Views, optimizer and the input's mean are set by the recipes.
    """

    method: ClassVar[str] = "dino"

    temperature: float = 0.1
    """Divides the scores of the network that learns."""
    target_temperature: float = 0.04
    """Divides those of the target, after the warm-up."""
    target_temperature_start: float = 0.04
    """What divides them in the first epoch, where it has such epochs."""
    target_temperature_epochs: int = 0
    """Epochs in which the target's temperature goes from one to the other, by equal
    steps between epochs."""
    centre_momentum: float = 0.9
    """Decay of the centre, the mean of the target's scores, which is taken off them."""
    base_tau: float = 0.996
    """Decay of the target's moving average at the start."""
    final_tau: float = 1.0
    """What it has come to at the end."""
    projector: tuple[int, ...] = (2048, 2048, 256)
    """Output size of each layer of the projector; GELU stands between them."""
    projector_norm: Literal["none", "hidden"] = "none"
    """Whether its layers but the last have BatchNorms in place of biases."""
    prototypes: int = 65536
    """Scores of an image: its cosines with so many learned directions."""
    learn_lengths: bool = False
    """Whether the prototypes learn their lengths, too (the authors, for ViT-S)."""
    frozen_epochs: float = 1.0
    """Epochs at the start in which the prototypes learn nothing."""

    def __post_init__(self):
        super().__post_init__()
        temperatures = "temperature", "target_temperature", "target_temperature_start"
        for name in (*temperatures, "prototypes"):
            check_positive(name, getattr(self, name))
        for name in ("target_temperature_epochs", "frozen_epochs"):
            check_not_negative(name, getattr(self, name))
        check_probability("centre_momentum", self.centre_momentum)
        check_taus(self.base_tau, self.final_tau)
        check_widths("projector", self.projector)
        start, end = self.target_temperature_start, self.target_temperature
        check(
            self.target_temperature_epochs > 0 or start == end,
            "target_temperature_epochs where the target's temperature changes",
            f"{start:g} to {end:g} in 0 epochs",
            "Give the epochs, or target_temperature_start the value of the end.",
        )
        sizes = [view.size for view in self.drawn_views.values()]
        check(
            sizes[:2] == [self.image_size] * 2,
            f"two views for dino of image_size={self.image_size}, and any after them",
            f"views of {', '.join(map(str, sizes))} pixels",
            "Put the large views first, and leave out their size.",
        )

    def unheeded(self):
        """The epochs of a warm-up that begins where it ends."""
        found = super().unheeded()
        if self.target_temperature_start == self.target_temperature:
            other = "with another --target_temperature_start than --target_temperature"
            found |= {"target_temperature_epochs": other}
        return found
