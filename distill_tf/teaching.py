"""What a teacher has to say: of every view, or of each image once."""

import pathlib

import keras
import numpy as np

from selfsup_tf.commands import spelled
from selfsup_tf.data.source import Source
from selfsup_tf.data.stored_vectors import read_vectors
from selfsup_tf.errors import check
from selfsup_tf.evaluation.features import extract_features
from selfsup_tf.existing import is_file_of_vectors
from selfsup_tf.models.saved import load_network
from selfsup_tf.models.teacher import Teacher
from selfsup_tf.models.teachers import open_teacher

NO_CLASSIFIER = (
    f"Fine-tune one first: {spelled('train')} finetune RECIPE --pretrained=DIRECTORY "
    "--run_dir=TEACHER"
)


def load_classifier(name: str) -> keras.Model:
    """The classifier of a run.

    Raises:
        InputError: There is none.
    """
    return load_network(name, "classifier", advice=NO_CLASSIFIER)


def open_encoder(name: str, image_size: int) -> Teacher:
    """An encoder that exists, for views of a size.

    Raises:
        InputError: It can't be had, or takes fewer pixels than the student.
    """
    teacher = open_teacher(name)
    check(
        image_size <= teacher.image_size,
        f"views of at most the {teacher.image_size} pixels that {name} takes",
        f"image_size={image_size}",
        f"Use --image_size={teacher.image_size} or less, or the teacher at another "
        f"size: {name}@{image_size}",
    )
    return teacher


def vectors_of(
    name: str, source: Source, image_size: int, cache: pathlib.Path | None
) -> tuple[np.ndarray, dict[str, str]]:
    """What a teacher says of each image, (N, T) float32, in the source's order.

    Beside the vectors it gives the teacher's origin, as `Teacher.origin` does.

    Args:
        name: Of an encoder that exists, or of a file of vectors.
        source: The images.
        image_size: Of the student's views.
        cache: Where the vectors are kept; None keeps them nowhere.

    Raises:
        InputError: See `open_encoder` and `StoredVectors.of`.
    """
    if is_file_of_vectors(name):
        stored = read_vectors(name)
        return stored.of(source), {"name": name, "sha256": stored.digest}
    teacher = open_encoder(name, image_size)
    network = teacher.taking(teacher.image_size, source.channels)
    found = extract_features(network, source, cache=cache, skip_lost=True)
    vectors = np.zeros((source.size, found.features.shape[1]), np.float32)
    # An image that is lost is never shown: another stands in its place, with its own.
    vectors[np.searchsorted(source.indices, found.indices)] = found.features
    return vectors, teacher.origin


def centred(vectors: np.ndarray) -> np.ndarray:
    """The vectors less their mean, (N, T) float32; rows of zeros, of lost images, stay.

    Args:
        vectors: (N, T).
    """
    there = vectors.any(axis=1)
    mean = vectors[there].mean(axis=0, dtype=np.float64)
    return np.where(there[:, None], vectors - mean, 0).astype(np.float32)
