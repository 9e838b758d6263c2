"""Accuracy of the classifier that a run has left; details are a `Classification`."""

import dataclasses

from selfsup_tf.commands import spelled
from selfsup_tf.evaluation.flags import ImageFlags
from selfsup_tf.evaluation.judged import Judged
from selfsup_tf.evaluation.labelled import (
    Labelled,
    format_with_classes,
    judge_each,
    measured_on,
)
from selfsup_tf.evaluation.protocol import Result
from selfsup_tf.evaluation.unused_labels import open_unused

TRAIN_ONE = (
    f"finetune and distill leave one: {spelled('train')} finetune RECIPE "
    "--pretrained=DIRECTORY --run_dir=DIRECTORY"
)


@dataclasses.dataclass(frozen=True)
class AccuracyFlags(ImageFlags):
    """Accuracy of the classifier that finetune or distill left in a run."""

    classes: bool = False
    """Whether precision, recall and F1 of every class are printed, too."""


class Accuracy(Labelled):
    title = "Classifier"
    flags = AccuracyFlags
    order = 70
    needs = ("labels", "classifier")
    measured_by_report = True

    def run(self, judged: Judged, flags: AccuracyFlags) -> Result:
        from selfsup_tf.evaluation.features import weights_hash
        from selfsup_tf.evaluation.measures.classification import classifier_accuracy

        classifier, names = judged.classifier(TRAIN_ONE), None
        if judged.given is None:
            names = judged.run.read_class_names()
        test = open_unused(judged) or judged.open_test()
        found, seconds = judge_each(
            {"trained": lambda: classifier},
            lambda _, it: classifier_accuracy(it, test, class_names=names).to_dict(),
        )
        return judged.result(
            self.title,
            rows=self.rows(found["trained"]),
            measured_on=measured_on(test=test),
            details=found,
            network="classifier",
            weights_hash=weights_hash(classifier),
            seconds=seconds,
        )

    def text(self, result: Result, flags: AccuracyFlags) -> str:
        """One line: accuracy on 10000 of cifar10:test: top-1 61.20 %, top-5 95.31 %."""
        found = result.details["trained"]
        low, high = found["top_1_interval"]
        line = (
            f"accuracy on {found['num_test']} of {result.measured_on['test']['name']}: "
            f"top-1 {100 * found['top_1']:.2f} % ({100 * low:.2f} to {100 * high:.2f})"
        )
        if found["top_5"] is not None:
            line += f", top-5 {100 * found['top_5']:.2f} %"
        return format_with_classes(line, found, flags)


PROTOCOL = Accuracy()
