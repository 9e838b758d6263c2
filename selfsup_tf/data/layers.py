"""The augmentations of this package, as Keras layers of images, with keys or without.

What they compute is in `geometry` and `colour`, how parameters are drawn in `random`.
Saturation, hue and grayscale are of RGB: images of another number of channels keep
theirs.
"""

import functools
from typing import Any

import keras
import tensorflow as tf

from selfsup_tf.config import ViewConfig
from selfsup_tf.config.checks import check_not_negative
from selfsup_tf.data import colour, crop_boxes, geometry, random
from selfsup_tf.data.augmentation import Augmentation, Params, whole_size


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

    resizes, free_ranks = True, (3,)

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
        size, area, aspect = whole_size(size), tuple(area), tuple(aspect)
        crop = {"crop_law": law, "crop_area": area, "crop_aspect": aspect}
        ViewConfig(**crop, interpolation=interpolation)  # which checks them
        self.size, self.area, self.aspect, self.law = size, area, aspect, law
        self.interpolation, self.antialias = interpolation, antialias
        self.draws = crop_boxes.crop_draws(law)
        self._resizing = {"size": size, "method": interpolation, "antialias": antialias}

    def draw(self, draws: tf.Tensor, shape: tuple) -> Params:
        """The boxes, (N, 4) int32 of y, x, height, width."""
        boxes = crop_boxes.crop_boxes(
            draws, shape, area=self.area, aspect=self.aspect, law=self.law
        )
        return {"boxes": boxes}

    def transform(self, images: tf.Tensor, params: Params) -> tf.Tensor:
        crops = geometry.crop_and_resize(images, params["boxes"], **self._resizing)
        return tf.clip_by_value(crops, 0.0, 1.0)

    def rest(self, images: tf.Tensor) -> tf.Tensor:
        """The whole images at the size of a crop."""
        resized = geometry.resize(images, **self._resizing)
        return tf.clip_by_value(resized, 0.0, 1.0)

    def call_one(self, image: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        """`call` for one image (H, W, C) of any size, uint8 or float32, key (2,)."""
        crop = self.cut(image, self.boxes(key[tf.newaxis], tf.shape(image))[0])
        if image.dtype.is_integer:
            return geometry.from_grey_levels(crop)
        return tf.clip_by_value(crop, 0.0, 1.0)

    def boxes(self, keys: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
        """(N, 4) int32, as `call` draws them in images of shape (H, W, C)."""
        return self.sample_own(keys, (shape[0], shape[1]))["boxes"]

    def cut(self, image: tf.Tensor, box: tf.Tensor) -> tf.Tensor:
        """A box (4,) of an image (H, W, C), resized; in its range, and not clipped."""
        return geometry.crop_and_resize_one(image, box, **self._resizing)


@keras.saving.register_keras_serializable(package="selfsup_tf")
class RandomHorizontalFlip(Augmentation):
    """Mirrors left and right."""

    costly = False

    def __init__(self, *, probability: float = 0.5, **kwargs: Any):
        super().__init__(probability=probability, **kwargs)

    def transform(self, images: tf.Tensor, params: Params) -> tf.Tensor:
        return tf.reverse(images, axis=[2])


@keras.saving.register_keras_serializable(package="selfsup_tf")
class RandomRotate90(Augmentation):
    """Turns square images by 90, 180 or 270 degrees."""

    draws, free_ranks, of_squares = 1, (), True

    def __init__(self, *, probability: float = 0.5, **kwargs: Any):
        super().__init__(probability=probability, **kwargs)

    def draw(self, draws: tf.Tensor, shape: tuple) -> Params:
        """Quarter turns counter-clockwise, (N,) int32 of 1, 2, 3."""
        return {"turns": 1 + tf.cast(draws[:, 0] * 3, tf.int32)}

    def transform(self, images: tf.Tensor, params: Params) -> tf.Tensor:
        turns = params["turns"][:, tf.newaxis, tf.newaxis, tf.newaxis]
        quarter, half, three = (tf.image.rot90(images, k) for k in (1, 2, 3))
        return tf.where(turns == 1, quarter, tf.where(turns == 2, half, three))


@keras.saving.register_keras_serializable(package="selfsup_tf")
class RandomRotation(Augmentation):
    """Rotates about the centre; what enters is the image mirrored at its edge.

    Args:
        degrees: Largest angle to either side, drawn uniformly.
    """

    draws, free_ranks = 1, ()

    def __init__(self, degrees: float, *, probability: float = 1.0, **kwargs: Any):
        super().__init__(probability=probability, **kwargs)
        check_not_negative("degrees", degrees)
        self.degrees = degrees

    def draw(self, draws: tf.Tensor, shape: tuple) -> Params:
        """Degrees (N,), positive counter-clockwise."""
        return {"degrees": random.between(draws[:, 0], -self.degrees, self.degrees)}

    def transform(self, images: tf.Tensor, params: Params) -> tf.Tensor:
        return geometry.rotate(images, params["degrees"])


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
        widths = {"saturation": saturation, "hue": hue, "contrast": contrast}
        ViewConfig(brightness=brightness, brightness_mode=brightness_mode, **widths)
        self.brightness, self.contrast = brightness, contrast
        self.saturation, self.hue = saturation, hue
        self.brightness_mode = brightness_mode
        multiplies = brightness_mode == "multiply"
        scale, shift = (colour.scale_brightness, 1.0), (colour.shift_brightness, 0.0)
        # Each with the parameter with which it leaves an image as it is.
        self._operations = {
            "brightness": scale if multiplies else shift,
            "contrast": (colour.adjust_contrast, 1.0),
            "saturation": (colour.adjust_saturation, 1.0),
            "hue": (colour.adjust_hue, 0.0),
        }

    def draw(self, draws: tf.Tensor, shape: tuple) -> Params:
        """One (N,) for each operation; "order" (N, 4) says which comes first."""
        params = {"order": random.order(draws[:, 4:])}
        for number, (name, (_, neutral)) in enumerate(self._operations.items()):
            width = getattr(self, name)
            low = max(0.0, neutral - width) if neutral else -width
            params[name] = random.between(draws[:, number], low, neutral + width)
        return params

    def transform(self, images: tf.Tensor, params: Params) -> tf.Tensor:
        if images.shape[0] != 1:
            for place in range(4):
                images = self._slot(images, params, params["order"][:, place])
            return images

        def body(place, image):
            which = params["order"][:, place]
            return place + 1, self._slot_of_one(image, params, which)

        # It stays a loop, since XLA takes long to compile sixteen branches.
        start = (tf.constant(0), images)
        return tf.while_loop(lambda place, _: place < 4, body, start)[1]

    def _slot(self, images, params, which):
        for number, (name, (operation, neutral)) in enumerate(self._operations.items()):
            if not colour.applies(name, images):
                continue
            value = tf.where(which == number, params[name], neutral)
            images = operation(images, value)
            if name == "contrast":
                # Saturation and hue keep within [0, 1] and expect it.
                images = tf.clip_by_value(images, 0.0, 1.0)
        return images

    def _slot_of_one(self, images, params, which):
        branches = [
            functools.partial(operation, images, params[name])
            if colour.applies(name, images)
            else lambda: images
            for name, (operation, _) in self._operations.items()
        ]
        images = tf.switch_case(which[0], branches)
        return tf.clip_by_value(images, 0.0, 1.0)


@keras.saving.register_keras_serializable(package="selfsup_tf")
class RandomGrayscale(Augmentation):
    """Drops the colours and keeps three channels."""

    costly = False

    def __init__(self, *, probability: float = 0.2, **kwargs: Any):
        super().__init__(probability=probability, **kwargs)

    def transform(self, images: tf.Tensor, params: Params) -> tf.Tensor:
        has_colours = colour.applies("grayscale", images)
        return colour.to_grayscale(images) if has_colours else images


@keras.saving.register_keras_serializable(package="selfsup_tf")
class RandomGaussianBlur(Augmentation):
    """Blurs by a sigma of its own for each image.

    The reference draws one sigma for a batch; here it is one for each image.

    Args:
        sigma: Bounds of the standard deviation in pixels, drawn uniformly.
        size: Length of the kernel as a share of the image's height.
    """

    draws, free_ranks = 1, ()

    def __init__(
        self,
        *,
        sigma: tuple[float, float] = (0.1, 2.0),
        size: float = 0.1,
        probability: float = 0.5,
        **kwargs: Any,
    ):
        super().__init__(probability=probability, **kwargs)
        ViewConfig(blur_sigma=tuple(sigma), blur_size=size)
        self.sigma, self.size = tuple(sigma), size

    def taps(self, height: int) -> int:
        """Length of the kernel for images of this height: 224 -> 23, 32 -> 3."""
        return 2 * (int(height * self.size) // 2) + 1

    def draw(self, draws: tf.Tensor, shape: tuple) -> Params:
        """Sigma (N,) in pixels."""
        return {"sigma": random.between(draws[:, 0], *self.sigma)}

    def transform(self, images: tf.Tensor, params: Params) -> tf.Tensor:
        taps = self.taps(images.shape[1])
        return colour.gaussian_blur(images, params["sigma"], taps)


@keras.saving.register_keras_serializable(package="selfsup_tf")
class RandomSolarize(Augmentation):
    """Inverts the pixels at or above a threshold in [0, 1]."""

    costly = False

    def __init__(
        self, *, threshold: float = 0.5, probability: float = 0.2, **kwargs: Any
    ):
        super().__init__(probability=probability, **kwargs)
        ViewConfig(solarize_threshold=threshold)
        self.threshold = threshold

    def transform(self, images: tf.Tensor, params: Params) -> tf.Tensor:
        return colour.solarize(images, self.threshold)
