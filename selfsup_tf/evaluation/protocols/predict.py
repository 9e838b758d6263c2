"""Writes the class of every image of a folder to a file."""

import dataclasses

from selfsup_tf.errors import check
from selfsup_tf.evaluation.flags import EncoderFlags
from selfsup_tf.evaluation.judged import Judged
from selfsup_tf.evaluation.protocol import Protocol

NO_CLASSIFIER = (
    "Name a few labelled images, a sub-folder for each class: --examples=FOLDER; or a "
    "run of finetune or distill, which leaves a classifier."
)


@dataclasses.dataclass(frozen=True)
class PredictFlags(EncoderFlags):
    """Writes the class of every image and its probability to a file.

    The run's classifier answers, or, with --examples, the nearest labelled images.
    """

    output: str = ""
    """A .csv or .parquet file; RUN_DIR/eval/predict.csv if it is left out."""
    split: str = "train"
    """Which part of the data."""
    examples: str | None = None
    """A few labelled images whose nearest ones vote: a folder with a sub-folder for
    each class, an .npz file, a TFDS name."""
    k: int = 5
    """With --examples: how many vote."""
    temperature: float = 0.1
    """With --examples: how much more the nearest of them count."""
    overwrite: bool = False
    """Whether a file that is there is replaced."""

    def __post_init__(self):
        own = {"encoder": "last", "k": 5, "temperature": 0.1}
        said = [f"--{n}" for n, usual in own.items() if getattr(self, n) != usual]
        check(
            self.examples is not None or not said,
            f"--examples beside {' and '.join(said)}, which the classifier ignores",
            "none",
            "Name labelled images, --examples=FOLDER, or leave the flags out.",
        )


class Predict(Protocol):
    title = "Classes"
    flags = PredictFlags
    order = 135

    def run(self, judged: Judged, flags: PredictFlags) -> None:
        from selfsup_tf.evaluation.measures import prediction

        if not flags.output:
            judged.check_place()
        output = flags.output or judged.run.result("predict", ".csv")
        found = prediction.predict(
            self._answers(judged, flags),
            judged.open_source(flags.split),
            output,
            overwrite=flags.overwrite,
        )
        shares = ", ".join(f"{count} {name}" for name, count in found.counts.items())
        print(f"{sum(found.counts.values())} images, {shares}: {found.path}")

    def _answers(self, judged, flags):
        from selfsup_tf.data.sources import open_source
        from selfsup_tf.evaluation.measures.prediction import by_classifier, by_examples

        if flags.examples is not None:
            examples = open_source(
                flags.examples,
                data_dir=flags.data_dir,
                exif=judged.turns_upright,
                channels=judged.channels,
            )
            options = {"k": flags.k, "temperature": flags.temperature}
            return by_examples(judged.encoder, examples, cache=judged.cache, **options)
        classifier = judged.classifier(NO_CLASSIFIER)
        return by_classifier(classifier, judged.run.read_class_names())


PROTOCOL = Predict()
