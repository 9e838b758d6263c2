"""What an encoder itself makes of the images of a proof, for artefacts to be held to.

Legend: N held-out images, B images of the bank, S height and width of the encoder's
input, D length of the representation h, C classes.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from selfsup_tf.evaluation.features import Features
from selfsup_tf.evaluation.measures.classification import check_labels, top_hits
from selfsup_tf.evaluation.measures.knn import PRESETS, knn_rank
from selfsup_tf.evaluation.measures.linear_fit import INVERSE_PENALTIES, fit_lbfgs
from selfsup_tf.evaluation.vectors import check_finite
from selfsup_tf.exporting.format import Networks
from selfsup_tf.exporting.proof import Proof

BATCH_SIZE = 32
# Of a bank of 2,000, the 200 neighbours of the other preset would be a tenth.
KNN = PRESETS["solo-learn"]
# Of the median image's largest component of h: what is far from the others.
OUTLYING = 3.0


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """How well labels are read from representations.

    Attributes:
        knn_hits: (N,) float64, 1 where weighted k-NN in the bank answers rightly.
        linear_hits: The same of a logistic regression fitted to the bank.
        inverse_penalty: C of scikit-learn that it was fitted with.
    """

    knn_hits: np.ndarray
    linear_hits: np.ndarray
    inverse_penalty: float

    @property
    def knn_top_1(self) -> float:
        """In [0, 1]."""
        return float(self.knn_hits.mean())

    @property
    def linear_top_1(self) -> float:
        """In [0, 1]."""
        return float(self.linear_hits.mean())


@dataclasses.dataclass(frozen=True)
class Reference:
    """The encoder's own answers, in Keras.

    Attributes:
        representations: Of the proof's views, (N, D) float32.
        accuracy: None without labels.
        probabilities: The classifier's, (N, C) float32; None without one.
        classifier_top_1: Its share of right answers, in [0, 1]; None where the labels
            are not of its classes.
        of_images: The same of the proof's `image_views`, for what is called with
            `images`; None where none is shrunk.
    """

    representations: np.ndarray
    accuracy: Accuracy | None = None
    probabilities: np.ndarray | None = None
    classifier_top_1: float | None = None
    of_images: "Reference | None" = None


def make_reference(networks: Networks, proof: Proof) -> Reference:
    """Calls the encoder with the images of a proof, on the CPU.

    A GPU multiplies in TF32 unless told otherwise, whose rounding would be laid to the
    artefacts, which run on the CPU.

    Args:
        networks: The encoder, and a classifier or none.
        proof: The images.

    Raises:
        InputError: A representation or logit is NaN or infinite.
    """
    encoder, classifier = networks.encoder, networks.classifier
    judge = None
    if proof.bank is not None:
        judge = fit_judge(call_network(encoder, proof.bank.views), proof)

    def answers(views: np.ndarray) -> Reference:
        representations = call_network(encoder, views)
        probabilities, top_1 = None, None
        if classifier is not None:
            probabilities = tf.nn.softmax(call_network(classifier, views)).numpy()
            top_1 = classifier_accuracy(probabilities, proof, networks.class_names)
        return Reference(
            representations=representations,
            accuracy=judge and judge(representations),
            probabilities=probabilities,
            classifier_top_1=top_1,
        )

    found = answers(proof.held_out.views)
    of_images = answers(proof.image_views) if proof.shrunk else None
    return dataclasses.replace(found, of_images=of_images)


def describe_judges(reference: Reference, proof: Proof) -> dict[str, Any] | None:
    """How labels are read from representations; None of a proof without labels."""
    if reference.accuracy is None:
        return None
    return {
        "knn": {**KNN, "k": _neighbours(proof)},
        "linear": {
            "classifier": "logistic regression on standardised representations (lbfgs)",
            # Chosen on the bank for the encoder; every file's is fitted with the same.
            "inverse_penalty": reference.accuracy.inverse_penalty,
        },
    }


def fit_judge(
    bank: np.ndarray, proof: Proof, inverse_penalty: float | None = None
) -> Callable[[np.ndarray], Accuracy]:
    """Fits what reads labels from representations, to those of a proof's bank.

    Args:
        bank: (B, D) float32, finite.
        proof: The labels.
        inverse_penalty: Of the logistic regression; None chooses it on the bank.

    Returns:
        From representations of the proof's views, (N, D) float32, finite, to how well
        their labels are read.
    """
    labels = proof.held_out.labels
    num_classes = check_labels(proof.bank.labels, labels)
    examples = Features(bank, proof.bank.labels, np.arange(len(bank)))
    candidates = INVERSE_PENALTIES if inverse_penalty is None else (inverse_penalty,)
    classify, fit = fit_lbfgs(examples, num_classes, candidates)

    def judge(representations):
        votes = knn_rank(
            bank,
            proof.bank.labels,
            representations,
            k=_neighbours(proof),
            temperature=KNN["temperature"],
            num_classes=num_classes,
        )
        return Accuracy(
            knn_hits=top_hits(votes, labels, 1),
            linear_hits=top_hits(classify(representations), labels, 1),
            inverse_penalty=fit["inverse_penalty"],
        )

    return judge


def _neighbours(proof: Proof) -> int:
    return min(KNN["k"], len(proof.bank.views))


def classifier_accuracy(
    probabilities: np.ndarray, proof: Proof, class_names: tuple[str, ...] | None
) -> float | None:
    """Share of right answers; None where the proof's labels are of other classes."""
    # Those of the proof are None without labels.
    if None in (class_names, proof.class_names):
        return None
    if tuple(proof.class_names) != tuple(class_names):
        return None
    return float(top_hits(probabilities, proof.held_out.labels, 1).mean())


def call_network(model: keras.Model, views: np.ndarray) -> np.ndarray:
    """What a network makes of views, (N, S, S, 3) float32, on the CPU: (N, D) float32.

    Raises:
        InputError: NaN or infinity.
    """
    with tf.device("CPU:0"):
        found = [
            model(tf.constant(views[start : start + BATCH_SIZE]), training=False)
            for start in range(0, len(views), BATCH_SIZE)
        ]
    found = np.concatenate([tf.cast(h, tf.float32).numpy() for h in found])
    check_finite(found, "the images of the proof")
    return found


def without_outliers(encoder: keras.Model, proof: Proof) -> Proof:
    """The proof with its typical calibration images, which 8 bits are calibrated on.

    TFLite takes an activation's range from its least and largest value over all images.
    One image of 200 whose activations are fifty times the others' therefore leaves
    these a few of the 256 steps. What lies beyond a range is clipped to it. (16 bits
    have steps for all; clipping would only harm them.)

    An image is left out where the largest component of its h is more than `OUTLYING`
    times that of the median image. Representations without such images keep all.

    Args:
        encoder: float32 [0, 1] (N, S, S, 3) -> h (N, D) float32.
        proof: With calibration images, or without.

    Reference: S. Migacz, "8-bit inference with TensorRT", GTC 2017: saturated ranges.
    """
    if proof.calibration is None:
        return proof
    views = proof.calibration.views
    reach = np.abs(call_network(encoder, views)).max(axis=1)
    typical = views[reach <= OUTLYING * np.median(reach)]
    return dataclasses.replace(proof, typical=typical)
