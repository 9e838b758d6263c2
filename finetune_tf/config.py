"""What fine-tuning depends on beyond what every run does."""

import dataclasses
from typing import ClassVar

from selfsup_tf.config import FromPretrainedConfig
from selfsup_tf.errors import check


@dataclasses.dataclass(frozen=True)
class FinetuneConfig(FromPretrainedConfig):
    """The training of a classifier on labels, few or many."""

    method: ClassVar[str] = "finetune"
    title: ClassVar[str | None] = "Fine-tuning"

    head_layer: int = 0
    """Layers of the run's projection head that stay below the classifier: 0 for none;
    SimCLR v2 keeps 1 where labels are few."""
    frozen: bool = False
    """Whether only the classifier learns, which is linear evaluation."""
    fraction: float = 1.0
    """Share of the labels to learn from, the same of every class, drawn by the seed."""

    def __post_init__(self):
        super().__post_init__()
        check(
            self.head_layer >= 0,
            "head_layer of 0 or more",
            self.head_layer,
            "0 fine-tunes from the representation, 1 from the first layer of the head.",
        )
        check(
            self.pretrained is not None or not self.head_layer,
            "--pretrained, the run whose projection head is meant",
            f"head_layer={self.head_layer} alone",
            "Name a run, --pretrained=runs/a, or use --head_layer=0.",
        )
        check(
            0 < self.fraction <= 1,
            "fraction within (0, 1]",
            self.fraction,
            "0.01 stands for 1 % of the labels.",
        )
