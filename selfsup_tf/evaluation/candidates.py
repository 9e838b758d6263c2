"""Measures several encoders on the same images, for `advice.py` to choose among them.

Legend: N images, S height and width of an encoder's input, D length of its
representation, k neighbours.
"""

import dataclasses
import importlib
import logging
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from selfsup_tf.data.pipeline import evaluation_dataset
from selfsup_tf.data.source import Source
from selfsup_tf.errors import InputError
from selfsup_tf.evaluation.advice import Candidate
from selfsup_tf.evaluation.features import Features, extract_features, weights_hash
from selfsup_tf.evaluation.intervals import Scored, bootstrap_interval
from selfsup_tf.evaluation.knn import KnnResult, knn_from_features
from selfsup_tf.evaluation.linear import linear_probe
from selfsup_tf.evaluation.protocol import Interval
from selfsup_tf.evaluation.retrieval import retrieval_from_features
from selfsup_tf.evaluation.statistics import directions, rank_me, singular_values
from selfsup_tf.models.teacher import Teacher
from selfsup_tf.models.untrained import untrained_copy
from selfsup_tf.run import RunDirectory

logger = logging.getLogger("selfsup_tf")

K = 20
"""Neighbours that vote, as solo-learn has them: few enough for a small folder."""
SHARED = 10
"""Neighbours of an image that two encoders may have in common."""
PARTS = (8, 4, 2, 1)
"""The labelled images are divided by these for the learning curve."""
FEWEST = 40
"""Labelled images from which on the curve is drawn."""
NEAR_COPY = 0.995
"""Correlation of two thumbnails from which on one image is a copy of the other."""
_THUMBNAIL = 16
_ROWS = 1024

# By its name, as exporting stands above evaluation in the house.
_COST = "selfsup_tf.exporting.cost:int8_cost"


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was found.

    Attributes:
        candidates: In the order of their names.
        gains: The 95 % interval of the gain of one encoder on another in what decides,
            k-NN accuracy or copies found, by their names, in either order.
        agreement: The share of `SHARED` nearest neighbours that two encoders have in
            common, by their names, in either order.
        near_copies: Test images with a near copy among the training images; without
            labels, images with one among all.
        notes: What there is to say, in sentences.
    """

    candidates: tuple[Candidate, ...]
    gains: Mapping[tuple[str, str], Interval]
    agreement: Mapping[tuple[str, str], float]
    near_copies: int
    notes: tuple[str, ...]


def measure_candidates(
    teachers: Mapping[str, Teacher],
    train: Source,
    test: Source,
    *,
    labelled: bool,
    untrained: bool = True,
    int8: bool = True,
    cache: pathlib.Path | None = None,
) -> Measured:
    """Judges each encoder on the same images, one after the other.

    Args:
        teachers: The encoders by their names.
        train: What k-NN and the linear probe learn from; not looked at without labels.
        test: What they are judged on.
        labelled: Whether the labels are used.
        untrained: Whether the same network untrained is judged beside each.
        int8: Whether each is converted to an int8 file, to see its size and speed.
        cache: A folder that keeps representations.
    """
    judge = _judge_labelled if labelled else _judge_unlabelled
    labels = _labels(list(teachers))
    found, decisive, features, notes = [], {}, {}, []
    for name, teacher in teachers.items():
        logger.info("%s:", name)
        network = teacher.network
        fields, scored, features[name] = judge(network, train, test, cache)
        decisive[name] = scored
        if untrained:
            beginning = _untrained(network, name, notes)
            if beginning is not None:
                before = judge(beginning, train, test, cache, first_alone=True)[1]
                fields["untrained"] = float(np.mean(before.per_image))
                fields["gain"] = scored.gain_interval(before)
        if int8:
            fields["cost"] = _cost(network, test, train)
        found.append(
            Candidate(
                name=name,
                label=labels[name],
                trained_here=RunDirectory(name).config.is_file(),
                parameters=network.count_params(),
                image_size=teacher.image_size,
                length=network.output_shape[-1],
                licence=teacher.licence,
                **fields,
            )
        )
        notes += teacher.notes
    pairs = [(one, other) for one in teachers for other in teachers if one != other]
    return Measured(
        candidates=tuple(found),
        gains={(a, b): decisive[a].gain_interval(decisive[b]) for a, b in pairs},
        agreement=_agreements(features, pairs),
        near_copies=_near_copies(train, test) if labelled else _near_copies(test),
        notes=tuple(notes),
    )


def _labels(names: Sequence[str]) -> dict[str, str]:
    """The last part of a path, where no other encoder has the same."""
    ends = {
        name: pathlib.Path(name).name if pathlib.Path(name).exists() else name
        for name in names
    }
    there = list(ends.values())
    return {n: end if there.count(end) == 1 else n for n, end in ends.items()}


def _judge_labelled(
    encoder: keras.Model,
    train: Source,
    test: Source,
    cache: pathlib.Path | None,
    *,
    first_alone: bool = False,
) -> tuple[dict[str, Any], KnnResult, Features]:
    """Fields of a Candidate, what decides, and the representations of `test`.

    With `first_alone` nothing but what decides is measured.
    """
    bank = extract_features(encoder, train, cache=cache)
    queries = extract_features(encoder, test, cache=cache)
    found = _knn(bank, queries)
    if first_alone:
        return {}, found, queries
    linear = linear_probe(encoder, train, test, cache=cache)
    retrieved = retrieval_from_features(bank, queries, ranks=(1,))
    fields = {
        "rank_me": rank_me(singular_values(queries.features)),
        "scores": {
            "knn": found.top_1,
            "linear": linear.top_1,
            "retrieval": retrieved.mean_average_precision,
        },
        "intervals": {
            "knn": found.top_1_interval,
            "linear": linear.top_1_interval,
            "retrieval": retrieved.mean_average_precision_interval,
        },
    }
    size = len(bank.features)
    if size >= FEWEST:
        order = np.random.default_rng(0).permutation(size)
        parts = [_knn(_first(bank, order, size // part), queries) for part in PARTS]
        fields["curve"] = tuple((one.num_train, one.top_1) for one in parts)
        fields["curve_gain"] = parts[-1].gain_interval(parts[-2])
    return fields, found, queries


def _knn(bank: Features, queries: Features) -> KnnResult:
    return knn_from_features(
        bank, queries, k=min(K, len(bank.features)), temperature=0.07
    )


def _first(features: Features, order: np.ndarray, count: int) -> Features:
    rows = order[:count]
    return Features(
        features.features[rows], features.labels[rows], features.indices[rows]
    )


def _judge_unlabelled(
    encoder: keras.Model,
    train: Source,
    test: Source,
    cache: pathlib.Path | None,
    *,
    first_alone: bool = False,
) -> tuple[dict[str, Any], Scored, Features]:
    """As `_judge_labelled`, from the images of `test` alone."""
    features = extract_features(encoder, test, cache=cache)
    found = copies_found(encoder, test, features.features)
    if first_alone:
        return {}, found, features
    fields = {
        "rank_me": rank_me(singular_values(features.features)),
        "scores": {"copies": float(found.per_image.mean())},
        "intervals": {"copies": bootstrap_interval(found.per_image)},
    }
    return fields, found, features


def copies_found(encoder: keras.Model, source: Source, features: np.ndarray) -> Scored:
    """Whether the altered copy of each image is nearest to the image itself.

    The copy is the middle three quarters of height and width, mirrored, a fifth darker.

    Args:
        encoder: float32 [0, 1] (N, S, S, 3) -> h (N, D).
        source: N images.
        features: Their representations, (N, D).

    Returns:
        1 or 0 for each image.
    """

    @tf.function(input_signature=[tf.TensorSpec((None, *encoder.input_shape[1:]))])
    def encode_copy(images):
        size = tf.shape(images)[1:3]
        copies = tf.image.resize(tf.image.central_crop(images, 0.75), size)
        copies = 0.8 * tf.image.flip_left_right(copies)
        return tf.cast(encoder(copies, training=False), tf.float32)

    copies = extract_features(encoder, source, encode=encode_copy).features
    nearest = _nearest(directions(copies), directions(features), 1)[:, 0]
    return Scored(per_image=(nearest == np.arange(len(features))).astype(np.float64))


def _untrained(network: keras.Model, name: str, notes: list[str]) -> keras.Model | None:
    """The network untrained; None of a program that can't be taken back to that."""
    try:
        copy = untrained_copy(network)
    except (InputError, NotImplementedError, TypeError, ValueError):
        copy = None
    if copy is None or weights_hash(copy) == weights_hash(network):
        notes.append(
            f"{name} can't be made untrained, so that nothing stands beside it."
        )
        return None
    return copy


def _cost(network: keras.Model, test: Source, train: Source) -> dict[str, Any]:
    module, _, function = _COST.partition(":")
    return getattr(importlib.import_module(module), function)(network, test, train)


def _nearest(queries: np.ndarray, gallery: np.ndarray, count: int) -> np.ndarray:
    """Numbers of the nearest of unit vectors, (Q, count), in no order."""
    found = []
    for start in range(0, len(queries), _ROWS):
        cosine = queries[start : start + _ROWS] @ gallery.T
        found.append(np.argpartition(-cosine, count - 1, axis=1)[:, :count])
    return np.concatenate(found)


def _agreements(
    features: Mapping[str, Features], pairs: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], float]:
    """Reference: Huh, Cheung, Wang, Isola 2024, "The Platonic Representation
    Hypothesis", mutual k-nearest neighbours.
    """
    count = min(len(next(iter(features.values())).features) - 1, SHARED)
    if count < 1:
        return {}
    near = {}
    for name, one in features.items():
        vectors = directions(one.features)
        found = _nearest(vectors, vectors, count + 1)
        # Each image is its own neighbour, but for equals that stand before it.
        near[name] = [
            set(row[row != n][:count].tolist()) for n, row in enumerate(found)
        ]
    return {
        (a, b): float(
            np.mean([len(x & y) / count for x, y in zip(near[a], near[b], strict=True)])
        )
        for a, b in pairs
    }


def _near_copies(*sources: Source) -> int:
    """How many images of the last source have a near copy in the first, told by pixels.

    Of one source, how many have one among the others.
    """
    thumbnails = [_thumbnails(source) for source in sources]
    gallery, queries = thumbnails[0], thumbnails[-1]
    count = 0
    for start in range(0, len(queries), _ROWS):
        alike = queries[start : start + _ROWS] @ gallery.T > NEAR_COPY
        if len(sources) == 1:
            rows = np.arange(len(alike))
            alike[rows, start + rows] = False
        count += int(alike.any(axis=1).sum())
    return count


def _thumbnails(source: Source) -> np.ndarray:
    """Small images without their mean, of length 1; those of one colour are zeros."""
    rows = [
        batch["image"].numpy()[batch["valid"].numpy()]
        for batch in evaluation_dataset(source, size=_THUMBNAIL, batch_size=256)
    ]
    pixels = np.concatenate(rows)
    pixels = pixels.reshape(len(pixels), -1).astype(np.float64)
    pixels -= pixels.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(pixels, axis=1, keepdims=True)
    flat = lengths < 1e-3
    return np.where(flat, 0, pixels / np.where(flat, 1, lengths))
