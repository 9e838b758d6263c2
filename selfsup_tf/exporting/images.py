"""Which images an export is proven on, and which int8 is calibrated on."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from selfsup_tf.data.source import Source
from selfsup_tf.data.sources import open_source
from selfsup_tf.data.views import evaluation_view
from selfsup_tf.errors import check
from selfsup_tf.exporting.parity import batches

PARITY_IMAGES = 256
CALIBRATION_IMAGES = 200


@dataclasses.dataclass(frozen=True)
class ChosenImages:
    """Images for the proof and others for the calibration.

    Attributes:
        images: uint8, each (H, W, 3) of its own size.
        views: Their evaluation views, (N, S, S, 3) float32 in [0, 1].
        source: Where they come from.
        calibration: Views to calibrate on, (M, S, S, 3) float32; None without int8.
        calibration_source: Where those come from; None without int8.
    """

    images: list[np.ndarray]
    views: np.ndarray
    source: str
    calibration: np.ndarray | None
    calibration_source: str | None


def choose_images(
    images: Any, calibration_images: Any, *, size: int, calibrates: bool
) -> ChosenImages:
    """Draws images from all over their sources, the same ones each time.

    Args:
        images: A Source, or uint8 images (N, H, W, 3); None is the built-in shapes.
        calibration_images: Likewise; None takes others of `images`.
        size: S, height and width of the encoder's input.
        calibrates: Whether calibration images are needed.

    Raises:
        InputError: Too few images.
    """
    source = open_source("shapes" if images is None else images)
    shared = calibrates and calibration_images is None
    wanted = PARITY_IMAGES + (CALIBRATION_IMAGES if shared else 0)
    proof = _take(source, wanted)
    check(
        len(proof) >= 2,
        "two or more images",
        f"{len(proof)} from {source.name}",
        "An export is proven on real images; give some.",
    )
    spare, spare_source = None, None
    if shared:
        # Never the same images for both, however few there are.
        count = len(proof) * PARITY_IMAGES // wanted
        proof, spare, spare_source = proof[:count], proof[count:], source
    elif calibrates:
        spare_source = open_source(calibration_images)
        spare = _take(spare_source, CALIBRATION_IMAGES)
    return ChosenImages(
        images=proof,
        views=evaluation_views(proof, size),
        source=source.name,
        calibration=evaluation_views(spare, size) if calibrates else None,
        calibration_source=spare_source.name if calibrates else None,
    )


def evaluation_views(images: list[np.ndarray], size: int) -> np.ndarray:
    """The images, uint8 (H, W, 3), as the encoder is judged: (N, S, S, 3) float32."""
    return np.concatenate(
        [evaluation_view(tf.constant(batch), size).numpy() for batch in batches(images)]
    )


def _take(source: Source, count: int) -> list[np.ndarray]:
    shuffled = source.shuffled(seed=0, epoch=0, labels=False)
    return [element["image"].numpy() for element in shuffled.take(count)]
