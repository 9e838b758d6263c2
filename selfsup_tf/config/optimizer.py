"""The optimizer of a config."""

import dataclasses
from typing import ClassVar, Literal

from selfsup_tf.config.checks import (
    check_defaults,
    check_not_negative,
    check_positive,
)
from selfsup_tf.errors import check
from selfsup_tf.fields import check_fields


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """How the weights follow their gradients.

    An option that the optimizer does not have is refused.
    """

    TAKEN_BY: ClassVar[dict[str, tuple[str, ...]]] = {
        "momentum": ("lars", "sgd", "rmsprop"),
        "nesterov": ("sgd",),
        "lars_form": ("lars",),
        "trust_coefficient": ("lars",),
        "trust_clip": ("lars",),
        "final_weight_decay": ("adamw", "lamb"),
    }

    name: Literal["lars", "sgd", "adam", "adamw", "rmsprop", "lamb"] = "lars"
    """lars is the papers'; the others are Keras's."""
    learning_rate: float = 0.3
    """Per 256 images of the global batch."""
    scaling: Literal["linear", "sqrt", "none"] = "linear"
    """How the rate grows with the batch: by batch/256, by its root, or not."""
    warmup_epochs: float = 10.0
    """Epochs in which the rate rises linearly from 0."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """What the rate does after the warm-up."""
    weight_decay: float = 1e-6
    """Decoupled for adamw and lamb, coupled into the gradient for the others."""
    final_weight_decay: float | None = None
    """What the decay of adamw and lamb has come to at the end, along half a cosine
    (DINO); where it is left out, the decay stays."""
    momentum: float = 0.9
    """Momentum of lars, sgd and rmsprop."""
    nesterov: bool = False
    """Whether sgd looks ahead."""
    lars_form: Literal["classic", "popular"] = "classic"
    """Whether the rate enters the velocity (SimCLR) or the update (BYOL)."""
    trust_coefficient: float = 0.001
    """eta of lars: how large an update may be beside its weights."""
    trust_clip: bool = False
    """Whether lars keeps the learning rate times the trust at the rate or below, as
    solo-learn does: its effective rate is the smaller of trust and rate."""
    clip_norm: float | None = None
    """Largest norm of the gradient, of all variables together; longer ones are scaled
    down. The decay of sgd, adam and rmsprop is in it, that of others comes after."""
    clip_each: bool = False
    """Whether clip_norm is that of each variable's gradient by itself (DINO)."""

    def __post_init__(self):
        check_fields(self)
        check_positive("optimizer.learning_rate", self.learning_rate)
        check_not_negative("optimizer.weight_decay", self.weight_decay)
        check_not_negative("optimizer.warmup_epochs", self.warmup_epochs)
        check_positive("optimizer.trust_coefficient", self.trust_coefficient)
        check(
            0 <= self.momentum < 1,
            "optimizer.momentum of 0 or more, below 1",
            self.momentum,
            "0.9 is usual.",
        )
        if self.clip_norm is not None:
            check_positive("optimizer.clip_norm", self.clip_norm)
        if self.final_weight_decay is not None:
            check_not_negative("optimizer.final_weight_decay", self.final_weight_decay)
        check(
            self.clip_norm is not None or not self.clip_each,
            "optimizer.clip_norm where clip_each is given",
            None,
            "Give the largest norm, or leave out clip_each.",
        )
        check_defaults(self, "optimizer", self.TAKEN_BY)
