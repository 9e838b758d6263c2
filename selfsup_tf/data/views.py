"""What the network sees: the random views to learn from, the fixed one to judge by."""

import keras
import tensorflow as tf

from selfsup_tf import config as config_lib
from selfsup_tf.data import augment, geometry

_EVALUATION_CROP = 0.875
_WHOLE = 32  # pixels; up to this size an evaluation view is no crop


class View:
    """The augmentations of one view, composed.

    Attributes:
        size: Height and width of the view.
        crop: The layer that crops and resizes.
        layers: What follows the crop, in order.
    """

    def __init__(
        self,
        crop: augment.RandomResizedCrop,
        layers: list[keras.layers.Layer],
    ):
        self.size = crop.size
        self.crop = crop
        self.layers = layers

    def __call__(self, images: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
        """Draws a view of each image of a batch.

        Args:
            images: (N, H, W, 3), uint8 or float32 in [0, 1].
            keys: (N, 2) uint32, see `random.image_keys`.

        Returns:
            (N, size, size, 3) float32 in [0, 1].
        """
        return self.finish(self.crop(geometry.as_float(images), keys), keys)

    def crop_one(self, image: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        """The first half of a view, for one image (H, W, 3) of any size and key (2,).

        `finish` is the other half; together they equal a call.
        """
        return self.crop.call_one(image, key)

    def finish(self, crops: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
        """What comes after the crop, for (N, size, size, 3) float32 in [0, 1]."""
        for layer in self.layers:
            crops = layer(crops, keys)
        return tf.clip_by_value(crops, 0.0, 1.0)


def make_view(config: config_lib.ViewConfig, size: int) -> View:
    """Composes the operations that `config` describes, in the order of its fields.

    What has probability 0 is left out.

    Args:
        config: The distribution of the view.
        size: Height and width of the view, in pixels.
    """
    crop = augment.RandomResizedCrop(
        size,
        area=config.crop_area,
        aspect=config.crop_aspect,
        law=config.crop_law,
        interpolation=config.interpolation,
        antialias=config.antialias,
    )
    layers = [
        augment.RandomHorizontalFlip(probability=config.flip),
        augment.ColorJitter(
            brightness=config.brightness,
            brightness_mode=config.brightness_mode,
            contrast=config.contrast,
            saturation=config.saturation,
            hue=config.hue,
            probability=config.jitter,
        ),
        augment.RandomGrayscale(probability=config.grayscale),
        augment.RandomGaussianBlur(
            sigma=config.blur_sigma, size=config.blur_size, probability=config.blur
        ),
        augment.RandomSolarize(
            threshold=config.solarize_threshold, probability=config.solarize
        ),
        augment.RandomRotate90(probability=config.rotate90),
        augment.RandomRotation(
            config.rotation, probability=1.0 if config.rotation else 0.0
        ),
    ]
    return View(crop, [layer for layer in layers if layer.probability > 0])


def evaluation_crop(size: int) -> float | None:
    """Which share of the shorter side an evaluation view of `size` pixels shows.

    None: the whole image, height and width.
    """
    return _EVALUATION_CROP if size > _WHOLE else None


def evaluation_view(images: tf.Tensor, size: int) -> tf.Tensor:
    """The view that an encoder is evaluated and served with; nothing is random.

    Above 32 pixels: the central square of 87.5 % of the shorter side, resized; up to
    32 pixels: the whole image, resized if it isn't of that size. The shape may be
    unknown until the op runs.

    Args:
        images: (H, W, 3) or (N, H, W, 3), uint8 or float in [0, 1].
        size: Height and width of the result.

    Returns:
        (size, size, 3) or (N, size, size, 3) float32 in [0, 1].

    Reference: google-research/simclr, tf2/data_util.py preprocess_for_eval, which
    doesn't low-pass filter what it shrinks; we do.
    """
    share = evaluation_crop(size)
    if share is not None:
        shape = tf.shape(images)
        height, width = shape[-3], shape[-2]
        shorter = tf.cast(tf.minimum(height, width), tf.float32)
        side = tf.maximum(tf.cast(tf.round(share * shorter), tf.int32), 1)
        top, left = (height - side + 1) // 2, (width - side + 1) // 2
        images = images[..., top : top + side, left : left + side, :]
    # After the crop: a float image takes four times the memory.
    images = geometry.as_float(images)
    images = tf.image.resize(images, (size, size), "bicubic", antialias=True)
    images = tf.clip_by_value(images, 0.0, 1.0)
    return tf.ensure_shape(images, [*images.shape[:-3], size, size, 3])
