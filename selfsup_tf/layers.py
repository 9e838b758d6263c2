"""The augmentations as layers of Keras, for any model, loop or tf.data pipeline.

from selfsup_tf import layers
view = keras.Sequential([layers.RandomResizedCrop(96), layers.ColorJitter()])
view(images, training=True)           # float in [0, 1]
dataset.map(layers.RandomView(96))    # SimCLR's whole view

They are those of a run. Each draws by a seed of its own, for each image anew.
"""

import dataclasses
from typing import Any

import keras
import tensorflow as tf

from selfsup_tf.config import ViewConfig
from selfsup_tf.data import random
from selfsup_tf.data.augmentation import Augmentation, whole_size
from selfsup_tf.data.layers import (
    ColorJitter,
    RandomGaussianBlur,
    RandomGrayscale,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomRotate90,
    RandomRotation,
    RandomSolarize,
)
from selfsup_tf.data.views import View, evaluation_view
from selfsup_tf.fields import from_dict

__all__ = [
    "Augmentation",
    "ColorJitter",
    "RandomGaussianBlur",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomRotate90",
    "RandomRotation",
    "RandomSolarize",
    "RandomView",
]


@keras.saving.register_keras_serializable(package="selfsup_tf")
class RandomView(Augmentation):
    """A whole view of a method: crop, flip, colours, blur, in the order of the papers.

    With `training=False` it is the view that an encoder is judged by: images up to 32
    pixels whole, larger ones their middle.

    Args:
        size: Height and width of the view.
        view: Its distribution, such as `byol_tf.recipes.imagenet().views[1]`; by
            default SimCLR's on ImageNet.
        **kwargs: Those of `Augmentation`, such as `seed`.
    """

    resizes, free_ranks = True, (3,)

    def __init__(self, size: int, view: ViewConfig | dict | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        stored = view if isinstance(view, dict) else None
        self.size = whole_size(size)
        self.view = from_dict(ViewConfig, stored) if stored else view or ViewConfig()
        self._drawn = View(self.view, self.size)

    def augment(self, images: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
        return self._drawn(images, self._salt(keys))

    def _salt(self, keys: tf.Tensor) -> tf.Tensor:
        # Without a salt of its own it draws what a run draws by the same keys.
        is_own = self.salt != self.salt_of(type(self))
        return random.fold_in(keys, self.salt) if is_own else keys

    def call_one(self, image: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        key = self._salt(key)
        crop = self._drawn.crop_one(image, key)
        return self._drawn.finish(crop[tf.newaxis], key[tf.newaxis])[0]

    def rest(self, images: tf.Tensor) -> tf.Tensor:
        return evaluation_view(images, self.size, for_xla=True)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"view": dataclasses.asdict(self.view)}
