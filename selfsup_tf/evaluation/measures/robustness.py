"""Robustness: accuracy on blurred, noisy, compressed and brightened images.

Reference: Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations", ICLR 2019. See `selfsup_tf.data.corruptions` for what
differs from it.

Legend: N test images, D length of the representation, C classes, K corruptions.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from selfsup_tf.data import corruptions as corruptions_lib
from selfsup_tf.data import pipeline
from selfsup_tf.data.sources import Source
from selfsup_tf.errors import check, check_one_of
from selfsup_tf.evaluation.features import (
    check_none_lost,
    compile_network,
    extract_features,
    image_size,
    open_images,
    replaced,
)
from selfsup_tf.evaluation.measures.classification import check_labels
from selfsup_tf.evaluation.measures.intervals import Scored, bootstrap_interval
from selfsup_tf.evaluation.measures.knn import (
    DEFAULT_K,
    check_votes,
    fitting_k,
    knn_rank,
)
from selfsup_tf.evaluation.measures.linear_fit import fit_lbfgs
from selfsup_tf.evaluation.vectors import check_finite
from selfsup_tf.shown import brief

CLASSIFIERS = ("knn", "linear")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RobustnessResult(Scored):
    """The accuracy on spoilt images of a classifier that learned from clean ones.

    Attributes:
        classifier: knn or linear.
        clean_top_1: Share of the clean test images classified rightly, in [0, 1].
        clean_top_1_interval: Where it lies with probability 0.95.
        mean_top_1: Mean over all corruptions and strengths.
        mean_top_1_interval: Where it lies, were other test images drawn.
        top_1: Of each corruption, the shares at strengths 1 to 5.
        strengths: Of each corruption, what these mean: see `corruptions.strengths`.
        fit: How the classifier came about. knn: k and temperature. linear: as in
            `LinearResult`.
        num_train: Images that the classifier learned from.
        num_test: N.
        num_classes: C, the classes of the train set.
        per_image: (N,) float64, the share of an image's corrupted versions that is
            classified rightly.
    """

    classifier: str
    clean_top_1: float
    clean_top_1_interval: tuple[float, float]
    mean_top_1: float
    mean_top_1_interval: tuple[float, float]
    top_1: dict[str, tuple[float, ...]]
    strengths: dict[str, tuple[float, ...]]
    fit: dict[str, Any]
    num_train: int
    num_test: int
    num_classes: int

    __repr__ = brief


def robustness(
    encoder: keras.Model,
    train: Any,
    test: Any,
    *,
    classifier: str = "knn",
    corruptions: tuple[str, ...] = corruptions_lib.CORRUPTIONS,
    k: int | None = None,
    temperature: float | None = None,
    seed: int = 0,
    batch_size: int = 256,
    cache: pathlib.Path | None = None,
) -> RobustnessResult:
    """Classifies every test image clean and spoilt, in five strengths of each kind.

    The classifier learns from clean train images and is never fitted again. The test
    images are read once.

    Args:
        encoder: float32 [0, 1] (N, S, S, 3) -> h (N, D).
        train: What the classifier learns from: a labelled Source or (images, labels).
        test: What is judged, likewise.
        classifier: knn votes as `knn` does; linear is the probe that `linear_probe`
            fits by L-BFGS.
        corruptions: Kinds, of blur, noise, jpeg, brightness.
        k: knn: neighbours that vote; None for 200, or as many as a class has.
        temperature: knn: T of their weights exp(cosine / T); None for .1.
        seed: Of the noise; for linear also of the split that chooses the penalty.
        batch_size: Images in a call of the encoder.
        cache: A folder that keeps the train set's representations.

    Raises:
        InputError: No labels, one class, an unknown classifier or corruption, a bank
            smaller than k, k or temperature for a linear classifier, or a
            representation that is NaN or infinite.
    """
    check_one_of(classifier, CLASSIFIERS, "classifier to be knn or linear")
    check(
        len(corruptions) > 0 and len(set(corruptions)) == len(corruptions),
        "one corruption or more, each once",
        ", ".join(map(str, corruptions)) or "none",
        f"Choose of: {', '.join(corruptions_lib.CORRUPTIONS)}",
    )
    check(
        classifier == "knn" or (k is None and temperature is None),
        "k and temperature with classifier=knn only",
        f"k={k}, temperature={temperature} with classifier={classifier}",
        "Leave them out; a linear classifier asks no neighbours.",
    )
    temperature = 0.1 if temperature is None else temperature
    size = image_size(encoder)
    strengths = {name: corruptions_lib.strengths(name, size) for name in corruptions}
    channels = encoder.input_shape[-1]
    check(
        channels in (1, 3) or "jpeg" not in corruptions,
        f"corruptions of images of {channels} channels",
        "jpeg, which has 1 or 3",
        "Leave it out: --corruptions blur noise brightness",
    )
    train, test = open_images(encoder, train), open_images(encoder, test)
    check_labels(train.labels, test.labels)
    if classifier == "knn":
        check_votes(k, temperature, train.size)
    bank = extract_features(encoder, train, batch_size=batch_size, cache=cache)
    num_classes = int(bank.labels.max()) + 1  # no others can be answered
    if classifier == "knn":
        k = fitting_k(bank, DEFAULT_K) if k is None else k
        fit = {"k": k, "temperature": temperature}
        known = (bank.features, bank.labels)
        classify = functools.partial(knn_rank, *known, num_classes=num_classes, **fit)
    else:
        classify, fit = fit_lbfgs(bank, num_classes, seed=seed)
    answers = predict_corrupted(
        encoder, classify, test, corruptions, seed=seed, batch_size=batch_size
    )
    hits = answers == test.labels
    spoilt = hits[1:].reshape(len(corruptions), -1, len(test.labels))
    per_image = spoilt.mean(axis=(0, 1))
    return RobustnessResult(
        classifier=classifier,
        clean_top_1=float(hits[0].mean()),
        clean_top_1_interval=bootstrap_interval(hits[0]),
        mean_top_1=float(per_image.mean()),
        mean_top_1_interval=bootstrap_interval(per_image),
        top_1={
            name: tuple(map(float, kind.mean(axis=1)))
            for name, kind in zip(corruptions, spoilt, strict=True)
        },
        strengths=strengths,
        fit=fit,
        num_train=len(bank.labels),
        num_test=len(test.labels),
        num_classes=num_classes,
        per_image=per_image,
    )


def predict_corrupted(
    encoder: keras.Model,
    classify: Callable[[np.ndarray], np.ndarray],
    source: Source,
    corruptions: tuple[str, ...],
    *,
    seed: int,
    batch_size: int,
) -> np.ndarray:
    """What a classifier answers for each image, clean and spoilt. Labels aren't read.

    A batch is spoilt in all ways before the next is read, so that memory holds one
    batch whatever the number of images. `classify` makes scores (M, C) of
    representations (M, D); of equal ones the first wins, but `knn_rank` leaves none.

    Returns:
        (1 + 5 K, N) int64: clean, then strengths 1 to 5 of each kind in turn, each in
        the source's order.
    """
    encode = compile_network(encoder)
    ways = [(name, n) for name in corruptions for n in corruptions_lib.STRENGTHS]
    answers = []
    batches = pipeline.evaluation_dataset(
        source, size=image_size(encoder), batch_size=batch_size
    )
    last = -1
    for batch in batches:
        images, valid = batch["image"], batch["valid"].numpy()
        again = replaced(batch["index"].numpy(), last) & valid
        check_none_lost(again, source)
        last = batch["index"].numpy().max()
        h = [encode(images)]
        for name, strength in ways:
            spoilt = corruptions_lib.corrupt(
                images, name, strength, indices=batch["index"], seed=seed
            )
            h.append(encode(spoilt))
        h = np.stack([each.numpy()[valid] for each in h])
        check_finite(h, source.name)
        # All ways in one call: a bank of neighbours is costly to set up.
        scores = classify(h.reshape(-1, h.shape[-1]))
        answers.append(scores.argmax(axis=1).reshape(h.shape[:2]))
    return np.concatenate(answers, axis=1)
