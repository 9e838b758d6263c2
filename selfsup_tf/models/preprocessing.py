"""What comes before a network: images in [0, 1] as it was trained on them.

It is made of layers that Keras has, so that plain Keras loads an encoder.keras.
"""

from collections.abc import Sequence

import keras
import numpy as np


def normalize(
    images: keras.KerasTensor, mean: Sequence[float], std: Sequence[float]
) -> keras.KerasTensor:
    """Subtracts a mean from each channel and divides by a deviation; not random.

    Args:
        images: (N, S, S, C) in [0, 1].
        mean: Of the channels.
        std: Of the channels, above 0.
    """
    return keras.layers.Normalization(
        mean=list(mean),
        variance=[value**2 for value in std],
        dtype="float32",
        name="normalize",
    )(images)


def preprocess(images: keras.KerasTensor, module: str) -> keras.KerasTensor:
    """What a network of keras.applications wants: another order, scale and offset.

    Args:
        images: (N, S, S, C) in [0, 1]. Where C is not 3, all get the mean of the three.
        module: Name of the network's module in keras.applications.
    """
    # An image of no light, and of each primary colour alone: all are affine.
    probe = np.concatenate([np.zeros((1, 1, 3)), 255 * np.eye(3)[:, None]])
    module = getattr(keras.applications, module)
    answers = module.preprocess_input(probe[None].astype(np.float32))[0, :, 0]
    offset, light = answers[0], answers[1:] - answers[0]
    swaps = light[0, 0] == 0  # red comes last
    scale, channels = np.diag(light[::-1] if swaps else light), images.shape[-1]
    if channels != 3:
        scale, offset = (np.full(channels, values.mean()) for values in (scale, offset))
    elif swaps:
        images = keras.ops.flip(images, axis=-1)
    return keras.layers.Rescaling(
        scale=[float(value) for value in scale],
        offset=[float(value) for value in offset],
        dtype="float32",
        name="preprocess",
    )(images)
