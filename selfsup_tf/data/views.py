"""What the network sees: the random views to learn from, the fixed one to judge by."""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import tensorflow as tf

from selfsup_tf.config import ViewConfig
from selfsup_tf.data import geometry, layers, random
from selfsup_tf.data.augmentation import Augmentation
from selfsup_tf.data.own_layers import find_own_layer, make_own_layer

_EVALUATION_CROP = 0.875
_WHOLE = 32  # pixels; up to this size an evaluation view is no crop


class View:
    """The augmentations of one view, composed.

    Args:
        config: The distribution of the view.
        image_size: Height and width of the view, in pixels; of the config by default.
        channels: Of the images, which layers of the user's own have to keep.

    Attributes:
        size: Height and width of the view.
        crop: The layer that crops and resizes.
        layers: What follows the crop, in order, each a function of images and keys;
            what has probability 0 is left out.
    """

    def __init__(
        self, config: ViewConfig, image_size: int | None = None, channels: int = 3
    ):
        self.size = image_size or config.size
        self.crop = layers.RandomResizedCrop(
            self.size,
            area=config.crop_area,
            aspect=config.crop_aspect,
            law=config.crop_law,
            interpolation=config.interpolation,
            antialias=config.antialias,
        )
        ours = _operations(config)
        self.layers: list[Callable] = []
        for name in (*config.OPERATIONS, None):
            self.layers += [
                make_own_layer(own, (self.size, self.size, channels), place)
                for place, own in enumerate(config.layers)
                if own.before == name
            ]
            if name and ours[name].probability > 0:
                self.layers.append(ours[name])

    def __call__(self, images: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
        """Draws a view of each image, (N, size, size, C) float32 in [0, 1].

        Args:
            images: (N, H, W, C), uint8 or float32 in [0, 1].
            keys: (N, 2) uint32, see `random.image_keys`.
        """
        return self.finish(self.crop.call(images, keys), keys)

    def crop_one(self, image: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        """The first half of a view, for one image (H, W, C) of any size and key (2,).

        `finish` is the other half; together they equal a call.
        """
        return self.crop.call_one(image, key)

    def finish(self, crops: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
        """What comes after the crop, for (N, size, size, C) float32 in [0, 1]."""
        for layer in self.layers:
            # Called as a layer of Keras it would make variables, see `build`.
            draw = layer.call if isinstance(layer, Augmentation) else layer
            crops = draw(crops, keys)
        return tf.clip_by_value(crops, 0.0, 1.0)


def _operations(config: ViewConfig) -> dict[str, Augmentation]:
    """The layers of `ViewConfig.OPERATIONS`, with what the config says of each."""
    return {
        "flip": layers.RandomHorizontalFlip(probability=config.flip),
        "jitter": layers.ColorJitter(
            brightness=config.brightness,
            brightness_mode=config.brightness_mode,
            contrast=config.contrast,
            saturation=config.saturation,
            hue=config.hue,
            probability=config.jitter,
        ),
        "grayscale": layers.RandomGrayscale(probability=config.grayscale),
        "blur": layers.RandomGaussianBlur(
            sigma=config.blur_sigma, size=config.blur_size, probability=config.blur
        ),
        "solarize": layers.RandomSolarize(
            threshold=config.solarize_threshold, probability=config.solarize
        ),
        "rotate90": layers.RandomRotate90(probability=config.rotate90),
        "rotation": layers.RandomRotation(
            config.rotation, probability=1.0 if config.rotation else 0.0
        ),
    }


def draw_views(
    batch: Mapping[str, tf.Tensor], drawn: Mapping[str, ViewConfig], *, seed: int
) -> dict[str, tf.Tensor]:
    """The views of a batch, from images of one size or from crops.

    They are the same, to the bit on the same kind of processor, in `tf.data` and on a
    device: one compiled function draws both. Crops that were rounded to uint8 are up to
    half a level of 255 away.

    Args:
        batch: "image" (N, H, W, C) uint8, or "crop_i" (N, S, S, C) as `draw_crops`
            makes them, or rounded to uint8, where view i has S pixels; "index" and
            "epoch", (N,) int64.
        drawn: The views wanted, of `Config.drawn_views`: view_i, with its size.
        seed: The run's.

    Returns:
        (N, S, S, C) float32 in [0, 1], by name.
    """
    views = {}
    for name, config in drawn.items():
        taken = batch["image"] if "image" in batch else batch[crop_name(name)]
        compiled = _compile(config, taken.shape[-1])
        draw = compiled.whole if "image" in batch else compiled.finish
        views[name] = draw(taken, *_names(batch, name, seed))
    return views


def draw_crops(
    single: Mapping[str, tf.Tensor], drawn: Mapping[str, ViewConfig], *, seed: int
) -> dict[str, tf.Tensor]:
    """The crops that `draw_views` makes views of, of a single image of any size.

    Args:
        single: "image" (1, H, W, C) uint8; "index" and "epoch", (1,) int64.
        drawn: As for `draw_views`.
        seed: The run's.

    Returns:
        "crop_i", (1, S, S, C) float32 for every view_i: levels of grey, from about 0 to
        about 255, since bicubic interpolation may overshoot.
    """
    crops, image = {}, single["image"][0]
    for name, config in drawn.items():
        compiled = _compile(config, image.shape[-1])
        boxes = compiled.boxes(tf.shape(image), *_names(single, name, seed))
        crops[crop_name(name)] = compiled.cut(image, boxes[0])[tf.newaxis]
    return crops


def crop_name(view: str) -> str:
    """What the crop of view_i is called: crop_i."""
    return view.replace("view", "crop")


def view_keys(batch: Mapping[str, tf.Tensor], view: str, seed: int) -> tf.Tensor:
    """The keys (N, 2) of a batch's images for view_i, which has the number i - 1."""
    return random.image_keys(*_names(batch, view, seed))


def _names(
    batch: Mapping[str, tf.Tensor], view: str, seed: int
) -> tuple[tf.Tensor, ...]:
    """The arguments of `random.image_keys`."""
    number = int(view.rpartition("_")[2]) - 1
    seed = tf.constant(seed & 0xFFFFFFFF, tf.int64)
    return seed, batch["epoch"], batch["index"], tf.constant(number, tf.int64)


class _Compiled(NamedTuple):
    """The functions of a view of some distribution.

    The first three are compiled, the keys of their images with them; `cut` is not,
    since XLA compiles anew for every size of an image.
    """

    boxes: Callable
    """The boxes (N, 4) of crops, of the images' shape (H, W, C)."""
    whole: Callable
    """The views of images (N, H, W, C)."""
    finish: Callable
    """The views of crops in levels of grey, (N, S, S, C)."""
    cut: Callable
    """The crop, (S, S, C), of an image and its box."""


def _compile(config: ViewConfig, channels: int) -> _Compiled:
    """The functions of a view, as its own layers are defined at the moment."""
    own = tuple(find_own_layer(own.name) for own in config.layers)
    return _compiled(config, channels, own)


# XLA merges the passes over the pixels: four times as fast as TensorFlow's own kernels,
# on a CPU too. Compiling takes seconds, so what is compiled is kept for a second view,
# or a second dataset, of the same distribution.
@functools.lru_cache(maxsize=16)
def _compiled(config: ViewConfig, channels: int, own: tuple[type, ...]) -> _Compiled:
    view = View(config, channels=channels)

    def compile_for_names(function):
        def of_names(values, *names):
            return function(values, random.image_keys(*names))

        return tf.function(of_names, jit_compile=True, autograph=False)

    def boxes(shape, keys):
        return view.crop.boxes(keys, shape)

    def finish(crops, keys):
        return view.finish(geometry.from_grey_levels(crops), keys)

    return _Compiled(
        boxes=compile_for_names(boxes),
        whole=compile_for_names(view),
        finish=compile_for_names(finish),
        cut=view.crop.cut,
    )


def check_views(drawn: Mapping[str, ViewConfig], channels: int) -> None:
    """Raises InputError where a view names a layer that can't stand in it."""
    for config in drawn.values():
        _compile(config, channels)


def evaluation_crop(size: int) -> float | None:
    """Which share of the shorter side an evaluation view of `size` pixels shows.

    None: the whole image, height and width.
    """
    return _EVALUATION_CROP if size > _WHOLE else None


def evaluation_view(
    images: tf.Tensor, size: int, *, for_xla: bool = False
) -> tf.Tensor:
    """The view that an encoder is evaluated and served with; nothing is random.

    Above 32 pixels: the central square of 87.5 % of the shorter side, resized; up to
    32 pixels: the whole image, resized if it isn't of that size. The shape may be
    unknown until the op runs.

    Args:
        images: (H, W, C) or (N, H, W, C), uint8 or float in [0, 1].
        size: Height and width of the result.
        for_xla: Whether a batch of known height and width is resized by matrices,
            which XLA compiles, to the same pixels but for rounding.

    Returns:
        (size, size, C) or (N, size, size, C) float32 in [0, 1].

    Reference: google-research/simclr, tf2/data_util.py preprocess_for_eval, which
    doesn't low-pass filter what it shrinks; we do.
    """
    share, channels = evaluation_crop(size), images.shape[-1]
    if share is not None:
        height, width = images.shape[-3:-1]
        if None in (height, width):
            height, width = tf.unstack(tf.shape(images)[-3:-1])
            shorter = tf.cast(tf.minimum(height, width), tf.float32)
            side = tf.maximum(tf.cast(tf.round(share * shorter), tf.int32), 1)
        else:
            side = max(round(share * min(height, width)), 1)
        top, left = (height - side + 1) // 2, (width - side + 1) // 2
        images = images[..., top : top + side, left : left + side, :]
    # After the crop: a float image takes four times the memory.
    images = geometry.as_float(images)
    if for_xla:
        images = geometry.resize(images, size=size, method="bicubic", antialias=True)
    else:
        images = tf.image.resize(images, (size, size), "bicubic", antialias=True)
    images = tf.clip_by_value(images, 0.0, 1.0)
    return tf.ensure_shape(images, [*images.shape[:-3], size, size, channels])
