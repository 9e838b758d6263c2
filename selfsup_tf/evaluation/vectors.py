"""Representations as vectors: that they are finite, and their directions.

Legend: N images, D length of the representation h.
"""

import numpy as np

from selfsup_tf.errors import check


def check_finite(h: np.ndarray, name: str, what: str = "representations") -> None:
    """Raises InputError where a representation is NaN or infinite.

    Args:
        h: Of any shape.
        name: Of the images that they are of.
        what: They are.
    """
    check(
        bool(np.isfinite(h).all()),
        f"finite {what} of {name}",
        "NaN or infinity",
        "The encoder is broken (a diverged run?); take an earlier checkpoint.",
    )


def unit_vectors(h: np.ndarray) -> np.ndarray:
    """h, (N, D) floats, each at length 1; a vector of zeros stays one."""
    lengths = np.linalg.norm(h, axis=1, keepdims=True)
    return h / np.where(lengths > 0, lengths, 1)
