"""All augmentations, as Keras layers that take images and keys."""

from selfsup_tf.data.augment_colour import (
    ColorJitter,
    Normalize,
    RandomGaussianBlur,
    RandomGrayscale,
    RandomSolarize,
)
from selfsup_tf.data.augment_geometry import (
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomRotate90,
    RandomRotation,
)
from selfsup_tf.data.augmentation import Augmentation

__all__ = [
    "Augmentation",
    "ColorJitter",
    "Normalize",
    "RandomGaussianBlur",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomRotate90",
    "RandomRotation",
    "RandomSolarize",
]
