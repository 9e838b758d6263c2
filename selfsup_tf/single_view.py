"""Runs that show one view of each image, and may start where another run ended."""

import dataclasses

from selfsup_tf.config import Config, EncoderConfig, ViewConfig
from selfsup_tf.errors import check


@dataclasses.dataclass(frozen=True)
class SingleViewConfig(Config):
    """A run that sees view_1 of each image."""

    pretrained: str | None = None
    """Directory of the run whose encoder this one starts from, or a .keras file; none
    builds the one that --encoder describes."""

    def __post_init__(self):
        super().__post_init__()
        check(
            self.view_2 in (ViewConfig(), self.view_1),
            f"no view_2, since {self.method} shows one view of each image",
            "a view_2 of its own",
            "Set --view_1 alone.",
        )
        check(
            self.pretrained is None or self.encoder == EncoderConfig(),
            "either --pretrained, whose encoder is taken as it is, or --encoder",
            f"both: pretrained={self.pretrained}, encoder={self.encoder.name} with "
            "options",
            "Leave out the flags of --encoder, or give --pretrained=None.",
        )
