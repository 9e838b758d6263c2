"""Measures several encoders on the same images, so that one can be chosen.

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

from selfsup_tf.data.source import Source
from selfsup_tf.errors import InputError
from selfsup_tf.evaluation.advice.alike import agreements, near_copies, nearest
from selfsup_tf.evaluation.advice.candidate import Candidate
from selfsup_tf.evaluation.features import Features, extract_features, weights_hash
from selfsup_tf.evaluation.measures.intervals import Scored, bootstrap_interval
from selfsup_tf.evaluation.measures.knn import PRESETS, KnnResult, knn_from_features
from selfsup_tf.evaluation.measures.linear import LinearResult, linear_probe
from selfsup_tf.evaluation.measures.retrieval import retrieval_from_features
from selfsup_tf.evaluation.measures.statistics import (
    deviations,
    directions,
    rank_me,
    singular_values,
)
from selfsup_tf.evaluation.protocol import Interval
from selfsup_tf.models.teacher import Teacher
from selfsup_tf.models.teachers import place_of
from selfsup_tf.models.untrained import untrained_copy
from selfsup_tf.run import RunDirectory
from selfsup_tf.training.spread import COLLAPSED

logger = logging.getLogger("selfsup_tf")

PRESET = PRESETS["solo-learn"]
"""Of k-NN: its 20 neighbours are few enough for a small folder."""
PARTS = (8, 4, 2, 1)
"""The labelled images are divided by these for the learning curve."""
FEWEST = 40
"""Labelled images from which on the curve is drawn."""

# By its name, as exporting stands above evaluation in the house.
_COST = "selfsup_tf.exporting.cost:int8_cost"


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was found.

    Attributes:
        candidates: In the order of their names.
        gains: The 95 % interval of the gain of one encoder on another in what decides,
            k-NN accuracy or copies found, by their names, in either order.
        agreement: The share of `alike.SHARED` nearest neighbours that two encoders have
            in common, by their names, in either order.
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
    train: Source | None,
    test: Source,
    *,
    untrained: bool = True,
    int8: bool = True,
    cache: pathlib.Path | None = None,
) -> Measured:
    """Judges each encoder on the same images, one after the other.

    Args:
        teachers: The encoders by their names.
        train: Labelled images that k-NN and the linear probe learn from; None where
            there are none.
        test: What judges.
        untrained: Whether the same network untrained is judged beside each.
        int8: Whether each is converted to an int8 file, to see its size and speed.
        cache: A folder that keeps representations.
    """
    labels = _labels(list(teachers))
    found, decisive, features, notes = [], {}, {}, []
    for name, teacher in teachers.items():
        logger.info("%s:", name)
        network = teacher.taking(teacher.image_size, test.channels)
        bank, features[name] = _extract(network, train, test, cache)
        scored = decisive[name] = _decide(network, bank, features[name], test)
        fields = _shape(features[name].features)
        if bank is None:
            fields |= _describe_unlabelled(scored)
        else:
            linear = linear_probe(network, train, test, cache=cache)
            fields |= _describe_labelled(scored, linear, bank, features[name])
        if untrained:
            beginning = _untrained(network, name, notes)
            if beginning is not None:
                before = _extract(beginning, train, test, cache)
                before = _decide(beginning, *before, test)
                fields["untrained"] = float(np.mean(before.per_image))
                fields["gain"] = scored.gain_interval(before)
        if int8:
            fields["cost"] = _cost(network, test, train or test)
        found.append(
            Candidate(
                name=name,
                label=labels[name],
                trained_here=RunDirectory(place_of(name)).config.is_file(),
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
        agreement=agreements(features, pairs),
        near_copies=near_copies(test) if train is None else near_copies(train, test),
        notes=tuple(notes),
    )


def _labels(names: Sequence[str]) -> dict[str, str]:
    """The last part of a path, where no other encoder has the same."""
    paths = {name: pathlib.Path(name).expanduser() for name in names}
    ends = {n: path.resolve().name if path.exists() else n for n, path in paths.items()}
    there = list(ends.values())
    return {n: end if there.count(end) == 1 else n for n, end in ends.items()}


def _extract(
    encoder: keras.Model,
    train: Source | None,
    test: Source,
    cache: pathlib.Path | None,
) -> tuple[Features | None, Features]:
    """Representations of the images that teach, where there are any, and that judge."""
    bank = None if train is None else extract_features(encoder, train, cache=cache)
    return bank, extract_features(encoder, test, cache=cache)


def _decide(
    encoder: keras.Model, bank: Features | None, queries: Features, test: Source
) -> Scored:
    """What decides: the k-NN accuracy, or without labels the copies that are found."""
    if bank is None:
        return copies_found(encoder, test, queries.features)
    return _knn(bank, queries)


def _describe_labelled(
    found: KnnResult, linear: LinearResult, bank: Features, queries: Features
) -> dict[str, Any]:
    """Fields of a Candidate that is judged by labels."""
    retrieved = retrieval_from_features(bank, queries, ranks=(1,))
    fields = {
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
        parts = [_first(bank, order, size // part) for part in PARTS]
        # A small part may hold one class alone, of which any answer would be right.
        parts = [_knn(one, queries) for one in parts if len(set(one.labels)) > 1]
        fields["curve"] = tuple((one.num_train, one.top_1) for one in parts)
        if len(parts) > 1:
            fields["curve_gain"] = parts[-1].gain_interval(parts[-2])
    return fields


def _describe_unlabelled(found: Scored) -> dict[str, Any]:
    """Fields of a Candidate that is judged without labels."""
    return {
        "scores": {"copies": float(found.per_image.mean())},
        "intervals": {"copies": bootstrap_interval(found.per_image)},
    }


def _shape(features: np.ndarray) -> dict[str, Any]:
    """How the vectors lie, without labels."""
    spread = float(deviations(features).mean())
    return {
        "rank_me": rank_me(singular_values(features)),
        "spread": spread,
        "collapsed": spread < COLLAPSED,
    }


def _knn(bank: Features, queries: Features) -> KnnResult:
    k = min(PRESET["k"], len(bank.features))
    return knn_from_features(bank, queries, k=k, temperature=PRESET["temperature"])


def _first(features: Features, order: np.ndarray, count: int) -> Features:
    rows = np.sort(order[:count])  # of equally near images the first are taken
    return Features(
        features.features[rows], features.labels[rows], features.indices[rows]
    )


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
    found = nearest(directions(copies), directions(features), 1)[:, 0]
    return Scored(per_image=(found == np.arange(len(features))).astype(np.float64))


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
