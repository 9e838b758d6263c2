"""The layer that normalises images in older files, which name this module."""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="selfsup_tf")
class Normalize(keras.layers.Layer):
    """Subtracts a mean from each channel and divides by a deviation; not random.

    Args:
        mean: Of the channels, for images in [0, 1].
        std: Of the channels, above 0.
    """

    def __init__(
        self,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.mean, self.std = tuple(mean), tuple(std)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """Normalises images (N, H, W, 3)."""
        mean, std = (tf.constant(v, images.dtype) for v in (self.mean, self.std))
        return (images - mean) / std

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "mean": self.mean, "std": self.std}
