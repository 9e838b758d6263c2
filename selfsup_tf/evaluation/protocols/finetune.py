"""Fine-tuning: accuracy with labels, beside the same network from scratch.

Details are a `Classification` of each, and how many labels were learned from.
"""

import dataclasses

from selfsup_tf.errors import check
from selfsup_tf.evaluation.beside import SCRATCH, BesideFlags
from selfsup_tf.evaluation.judged import Judged
from selfsup_tf.evaluation.labelled import (
    Labelled,
    format_with_classes,
    gain_intervals,
    measured_on,
    rows_beside,
)
from selfsup_tf.evaluation.naming import options_of, titled
from selfsup_tf.evaluation.protocol import Result


@dataclasses.dataclass(frozen=True)
class FinetuneFlags(BesideFlags):
    """Accuracy after fine-tuning on all labels or a fraction of them.

    The training is a run of its own below RUN_DIR/eval; the same command resumes it.
    """

    fraction: float = 1.0
    """Share of the labels, the same of every class, drawn by the seed."""
    epochs: float | None = None
    """Passes over the labelled images; 60 for 1 % or less, else 30."""
    batch_size: int = 64
    """Images in a step."""
    learning_rate: float = 0.2
    """Per 256 images; Nesterov SGD, cosine, no warm-up."""
    from_scratch: bool = True
    """Whether the same network is trained on the same labels from fresh weights."""
    seed: int = 0
    """Of labels, order and crops."""
    classes: bool = False
    """Whether precision, recall and F1 of every class are printed, too."""


class Finetune(Labelled):
    title = "Fine-tuning"
    flags = FinetuneFlags
    order = 60

    def run(self, judged: Judged, flags: FinetuneFlags) -> Result:
        from selfsup_tf.evaluation.measures.fine_tuning import fine_tune

        judged.check_place()
        makers = judged.encoders(untrained=False)
        encoders = {name: make() for name, make in makers.items()}
        for name, encoder in encoders.items():
            check(
                bool(encoder.trainable_weights),
                "encoders whose weights can learn",
                f"{name}, a finished program",
                "Name the .keras file that it was exported from, or leave it out.",
            )
        train, test = judged.open_evaluation()
        options = {"directory": judged.run.fine_tuning} | options_of(flags)
        tuned = fine_tune(encoders.pop("trained"), train, test, **options)
        found = {"trained": tuned.trained}
        if tuned.from_scratch is not None:
            found[SCRATCH] = tuned.from_scratch
        seconds = dict(zip(found, tuned.seconds.values(), strict=True))
        # The run's own network may stand beside itself, as another file describes it.
        beside = judged.run.fine_tuning / "beside"
        options |= {"directory": beside, "from_scratch": False}
        for name, encoder in encoders.items():
            other = fine_tune(encoder, train, test, **options)
            found[name], seconds[name] = other.trained, other.seconds["trained"]
        details = {name: one.to_dict() for name, one in found.items()}
        details["trained"] |= {"num_labels": tuned.num_labels, "run_dir": tuned.run_dir}
        rest = judged.name.removeprefix(judged.protocol)
        return judged.result(
            self.title,
            title=_title(self.title, flags.fraction, rest),
            rows=rows_beside(details, self.rows, gain_intervals(found)),
            measured_on=measured_on(train=train, test=test),
            details=details,
            seconds=seconds,
        )

    def text(self, result: Result, flags: FinetuneFlags) -> str:
        found = result.details["trained"]
        train, test = (result.measured_on[name] for name in ("train", "test"))
        width = 2 + max(12, *map(len, result.details))
        lines = [
            f"finetune on {found['num_labels']} labels of {train['name']} "
            f"({100 * flags.fraction:g} %), judged on {test['size']} of {test['name']}",
            f"{'':{width}}{'top-1':>10}{'95 % interval':>18}",
        ]
        for name, one in result.details.items():
            low, high = one["top_1_interval"]
            lines.append(
                f"{'pretrained' if name == 'trained' else name:{width}}"
                f"{100 * one['top_1']:8.2f} %{100 * low:10.2f} to {100 * high:.2f}"
            )
        lines = format_with_classes("\n".join(lines), found, flags)
        return f"{lines}\n\nThe run: {found['run_dir']}"


def _title(title: str, fraction: float, rest: str) -> str:
    return titled(
        f"{title}, {100 * fraction:g} % of labels", rest, without=("fraction",)
    )


PROTOCOL = Finetune()
