"""Vision transformers of keras-hub, which the extra "hub" brings.

Reference: Dosovitskiy et al. 2021, "An image is worth 16x16 words"; Touvron et al.
2021, "Training data-efficient image transformers" (the sizes tiny and small).
"""

import math

import keras
import numpy as np

from selfsup_tf.commands import installing
from selfsup_tf.config import EncoderConfig
from selfsup_tf.errors import InputError, check

SIZES = {
    "vit_tiny": (12, 3, 192),
    "vit_small": (12, 6, 384),
    "vit_base": (12, 12, 768),
    "vit_large": (24, 16, 1024),
}
"""Layers, heads, and the size D of a token; the hidden layers are 4 D wide."""


def build_vit(config: EncoderConfig, image_size: int, channels: int = 3) -> keras.Model:
    """Builds a vision transformer up to its class token, after the last norm.

    Args:
        config: Which one (name), the size of its patches and how they are embedded.
        image_size: Height and width of the input, in pixels.
        channels: Of the input.

    Returns:
        A model from (N, image_size, image_size, channels) to (N, D).

    Raises:
        InputError: The image isn't a whole number of patches, or keras-hub is missing.
    """
    patch = config.patch_size
    check_whole_patches(image_size, patch, "image_size")
    layers, heads, width = SIZES[config.name]
    images = keras.Input((image_size, image_size, channels), name="image")
    h = VisionTransformer(
        patch_size=patch,
        num_layers=layers,
        num_heads=heads,
        hidden_dim=width,
        fixed_embedding=config.fixed_embedding,
        name="transformer",
    )(images)
    return keras.Model(images, h, name=config.name)


def check_whole_patches(size: int, patch: int, name: str) -> None:
    """Raises InputError, which names the nearest sizes, unless patches fill an image.

    Args:
        size: Height and width of the image, in pixels.
        patch: Those of a patch.
        name: Of the flag that sets the size.
    """
    fitting = sorted({max(1, size // patch) * patch, -(-size // patch) * patch})
    check(
        size % patch == 0,
        f"{name} to be a multiple of encoder.patch_size={patch}",
        size,
        f"Use --{name}={' or '.join(map(str, fitting))}, or other patches.",
    )


def position_weights(source: int, target: int) -> np.ndarray:
    """What each of `source` positions counts for each of `target`, (target, source).

    Bicubic as PyTorch's interpolate, a = -.75, positions beyond the edge being those at
    it, by a factor of (target + .1) / source: facebookresearch/dino,
    vision_transformer.py, interpolate_pos_encoding.
    """
    weights, a = np.zeros((target, source)), -0.75
    for row in range(target):
        at = (row + 0.5) * source / (target + 0.1) - 0.5
        for place in range(math.floor(at) - 1, math.floor(at) + 3):
            x = abs(at - place)
            if x < 1:
                weight = ((a + 2) * x - (a + 3)) * x * x + 1
            else:
                weight = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
            weights[row, min(max(place, 0), source - 1)] += weight
    return weights


def sine_positions(rows: int, columns: int, size: int) -> np.ndarray:
    """Embeddings of the positions of a grid that need no learning.

    Sine and cosine of the row and of the column, a quarter of the numbers each, of wave
    lengths from 2 pi to nearly 20,000 pi: Chen, Xie and He 2021, section 4, in the
    order of open-mmlab/mmpretrain, build_2d_sincos_position_embedding.

    Returns:
        Float64, shape (rows * columns, size), row after row.
    """
    frequencies = 10_000.0 ** (-np.arange(size // 4) / (size // 4))
    angles = (
        np.outer(n, frequencies) for n in np.indices((rows, columns)).reshape(2, -1)
    )
    return np.hstack([wave(a) for a in angles for wave in (np.sin, np.cos)])


@keras.saving.register_keras_serializable(package="selfsup_tf")
class VisionTransformer(keras.layers.Layer):
    """A layer that holds keras-hub's ViTBackbone and gives its class token.

    It is a layer and not the backbone itself because a copy of a model is made layer by
    layer, and keras-hub's layer of patches can't be made again from its own config.

    Args:
        patch_size: Height and width of a patch, in pixels.
        num_layers: Blocks of attention and a hidden layer.
        num_heads: Heads of each attention.
        hidden_dim: Size D of a token; a multiple of 4 if the embedding is fixed.
        fixed_embedding: Whether patches and positions are embedded by numbers that do
            not learn.
    """

    def __init__(
        self,
        patch_size: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        fixed_embedding: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.patch_size, self.num_layers = patch_size, num_layers
        self.num_heads, self.hidden_dim = num_heads, hidden_dim
        self.fixed_embedding = fixed_embedding

    def build(self, shape):
        """Makes the backbone, in the precision of this layer."""
        try:
            import keras_hub  # seconds, for the few who want it
        except ImportError as error:
            raise InputError(
                "the package keras-hub, which holds the vision transformers",
                f"{error}",
                f"Install it: {installing('hub')}",
            ) from error
        self.backbone = keras_hub.models.ViTBackbone(
            image_shape=tuple(shape[1:]),
            patch_size=(self.patch_size, self.patch_size),
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            hidden_dim=self.hidden_dim,
            mlp_dim=4 * self.hidden_dim,
            dtype=self.dtype_policy,
            name="backbone",
        )
        if self.fixed_embedding:
            self._fix_embedding()

    def _fix_embedding(self):
        embedding = self._embedding()
        projection, positions = embedding.patch_embedding, embedding.position_embedding
        *patch, channels, size = projection.kernel.shape
        # Keras's default counts each pixel of a patch as an output: a ninth of this.
        limit = math.sqrt(6 / (math.prod(patch) * channels + size))
        draw = keras.initializers.RandomUniform(-limit, limit)
        projection.kernel.assign(draw(projection.kernel.shape))
        grid = [length // self.patch_size for length in self.backbone.image_shape[:2]]
        table = np.vstack([np.zeros((1, size)), sine_positions(*grid, size)])
        positions.embeddings.assign(table)
        self._freeze_embedding()

    def _freeze_embedding(self):
        embedding = self._embedding()
        for part in (embedding.patch_embedding, embedding.position_embedding):
            part.trainable = False

    @keras.layers.Layer.trainable.setter
    def trainable(self, value):
        """Sets it for all of the layer but an embedding that is fixed."""
        keras.layers.Layer.trainable.fset(self, value)
        if self.fixed_embedding and self.built:
            self._freeze_embedding()

    def _embedding(self):
        # keras-hub promises none of its names; tests/models/test_vit.py watches them.
        return self.backbone.get_layer("vit_patching_and_embedding")

    def call(self, images):
        """Images (N, H, W, 3) of the size it is built for, or another, to class tokens.

        For another the embeddings of positions are interpolated to the grid of its
        patches: Dosovitskiy et al. 2021, section 3.2.
        """
        if tuple(images.shape[1:3]) == self.backbone.image_shape[:2]:
            return self.backbone(images)[:, 0]
        tokens = self._tokens_of_another_size(images)
        return self.backbone.get_layer("vit_encoder")(tokens)[:, 0]

    def _tokens_of_another_size(self, images):
        patch, size = self.patch_size, self.hidden_dim
        rows, columns = (length // patch for length in images.shape[1:3])
        grid = [length // patch for length in self.backbone.image_shape[:2]]
        embedding = self._embedding()
        full = "float64" if self.compute_dtype == "float64" else "float32"
        table = keras.ops.cast(embedding.position_embedding.embeddings, full)
        # Matrices, since TensorFlow's resizing has no kernel for XLA and no gradient in
        # half precision.
        positions = keras.ops.einsum(
            "ai,bj,ijd->abd",
            position_weights(grid[0], rows).astype(full),
            position_weights(grid[1], columns).astype(full),
            keras.ops.reshape(table[1:], (*grid, size)),
        )
        positions, table = (
            keras.ops.cast(value, self.compute_dtype) for value in (positions, table)
        )
        patches = embedding.patch_embedding(images)
        patches = keras.ops.reshape(patches + positions, (-1, rows * columns, size))
        first = keras.ops.cast(embedding.class_token, self.compute_dtype) + table[0]
        first = first + keras.ops.zeros_like(patches[:, :1])
        return keras.ops.concatenate([first, patches], axis=1)

    def parts(self) -> tuple[keras.Model, list[keras.layers.Layer], keras.Model]:
        """Divides the transformer into parts that share its weights.

        Returns:
            From images (N, H, W, 3) to tokens (N, 1 + patches, D); the blocks of
            attention, each from tokens to tokens; from tokens to class tokens (N, D).
        """
        # keras-hub promises none of these names; where it changes them,
        # tests/models/test_rematerialisation.py fails.
        encoder = self.backbone.get_layer("vit_encoder")
        first = keras.Model(self.backbone.input, encoder.dropout(encoder.input))
        tokens = keras.Input(
            batch_shape=encoder.output.shape, dtype=encoder.output.dtype
        )
        last = keras.Model(tokens, encoder.layer_norm(tokens)[:, 0])
        return first, list(encoder.encoder_layers), last

    def compute_output_shape(self, shape):
        """The shape of the class tokens, (N, D)."""
        return (shape[0], self.hidden_dim)

    def get_config(self):
        """The arguments of the constructor."""
        names = (
            "patch_size",
            "num_layers",
            "num_heads",
            "hidden_dim",
            "fixed_embedding",
        )
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
