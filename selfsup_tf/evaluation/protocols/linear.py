"""Linear probe: accuracy of a linear classifier; details are a `LinearResult`."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from selfsup_tf.errors import check
from selfsup_tf.evaluation.labelled import (
    ClassifierFlags,
    Classifying,
    accuracy_rows,
    format_with_classes,
    judge_labelled,
    upgrade_labelled,
)
from selfsup_tf.evaluation.protocol import Result
from selfsup_tf.evaluation.text import format_rows

if TYPE_CHECKING:
    from selfsup_tf.evaluation.judged import Judged


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


class Linear(Classifying):
    """See `selfsup_tf.evaluation.linear`."""

    title = "Linear probe"
    flags = LinearFlags
    order = 20
    measured_by_report = True

    def run(self, judged: "Judged", flags: LinearFlags) -> Result:
        """Judges the encoder, and the same network untrained."""
        from selfsup_tf.evaluation.linear import linear_probe

        check(
            flags.preset != "lbfgs" or flags.batch_size == LinearFlags.batch_size,
            "--batch_size beside --preset=simclr or byol, which take steps",
            f"--batch_size={flags.batch_size} with --preset=lbfgs",
            "Leave it out.",
        )
        names = ("preset", "epochs", "learning_rate", "weight_decay", "batch_size")
        options = {name: getattr(flags, name) for name in (*names, "seed")}
        measure = functools.partial(linear_probe, **options)
        return judge_labelled(
            self, judged, measure, accuracy_rows, untrained=flags.untrained
        )

    def text(self, result: Result, flags: LinearFlags) -> str:
        """The table of its rows, under the optimizer that was taken."""
        found = result.details["trained"]
        text = format_rows(result, {"": head(found)})
        return format_with_classes(text, found, flags)

    def upgrade(self, name: str, values: Mapping[str, Any]) -> Result:
        """A linear.json of before there was one form."""
        return upgrade_labelled(self, name, values)


def head(found: Mapping[str, Any]) -> str:
    """The optimizer that was taken, such as linear (optimizer=lbfgs)."""
    return f"linear (optimizer={found['optimizer']})"


PROTOCOL = Linear()
