"""The fine-tuning protocol: how good a classifier an encoder becomes with labels.

It is a run of the method finetune, judged on images that the run has not seen.

Reference: Chen et al. 2020, "A simple framework for contrastive learning of visual
    representations", appendix B.5 (unverified): Nesterov SGD of momentum .9, crops and
    flips, no warm-up, no decay, 60 epochs for 1 % of the labels and 30 for 10 %. Batch
    and rate are ours, for data of any size.
"""

import dataclasses
import pathlib
import time
from typing import Any

import keras

from selfsup_tf.config import FROM_PYTHON, Config, OptimizerConfig, ViewConfig
from selfsup_tf.data.parts import labelled_fraction
from selfsup_tf.data.source import Source, fingerprint
from selfsup_tf.errors import check
from selfsup_tf.evaluation.features import image_size, open_images, weights_hash
from selfsup_tf.evaluation.measures.classification import (
    Classification,
    check_classes,
    check_labels,
    classifier_accuracy,
)
from selfsup_tf.methods import find_method
from selfsup_tf.models.saved import load_network
from selfsup_tf.models.untrained import untrained_copy
from selfsup_tf.shown import brief
from selfsup_tf.training import loop

FEW = 0.01  # share of the labels up to which twice as many epochs are taken


@dataclasses.dataclass(frozen=True)
class FineTuning:
    """The outcome of fine-tuning.

    Attributes:
        fraction: Share of the labels that was learned from.
        num_labels: How many they are.
        trained: Accuracy of the fine-tuned encoder.
        from_scratch: Of the same network from fresh weights, or None.
        run_dir: The fine-tuned run.
        seconds: Time of each training, 0 where it was finished already.
    """

    fraction: float
    num_labels: int
    trained: Classification
    from_scratch: Classification | None
    run_dir: str
    seconds: dict[str, float]

    def __repr__(self) -> str:
        judged = {
            name: one and f"<top_1 {one.top_1:.4g}>"
            for name, one in (
                ("trained", self.trained),
                ("from_scratch", self.from_scratch),
            )
        }
        return brief(self, **judged)


def fine_tune(
    encoder: keras.Model,
    train: Any,
    test: Any,
    *,
    directory: str | pathlib.Path,
    fraction: float = 1.0,
    epochs: float | None = None,
    batch_size: int = 64,
    learning_rate: float = 0.2,
    from_scratch: bool = True,
    seed: int = 0,
) -> FineTuning:
    """Fine-tunes an encoder, and judges it on `test` once, after the last epoch.

    Args:
        encoder: float32 [0, 1] (N, S, S, 3) -> h (N, D); stays as it is.
        train: A labelled Source or (images, labels).
        test: Likewise; nothing is chosen by it.
        directory: Where the runs go, each in a directory of its own; the same call
            resumes them.
        fraction: Share of the labels, the same of every class, drawn by the seed.
        epochs: Passes over the labelled images; None for 60 up to 1 %, else 30.
        batch_size: Images in a step; at most the labelled ones.
        learning_rate: Per 256 images.
        from_scratch: Whether the same network is trained from fresh weights, too.
        seed: Of labels, order and crops.

    Raises:
        InputError: Labels are missing, or a class would be left without any.
        TrainingDiverged: The rate is too high.
    """
    train, test = open_images(encoder, train), open_images(encoder, test)
    check_labels(train.labels, test.labels)
    # Before an hour of training.
    check_classes(test, train.class_names, partly=True)
    digest = weights_hash(encoder)
    package = find_method("finetune")
    if epochs is None:
        epochs = 60 if fraction <= FEW else 30
    starts = {"trained": lambda: encoder}
    if from_scratch:
        starts["from_scratch"] = lambda: untrained_copy(encoder, seed)
    count = labelled_fraction(train, fraction, seed=seed).size
    check(count >= 2, "two labelled images or more", count, "Raise --fraction.")
    config = package.config_class(
        data=FROM_PYTHON,
        fraction=fraction,
        held_out=0,
        image_size=image_size(encoder),
        views=(ViewConfig(jitter=0.0, grayscale=0.0, blur=0.0),),
        optimizer=OptimizerConfig(
            name="sgd",
            momentum=0.9,
            nesterov=True,
            learning_rate=learning_rate,
            warmup_epochs=0.0,
            weight_decay=0.0,
        ),
        epochs=epochs,
        batch_size=min(batch_size, count),
        checkpoint_epochs=max(1.0, epochs / 5),
        seed=seed,
    )
    results, seconds, runs = {}, {}, {}
    for name, start_from in starts.items():
        runs[name] = pathlib.Path(directory) / _run_name(name, config, train, digest)
        start = time.perf_counter()
        method = package.load()(config, encoder=start_from())
        run = loop.train(method, train, run_dir=runs[name])
        seconds[name] = round(time.perf_counter() - start, 2)
        classifier = load_network(runs[name], "classifier")
        results[name] = classifier_accuracy(
            classifier, test, class_names=method.class_names, partly=True
        )
    return FineTuning(
        fraction=fraction,
        num_labels=run.log[0]["images"],
        trained=results["trained"],
        from_scratch=results.get("from_scratch"),
        run_dir=str(runs["trained"]),
        seconds=seconds,
    )


def _run_name(start: str, config: Config, train: Source, digest: str) -> str:
    """Tells the run from those of other options, other images and other weights.

    Images that have no fingerprint are told apart by their labels.
    """
    images = train.fingerprint or fingerprint(train.name, train.labels, train.indices)
    of_both = fingerprint(digest, images)[:12]
    return (
        f"{start}_{config.fraction:g}_{config.epochs:g}_{config.batch_size}_"
        f"{config.optimizer.learning_rate:g}_{config.seed}_{of_both}"
    )
