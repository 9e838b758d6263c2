"""Layers that change the colours of pixels, or mix neighbours."""

from typing import Any

import keras
import tensorflow as tf

from selfsup_tf.data import colour, random
from selfsup_tf.data.augmentation import Augmentation, Params


@keras.saving.register_keras_serializable(package="selfsup_tf")
class ColorJitter(Augmentation):
    """Brightness, contrast, saturation and hue in a random order for each image.

    The images are clipped to [0, 1] after each of the four. A factor is drawn from
    [max(0, 1 - x), 1 + x), a shift from [-x, x).

    Args:
        brightness: Half-width of the factor's or the shift's range.
        contrast: Half-width of the factor's range.
        saturation: Half-width of the factor's range.
        hue: Largest shift, in turns.
        brightness_mode: "multiply" or "add".
    """

    draws = 8

    def __init__(
        self,
        *,
        brightness: float = 0.8,
        contrast: float = 0.8,
        saturation: float = 0.8,
        hue: float = 0.2,
        brightness_mode: str = "multiply",
        probability: float = 0.8,
        **kwargs: Any,
    ):
        super().__init__(probability=probability, **kwargs)
        self.brightness, self.contrast = brightness, contrast
        self.saturation, self.hue = saturation, hue
        self.brightness_mode = brightness_mode
        multiplies = brightness_mode == "multiply"
        self._operations = {
            "brightness": (
                colour.scale_brightness if multiplies else colour.shift_brightness
            ),
            "contrast": colour.adjust_contrast,
            "saturation": colour.adjust_saturation,
            "hue": colour.adjust_hue,
        }
        # The parameter with which an operation leaves an image as it is.
        self._neutral = {
            "brightness": 1.0 if multiplies else 0.0,
            "contrast": 1.0,
            "saturation": 1.0,
            "hue": 0.0,
        }

    def draw(self, draws: tf.Tensor, shape: tuple) -> Params:
        """One (N,) for each operation; "order" (N, 4) says which comes first."""
        params = {"order": random.order(draws[:, 4:])}
        for number, (name, neutral) in enumerate(self._neutral.items()):
            width = getattr(self, name)
            low = max(0.0, neutral - width) if neutral else -width
            params[name] = random.between(draws[:, number], low, neutral + width)
        return params

    def transform(self, images: tf.Tensor, params: Params) -> tf.Tensor:
        """The four operations in the order of each image."""
        if images.shape[0] != 1:
            for place in range(4):
                images = self._slot(images, params, params["order"][:, place])
            return images

        def body(place, image):
            return place + 1, self._slot_of_one(
                image, params, params["order"][:, place]
            )

        # It stays a loop, since XLA takes long to compile sixteen branches.
        start = (tf.constant(0), images)
        return tf.while_loop(lambda place, _: place < 4, body, start)[1]

    def _slot(self, images: tf.Tensor, params: Params, which: tf.Tensor) -> tf.Tensor:
        for number, (name, operation) in enumerate(self._operations.items()):
            value = tf.where(which == number, params[name], self._neutral[name])
            images = operation(images, value)
            if name == "contrast":
                # Saturation and hue keep within [0, 1] and expect it.
                images = tf.clip_by_value(images, 0.0, 1.0)
        return images

    def _slot_of_one(
        self, images: tf.Tensor, params: Params, which: tf.Tensor
    ) -> tf.Tensor:
        def branch(name):
            return lambda: self._operations[name](images, params[name])

        images = tf.switch_case(which[0], [branch(name) for name in self._operations])
        return tf.clip_by_value(images, 0.0, 1.0)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        names = ("brightness", "contrast", "saturation", "hue", "brightness_mode")
        return {**super().get_config(), **{n: getattr(self, n) for n in names}}


@keras.saving.register_keras_serializable(package="selfsup_tf")
class RandomGrayscale(Augmentation):
    """Drops the colours and keeps three channels."""

    def __init__(self, *, probability: float = 0.2, **kwargs: Any):
        super().__init__(probability=probability, **kwargs)

    def draw(self, draws: tf.Tensor, shape: tuple) -> Params:
        """Nothing but whether."""
        return {}

    def transform(self, images: tf.Tensor, params: Params) -> tf.Tensor:
        """The luma in all channels."""
        return colour.to_grayscale(images)


@keras.saving.register_keras_serializable(package="selfsup_tf")
class RandomGaussianBlur(Augmentation):
    """Blurs by a sigma of its own for each image.

    The reference draws one sigma for a batch; here it is one for each image.

    Args:
        sigma: Bounds of the standard deviation in pixels, drawn uniformly.
        size: Length of the kernel as a share of the image's height.
    """

    draws = 1

    def __init__(
        self,
        *,
        sigma: tuple[float, float] = (0.1, 2.0),
        size: float = 0.1,
        probability: float = 0.5,
        **kwargs: Any,
    ):
        super().__init__(probability=probability, **kwargs)
        self.sigma, self.size = tuple(sigma), size

    def taps(self, height: int) -> int:
        """Length of the kernel for images of this height: 224 -> 23, 32 -> 3."""
        return 2 * (int(height * self.size) // 2) + 1

    def draw(self, draws: tf.Tensor, shape: tuple) -> Params:
        """Sigma (N,) in pixels."""
        return {"sigma": random.between(draws[:, 0], *self.sigma)}

    def transform(self, images: tf.Tensor, params: Params) -> tf.Tensor:
        """The blurred images."""
        taps = self.taps(images.shape[1])
        return colour.gaussian_blur(images, params["sigma"], taps)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "sigma": self.sigma, "size": self.size}


@keras.saving.register_keras_serializable(package="selfsup_tf")
class RandomSolarize(Augmentation):
    """Inverts the pixels at or above a threshold in [0, 1]."""

    def __init__(
        self, *, threshold: float = 0.5, probability: float = 0.2, **kwargs: Any
    ):
        super().__init__(probability=probability, **kwargs)
        self.threshold = threshold

    def draw(self, draws: tf.Tensor, shape: tuple) -> Params:
        """Nothing but whether."""
        return {}

    def transform(self, images: tf.Tensor, params: Params) -> tf.Tensor:
        """The solarized images."""
        return colour.solarize(images, self.threshold)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "threshold": self.threshold}


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
