"""Runs that show one view of each image, and may start where another run ended."""

import dataclasses
from typing import ClassVar

from selfsup_tf.config import PRETRAINED, Config, EncoderConfig, ViewConfig
from selfsup_tf.errors import check

OF_THE_RUN = EncoderConfig(name=PRETRAINED)


@dataclasses.dataclass(frozen=True)
class SingleViewConfig(Config):
    """A run that sees view_1 of each image."""

    required: ClassVar[dict[str, str]] = {
        **Config.required,
        "pretrained": "Name the run to start from, --pretrained=runs/a; or give "
        "--pretrained=None and describe a network by --encoder.",
    }

    encoder: EncoderConfig = OF_THE_RUN
    """The network, where none is pretrained."""
    pretrained: str | None = None
    """Directory of the run whose encoder this one starts from, or a .keras file; None
    builds the one that --encoder describes."""
    from_scratch: bool = False
    """Whether the pretrained run's network starts from fresh weights, to compare."""

    def __post_init__(self):
        super().__post_init__()
        check(
            self.view_2 in (ViewConfig(), self.view_1),
            f"no view_2, since {self.method} shows one view of each image",
            "a view_2 of its own",
            "Set --view_1 alone.",
        )
        check(
            self.pretrained is None or self.encoder == OF_THE_RUN,
            "either --pretrained, whose encoder is taken as it is, or --encoder",
            f"both: pretrained={self.pretrained}, encoder={self.encoder.name}",
            "Leave out the flags of --encoder, or give --pretrained=None.",
        )
        check(
            self.pretrained is not None or not self.from_scratch,
            "--pretrained, the run whose network is meant",
            "from_scratch alone",
            "Name a run, --pretrained=runs/a, or leave out --from_scratch.",
        )
