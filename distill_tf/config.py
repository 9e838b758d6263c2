"""What distillation depends on beyond what every run does."""

import dataclasses
import pathlib
from typing import ClassVar, Literal

from selfsup_tf.config import FromPretrainedConfig
from selfsup_tf.config.checks import check_positive
from selfsup_tf.errors import check
from selfsup_tf.existing import is_file_of_vectors
from selfsup_tf.run import RunDirectory


@dataclasses.dataclass(frozen=True)
class DistillConfig(FromPretrainedConfig):
    """A student's lessons. The labels of the images are never read."""

    method: ClassVar[str] = "distill"
    title: ClassVar[str | None] = "Distillation"
    required: ClassVar[dict[str, str]] = {
        **FromPretrainedConfig.required,
        "teacher": "Name an encoder that exists, --teacher=imagenet:EfficientNetB0 or "
        "--teacher=hub:dinov2_small, or a fine-tuned run, --teacher=runs/finetuned",
    }

    teacher: str = ""
    """An encoder that exists (docs/encoders.md), a file of vectors that `eval.py embed`
    wrote, or a run with a classifier or its classifier.keras."""
    loss: Literal["auto", "classes", "regression", "relational"] = "auto"
    """What the student learns of the teacher: its answers (classes), its vectors
    (regression), or which images are like which (relational). auto takes classes where
    the teacher is a classifier, else regression."""
    temperature: float = 1.0
    """Of classes: divides the logits of both; SimCLR v2 takes .1 for a student of the
    teacher's size and 1 for a smaller one."""
    teacher_sees: Literal["view", "image"] = "view"
    """What the teacher is shown: the student's view each time, or each image once,
    whole, before training; its vectors are then kept in the run's directory."""
    centre: bool = False
    """Whether the mean of the teacher's vectors over all images is taken off each, so
    that what all images share counts nothing. It wants --teacher_sees=image."""
    predictor: Literal["mlp", "linear"] = "mlp"
    """Between the student's vectors and the teacher's: SimReg's four layers, or one,
    with which the student's own vectors come near the teacher's in fewer epochs."""
    queue: int = 65536
    """Of relational: vectors of the teacher that images are compared with."""
    student_temperature: float = 0.2
    """Of relational: divides the student's cosines."""
    teacher_temperature: float = 0.01
    """Of relational: divides the teacher's cosines."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("temperature", "student_temperature", "teacher_temperature"):
            check_positive(name, getattr(self, name))
        check(
            self.queue >= self.batch_size or self.loss != "relational",
            f"a queue of at least a batch of {self.batch_size}",
            self.queue,
            "Raise --queue, or lower --batch_size.",
        )

    @property
    def resolved_loss(self) -> str:
        """The loss, of auto what it takes: classes, regression or relational."""
        if self.loss != "auto":
            return self.loss
        return "classes" if _is_classifier(self.teacher) else "regression"

    def unheeded(self):
        """What another loss has alone, and how a file of vectors was made."""
        of_losses = {
            "temperature": "classes",
            "queue": "relational",
            "student_temperature": "relational",
            "teacher_temperature": "relational",
        }
        # What auto takes of a teacher that isn't there is not known.
        known = self.loss != "auto" or _is_there(self.teacher)
        found = {
            name: f"with --loss={loss}"
            for name, loss in of_losses.items()
            if known and self.resolved_loss != loss
        }
        if is_file_of_vectors(self.teacher):
            found["teacher_sees"] = "with an encoder for a teacher"
        return super().unheeded() | found


def _is_there(name: str) -> bool:
    return ":" in name or pathlib.Path(name).expanduser().exists()


def _is_classifier(name: str) -> bool:
    """Whether a teacher is a run that left a classifier, or such a file."""
    if is_file_of_vectors(name) or ":" in name:
        return False
    run = RunDirectory(name)
    classifier = run.kept("classifier")
    return run.file in (None, classifier) and classifier.is_file()
