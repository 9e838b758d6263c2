"""Encoders that stand beside the judged one: networks, or the vectors of one in a file.

Nothing here imports TensorFlow before one is opened.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from selfsup_tf.errors import check
from selfsup_tf.evaluation.flags import EncoderFlags

if TYPE_CHECKING:
    from selfsup_tf.data.stored_vectors import StoredVectors
    from selfsup_tf.models.teacher import Teacher


SCRATCH = "from scratch"
SAME_NETWORK = ("trained", "untrained", SCRATCH)
"""Names of the judged network in tables, with and without its training."""


@dataclasses.dataclass(frozen=True)
class BesideFlags(EncoderFlags):
    """Which run, and which encoders stand beside its own."""

    beside: tuple[str, ...] = ()
    """Other encoders, judged beside it on the same images: runs, .keras files,
    imagenet:NAME, hub:PRESET, SavedModels, ONNX files; of knn, linear, retrieval and
    transfer files of vectors, too."""


def open_beside(names: Sequence[str]) -> "dict[str, Teacher | StoredVectors]":
    """Opens what --beside names.

    Raises:
        InputError: One of them can't be opened, or has the name of another.
    """
    if not names:
        return {}
    from selfsup_tf.models.teachers import open_teachers

    return open_teachers(names, taken=SAME_NETWORK, vectors=True)


def makers(
    beside: "Mapping[str, Teacher | StoredVectors]",
    *,
    size: int | None,
    channels: int,
    vectors: bool,
) -> dict[str, Callable[[], Any]]:
    """What makes each of them, by its name.

    Args:
        beside: What `open_beside` has opened.
        size: Of the images that all of them take; None: each takes its own.
        channels: Of the images.
        vectors: Whether `StoredVectors` may take the place of a network.

    Raises:
        InputError: A network is needed where there are vectors.
    """
    from selfsup_tf.data.stored_vectors import StoredVectors

    found = {}
    for name, one in beside.items():
        if isinstance(one, StoredVectors):
            check(
                vectors,
                "networks beside this protocol's encoder",
                f"{name}, vectors in a file",
                "knn, linear by lbfgs, retrieval and transfer take vectors, too.",
            )
            found[name] = functools.partial(_itself, one)
        else:
            taken = size or one.image_size, channels
            found[name] = functools.partial(one.taking, *taken)
    return found


def _itself(stored: "StoredVectors") -> "StoredVectors":
    return stored
