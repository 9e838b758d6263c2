"""What a run that goes on from an encoder that exists depends on."""

import dataclasses

from selfsup_tf.config.checks import check_positive
from selfsup_tf.config.encoder import PRETRAINED
from selfsup_tf.config.run_config import Config
from selfsup_tf.errors import check


@dataclasses.dataclass(frozen=True)
class StartedConfig(Config):
    """A run that may go on from an encoder that exists; methods extend it once."""

    start: str | None = None
    """An encoder that exists to go on from (docs/encoders.md), in place of the network
    that --encoder describes, at --image_size."""
    freeze: str = ""
    """With --start: how many of its stages stay as they are, each ending where the
    feature maps become half as high; or the name of the last layer that stays."""
    start_rate: float = 1.0
    """With --start: multiplies the learning rate of what it brings; the heads, which
    are new, have the full rate. It does not slow the weight decay of adamw and lamb."""

    def __post_init__(self):
        super().__post_init__()
        check_positive("start_rate", self.start_rate)
        check(
            self.encoder.name != PRETRAINED,
            "a network, such as --encoder.name=resnet18, or --start",
            f"--encoder.name={PRETRAINED}",
            "Leave --encoder.name out; --start names what to go on from.",
        )
        check(
            self.start is not None or not (self.freeze or self.start_rate != 1),
            "--start, whose stages or rate are meant",
            f"none beside freeze={self.freeze!r}, start_rate={self.start_rate:g}",
            "Name an encoder that exists, or leave these out.",
        )

    def unheeded(self):
        """The network's description, where another is gone on from."""
        found = super().unheeded()
        return found if self.start is None else found | {"encoder": "without --start"}
