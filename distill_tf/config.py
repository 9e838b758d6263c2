"""What distillation depends on beyond what every run does."""

import dataclasses
from typing import ClassVar

from selfsup_tf.config import FromPretrainedConfig
from selfsup_tf.errors import check


@dataclasses.dataclass(frozen=True)
class DistillConfig(FromPretrainedConfig):
    """A student's lessons. The labels of the images are never read."""

    method: ClassVar[str] = "distill"
    required: ClassVar[dict[str, str]] = {
        **FromPretrainedConfig.required,
        "teacher": "Name a fine-tuned run: --teacher=runs/finetuned",
    }

    teacher: str = ""
    """Directory of a fine-tuned run, or of a distilled one, or its classifier.keras."""
    temperature: float = 1.0
    """Divides the logits of both; SimCLR v2 takes .1 for a student of the teacher's
    size and 1 for a smaller one."""

    def __post_init__(self):
        super().__post_init__()
        check(
            self.temperature > 0,
            "temperature above 0",
            self.temperature,
            "Values between 0.1 and 1 are usual.",
        )
