"""Linear probe: accuracy of a linear classifier; details are a `LinearResult`."""

import dataclasses
from typing import Literal

from selfsup_tf.errors import check
from selfsup_tf.evaluation.labelled import ClassifierFlags, Labelled


@dataclasses.dataclass(frozen=True)
class LinearFlags(ClassifierFlags):
    """Accuracy of a linear classifier on the frozen encoder."""

    preset: Literal["lbfgs", "simclr", "byol"] = "lbfgs"
    """lbfgs: on stored representations, minutes; simclr and byol: the papers', SGD on
    fresh crops and flips, hours."""
    epochs: int | None = None
    """simclr, byol: passes over the images, 90 and 80."""
    learning_rate: float | None = None
    """simclr, byol: per 256 images, 0.1 and 0.2."""
    weight_decay: float | None = None
    """simclr, byol: 1e-6 and 0."""
    batch_size: int = 256
    """simclr, byol: images in a step; the papers' are 4096 and 1024."""
    seed: int = 0
    """Of the split that chooses the penalty (lbfgs), or of order and crops."""

    def __post_init__(self):
        check(
            self.preset != "lbfgs" or self.batch_size == LinearFlags.batch_size,
            "--batch_size beside --preset=simclr or byol, which take steps",
            f"--batch_size={self.batch_size} with --preset=lbfgs",
            "Leave it out.",
        )


class Linear(Labelled):
    title = "Linear probe"
    flags = LinearFlags
    order = 20
    measured_by_report = True
    function = "selfsup_tf.evaluation.measures.linear:linear_probe"
    shown = ("optimizer",)

    def takes_vectors(self, flags: LinearFlags) -> bool:
        return flags.preset == "lbfgs"  # the others draw crops


PROTOCOL = Linear()
