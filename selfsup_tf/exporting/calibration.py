"""Which images the ranges of 8 bits follow.

Legend: M images, S height and width of the encoder's input, D length of the
representation h.
"""

import dataclasses

import keras
import numpy as np

from selfsup_tf.exporting.images import Proof
from selfsup_tf.exporting.reference import call_network

# Of the median image's largest component of h.
OUTLYING = 3.0


def without_outliers(encoder: keras.Model, proof: Proof) -> Proof:
    """The proof without the calibration images that other images pay for in 8 bits.

    TFLite takes an activation's range from its least and largest value over all images.
    One image of 200 whose activations are fifty times the others' therefore leaves
    these a few of the 256 steps. What lies beyond a range is clipped to it. (16 bits
    have steps for all; clipping would only harm them.)

    An image is left out where the largest component of its h is more than `OUTLYING`
    times that of the median image. Representations without such images keep all.

    Args:
        encoder: float32 [0, 1] (N, S, S, 3) -> h (N, D) float32.
        proof: With calibration images, or without.

    Returns:
        The proof; its choice says how many were left out.

    Reference: S. Migacz, "8-bit inference with TensorRT", GTC 2017: saturated ranges.
    """
    if proof.calibration is None:
        return proof
    reach = np.abs(call_network(encoder, proof.calibration)).max(axis=1)
    kept = reach <= OUTLYING * np.median(reach)
    choice = {
        **proof.choice,
        "calibration": {
            **proof.choice.get("calibration", {}),
            "outliers_left_out": int((~kept).sum()),
        },
    }
    return dataclasses.replace(
        proof, calibration=proof.calibration[kept], choice=choice
    )
