"""The base of the augmentations: parameters are sampled first and applied second.

Each image of a batch draws its own parameters, and its own "apply or not", from its
own key (see `random`). A layer runs eagerly, in `tf.data` and in a compiled step. On
an accelerator or under XLA give it whole batches: every branch is computed and the
right one chosen. A batch of one image takes only the costly branches that it needs.

A run gives the keys, so that an image draws the same wherever it stands. Without keys a
layer is like any random layer of Keras: it draws its own, by its seed.
"""

import inspect
import numbers
import zlib
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from selfsup_tf.config.checks import check_probability
from selfsup_tf.data import geometry, random
from selfsup_tf.data.channels import MOST
from selfsup_tf.errors import check

Params = dict[str, tf.Tensor]


class Augmentation(keras.layers.Layer):
    """Base of the layers: `call(images, keys)` is `apply(images, sample(keys, ...))`.

    As a layer of Keras it is called with images alone, in a model, in `Dataset.map`, on
    arrays; then `training=False` leaves them alone.

    A layer declares how many `draws` it takes for an image, `draw`, which turns them
    into parameters, and `transform`, which is pure. Whether an image is left alone is
    decided here. It keeps the arguments of its constructor as attributes.

    Args:
        probability: Share of the images that are transformed.
        salt: Sets the layer's draws apart from those of other layers given the same
            keys. By default it follows from the class; two layers of one class in a
            row need two salts.
        seed: Of the keys that it draws itself where it is given none; by default
            another one each time.
    """

    draws = 0
    costly = True
    """Whether a single image that is left alone is worth a branch."""
    resizes = False
    """Whether all images get another size, so that none can be left alone."""
    free_ranks = (3, 4)
    """Where height and width may be unknown while a graph is made: of one image, 3, of
    a batch, 4."""
    of_squares = False
    """Whether it takes square images alone."""

    def __init__(
        self,
        *,
        probability: float = 1.0,
        salt: int | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ):
        # Keys are integers and images stay float32 whatever the precision policy.
        kwargs.setdefault("dtype", "float32")
        super().__init__(autocast=False, **kwargs)
        check_probability("probability", probability)
        check(
            probability == 1 or not self.resizes,
            f"probability=1 for {type(self).__name__}, whose images all get one size",
            probability,
            "Leave it out.",
        )
        self.probability, self.seed = probability, seed
        self.salt = self.salt_of(type(self)) if salt is None else salt

    @staticmethod
    def salt_of(kind: type) -> int:
        """The salt of a class, where its layers are given none."""
        return zlib.crc32(kind.__name__.encode())

    def draw(self, draws: tf.Tensor, shape: tuple) -> Params:
        """Parameters of `transform`, by name, each (N, ...); none by default.

        Args:
            draws: (N, self.draws) float32, uniform in [0, 1).
            shape: Height and width of the images, ints or (N,) integers.
        """
        return {}

    def transform(self, images: tf.Tensor, params: Params) -> tf.Tensor:
        """Transforms every image (N, H, W, C), float32 in [0, 1]."""
        raise NotImplementedError

    def sample(self, keys: tf.Tensor, shape: tuple) -> Params:
        """What `apply` needs: the parameters, and "chosen" (N,) bool if not all are."""
        draws = random.uniform(keys, 1 + self.draws)
        params = self.draw(draws[:, 1:], shape)
        if self.probability < 1:
            params = {**params, "chosen": draws[:, 0] < self.probability}
        return params

    def sample_own(self, keys: tf.Tensor, shape: tuple) -> Params:
        """`sample` by the layer's own share of the images' keys (N, 2)."""
        return self.sample(random.fold_in(keys, self.salt), shape)

    def apply(self, images: tf.Tensor, params: Params) -> tf.Tensor:
        """Transforms the images that were chosen; pure."""
        if "chosen" not in params:
            return self.transform(images, params)
        chosen = params["chosen"]
        if images.shape[0] == 1 and self.costly:
            return tf.cond(
                chosen[0], lambda: self.transform(images, params), lambda: images
            )
        chosen = chosen[:, tf.newaxis, tf.newaxis, tf.newaxis]
        return tf.where(chosen, self.transform(images, params), images)

    def build(self, *shapes: Any) -> None:
        """Makes what draws keys. A view, which is given them, uses `call` alone.

        It is drawn inside of compiled functions, where no variable can be made.
        """
        self.seed_generator = keras.random.SeedGenerator(self.seed)
        self.built = True

    def call(
        self,
        images: tf.Tensor,
        keys: tf.Tensor | None = None,
        training: bool = True,
    ) -> tf.Tensor:
        """Augments images, or one image, without its dimension of the batch.

        Args:
            images: (N, H, W, C) or (H, W, C), float in [0, 1], or integers up to 255.
            keys: (N, 2) or (2,) uint32; None draws them.
            training: Whether images are augmented, where no keys are given.

        Returns:
            float32 in [0, 1].

        Raises:
            InvalidArgumentError: Floats that are far beyond [0, 1], without keys; not
                where XLA compiles it.
        """
        if keys is None:
            images = _within_one(images)
            if not training:
                return self.rest(geometry.as_float(images))
            single = len(images.shape) == 3
            keys = self._own_keys(1 if single else tf.shape(images)[0])
            keys = keys[0] if single else keys
        if len(images.shape) == 3:
            return self.call_one(images, keys)
        return self.augment(geometry.as_float(images), keys)

    def __call__(self, images: Any, keys: Any = None, **options: Any) -> tf.Tensor:
        """`call`, once these are images, and keys.

        Raises:
            InputError: They are not. Within `Dataset.map` or a tf.function AutoGraph
                tells it as an error of its own.
        """
        # Keras makes RuntimeErrors of what `call` raises.
        rests = keys is None and options.get("training") is False
        self._check_images(_shape_of(images), rests=rests)
        if keys is None:
            return super().__call__(images, **options)
        dtype, shape = getattr(keys, "dtype", type(keys).__name__), _shape_of(keys)
        check(
            dtype in (tf.uint32, "uint32") and shape[-1:] == (2,),
            "keys, (N, 2) uint32, behind the images, or none",
            f"the shape {shape} of {getattr(dtype, 'name', dtype)}",
            "Are they labels? Map images alone: lambda x, y: (layer(x), y)",
        )
        return super().__call__(images, keys, **options)

    def _check_images(self, shape: tuple[int | None, ...], *, rests: bool) -> None:
        check(
            len(shape) in (3, 4) and shape[-1] is not None and shape[-1] <= MOST,
            f"images (N, H, W, C), or one (H, W, C), of a known number of channels, "
            f"1 to {MOST}",
            f"the shape {shape}",
            "Decode with channels=3; of grey images make x[..., None].",
        )
        height, width = shape[-3:-1]
        if rests:
            return
        check(
            None not in (height, width) or len(shape) in self.free_ranks,
            f"a known height and width for {type(self).__name__}",
            f"the shape {shape}",
            "Crop single images before it: RandomResizedCrop and RandomView take one "
            "of any size.",
        )
        check(
            height == width or not self.of_squares,
            f"square images for {type(self).__name__}",
            f"{height} x {width}",
            "Crop them before: RandomResizedCrop",
        )

    def augment(self, images: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
        """`call` for images (N, H, W, C) float32 in [0, 1] and keys (N, 2)."""
        return self.apply(images, self.sample_own(keys, tuple(images.shape[1:3])))

    def call_one(self, image: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        """`call` for one image (H, W, C), uint8 or float32, and key (2,)."""
        return self.call(image[tf.newaxis], key[tf.newaxis])[0]

    def rest(self, images: tf.Tensor) -> tf.Tensor:
        """What becomes of images, or one image, that are not augmented: nothing."""
        return images

    def _own_keys(self, count: int | tf.Tensor) -> tf.Tensor:
        seed = tf.convert_to_tensor(self.seed_generator.next())
        # Under a strategy each replica counts for itself, from the same seed.
        context = tf.distribute.get_replica_context()
        replica = context.replica_id_in_sync_group if context else 0
        return random.image_keys(seed[0], seed[1], tf.range(count), replica)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, which a layer keeps under their own names."""
        own = inspect.signature(type(self)).parameters.values()
        names = {p.name for p in own if p.kind is not inspect.Parameter.VAR_KEYWORD}
        names |= {"probability", "salt", "seed"}
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def whole_size(size: Any) -> int:
    """A size in pixels; raises InputError unless it is one whole number."""
    check(
        isinstance(size, numbers.Integral) and size > 0,
        "size to be one whole number of pixels, the height and the width",
        repr(size),
        "Views are square: 224",
    )
    return int(size)


def _shape_of(tensor: Any) -> tuple[int | None, ...]:
    """The shape as far as it is known; () where not even the rank is."""
    shape = tensor.shape if hasattr(tensor, "shape") else np.shape(tensor)
    return () if getattr(shape, "rank", 0) is None else tuple(shape)


def _within_one(images: tf.Tensor) -> tf.Tensor:
    """The images, whose floats are within [0, 1], but for what a resize overshoots."""
    if not images.dtype.is_floating:
        return images
    message = "expected floats in [0, 1], or integers up to 255: divide by 255"
    most = tf.cast(tf.reduce_max(images), tf.float32)
    checked = tf.debugging.assert_less_equal(most, 1.5, message=message)
    with tf.control_dependencies([checked] if checked is not None else []):
        return tf.identity(images)
