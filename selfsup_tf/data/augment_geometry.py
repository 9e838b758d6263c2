"""Layers that move pixels."""

from typing import Any

import keras
import tensorflow as tf

from selfsup_tf.data import crop_boxes, geometry, random
from selfsup_tf.data.augmentation import Augmentation, Params
from selfsup_tf.errors import check


@keras.saving.register_keras_serializable(package="selfsup_tf")
class RandomResizedCrop(Augmentation):
    """Crops a box of random area, aspect and place, and resizes it.

    The result is clipped to [0, 1], which bicubic interpolation overshoots, as in
    BYOL. (SimCLR's reference clips after the colours.)

    Args:
        size: Height and width of the result.
        area: Bounds of the share of the area.
        aspect: Bounds of width / height in pixels.
        law: How area and aspect are drawn, see `crop_boxes.crop_boxes`.
        interpolation: "bilinear" or "bicubic".
        antialias: Whether images that shrink are low-pass filtered.
    """

    def __init__(
        self,
        size: int,
        *,
        area: tuple[float, float] = (0.08, 1.0),
        aspect: tuple[float, float] = (3 / 4, 4 / 3),
        law: str = "log_uniform",
        interpolation: str = "bicubic",
        antialias: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        laws = crop_boxes.LAWS
        check(law in laws, f"law to be one of {', '.join(laws)}", law, "Choose one.")
        self.size, self.law = size, law
        self.draws = crop_boxes.crop_draws(law)
        self.area, self.aspect = tuple(area), tuple(aspect)
        self.interpolation, self.antialias = interpolation, antialias

    def draw(self, draws: tf.Tensor, shape: tuple) -> Params:
        """The boxes, (N, 4) int32 of y, x, height, width."""
        boxes = crop_boxes.crop_boxes(
            draws, shape, area=self.area, aspect=self.aspect, law=self.law
        )
        return {"boxes": boxes}

    def transform(self, images: tf.Tensor, params: Params) -> tf.Tensor:
        """(N, size, size, 3)."""
        crops = geometry.crop_and_resize(images, params["boxes"], **self._resizing)
        return tf.clip_by_value(crops, 0.0, 1.0)

    def call_one(self, image: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        """`call` for one image (H, W, 3) of any size, uint8 or float32, key (2,)."""
        keys = random.fold_in(key[tf.newaxis], self.salt)
        height, width, _ = tf.unstack(tf.shape(image))
        box = self.sample(keys, (height, width))["boxes"][0]
        crop = geometry.crop_and_resize_one(image, box, **self._resizing)
        return tf.clip_by_value(crop, 0.0, 1.0)

    @property
    def _resizing(self) -> dict[str, Any]:
        return {
            "size": self.size,
            "method": self.interpolation,
            "antialias": self.antialias,
        }

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        names = ("size", "area", "aspect", "law", "interpolation", "antialias")
        return {**super().get_config(), **{n: getattr(self, n) for n in names}}


@keras.saving.register_keras_serializable(package="selfsup_tf")
class RandomHorizontalFlip(Augmentation):
    """Mirrors left and right."""

    def __init__(self, *, probability: float = 0.5, **kwargs: Any):
        super().__init__(probability=probability, **kwargs)

    def draw(self, draws: tf.Tensor, shape: tuple) -> Params:
        """Nothing but whether."""
        return {}

    def transform(self, images: tf.Tensor, params: Params) -> tf.Tensor:
        """The mirrored images."""
        return tf.reverse(images, axis=[2])


@keras.saving.register_keras_serializable(package="selfsup_tf")
class RandomRotate90(Augmentation):
    """Turns square images by 90, 180 or 270 degrees."""

    draws = 1

    def __init__(self, *, probability: float = 0.5, **kwargs: Any):
        super().__init__(probability=probability, **kwargs)

    def draw(self, draws: tf.Tensor, shape: tuple) -> Params:
        """Quarter turns counter-clockwise, (N,) int32 of 1, 2, 3."""
        return {"turns": 1 + tf.cast(draws[:, 0] * 3, tf.int32)}

    def transform(self, images: tf.Tensor, params: Params) -> tf.Tensor:
        """The turned images."""
        turns = params["turns"][:, tf.newaxis, tf.newaxis, tf.newaxis]
        quarter, half, three = (tf.image.rot90(images, k) for k in (1, 2, 3))
        return tf.where(turns == 1, quarter, tf.where(turns == 2, half, three))


@keras.saving.register_keras_serializable(package="selfsup_tf")
class RandomRotation(Augmentation):
    """Rotates about the centre; what enters is the image mirrored at its edge.

    Args:
        degrees: Largest angle to either side, drawn uniformly.
    """

    draws = 1

    def __init__(self, degrees: float, *, probability: float = 1.0, **kwargs: Any):
        super().__init__(probability=probability, **kwargs)
        self.degrees = degrees

    def draw(self, draws: tf.Tensor, shape: tuple) -> Params:
        """Degrees (N,), positive counter-clockwise."""
        return {"degrees": random.between(draws[:, 0], -self.degrees, self.degrees)}

    def transform(self, images: tf.Tensor, params: Params) -> tf.Tensor:
        """The rotated images."""
        return geometry.rotate(images, params["degrees"])

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "degrees": self.degrees}
