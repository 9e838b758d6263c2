"""ResNets as SimCLR and BYOL train them.

The stride is in the 3x3 convolution, weights start from a variance-scaling normal,
BatchNorm has momentum .9 and epsilon 1e-5, and the last gamma of each residual block
starts at 0, so that a block starts as the identity. With selective kernels come the
stem and the shortcuts of ResNet-D, as in SimCLR v2.

A deviation: the first block of resnet18 and 34 has no projection in its shortcut, as in
torchvision; google-research/simclr has one.

Reference: He et al. 2016, "Deep residual learning for image recognition"; He et al.
2019, "Bag of tricks for image classification" (ResNet-D); Li et al. 2019, "Selective
kernel networks"; Hu et al. 2018, "Squeeze-and-excitation networks";
google-research/simclr, tf2/resnet.py.
"""

import keras
import tensorflow as tf

from selfsup_tf.config import EncoderConfig
from selfsup_tf.errors import check

BLOCKS = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
    "resnet200": (3, 24, 36, 3),
}
BASIC = EncoderConfig.BASIC_RESNETS
REDUCTION = {"imagenet": 32, "small": 8, "small_stride2": 16}
SMALLEST_SQUEEZE = 32
"""Least channels of the layer that mixes the streams of a selective kernel."""


def build_resnet(
    config: EncoderConfig, image_size: int, channels: int = 3
) -> keras.Model:
    """Builds a ResNet up to and with its global average pooling.

    Args:
        config: Depth (name), width multiplier, stem, selective kernels,
            squeeze-and-excitation, and whether the blocks start as the identity.
        image_size: Height and width of the input, in pixels.
        channels: Of the input.

    Returns:
        A model from (N, image_size, image_size, channels) to (N, D): D is 512 * width
        for resnet18 and 34, 2048 * width for the deeper ones.

    Raises:
        InputError: The images are smaller than the network's reduction.
    """
    smallest = REDUCTION[config.stem]
    check(
        image_size >= smallest,
        f"an image_size of {smallest} or more for the stem {config.stem!r}",
        image_size,
        "Use --encoder.stem=small, or larger views.",
    )
    images = keras.Input((image_size, image_size, channels), name="image")
    x = _stem(images, _channels(64, config.width), config)
    block = _basic_block if config.name in BASIC else _bottleneck_block
    for stage, repeats in enumerate(BLOCKS[config.name]):
        filters = _channels(64 * 2**stage, config.width)
        for index in range(repeats):
            stride = 2 if stage > 0 and index == 0 else 1
            name = f"stage{stage + 1}_block{index + 1}"
            x = block(x, filters, stride, name, config)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(images, x, name=config.name)


def _channels(filters: int, width: float) -> int:
    return max(1, round(filters * width))


def _stem(x, filters, config):
    if config.stem == "imagenet" and config.sk_ratio > 0:
        half = max(1, filters // 2)
        x = _conv(x, half, 3, 2, "stem_conv1")
        x = _norm_relu(x, "stem_conv1")
        x = _conv(x, half, 3, 1, "stem_conv2")
        x = _norm_relu(x, "stem_conv2")
        x = _conv(x, filters, 3, 1, "stem_conv")
    else:
        sizes = {"imagenet": (7, 2), "small": (3, 1), "small_stride2": (3, 2)}
        x = _conv(x, filters, *sizes[config.stem], "stem_conv")
    x = _norm_relu(x, "stem")
    if config.stem == "imagenet":
        x = keras.layers.MaxPooling2D(3, 2, padding="same", name="stem_pool")(x)
    return x


def _basic_block(x, filters, stride, name, config):
    shortcut = _shortcut(x, filters, stride, name, config)
    x = _conv(x, filters, 3, stride, f"{name}_conv1")
    x = _norm_relu(x, f"{name}_1")
    x = _conv(x, filters, 3, 1, f"{name}_conv2")
    x = _last_norm(x, f"{name}_2", config)
    return _join(x, shortcut, filters, name, config)


def _bottleneck_block(x, filters, stride, name, config):
    shortcut = _shortcut(x, 4 * filters, stride, name, config)
    x = _conv(x, filters, 1, 1, f"{name}_conv1")
    x = _norm_relu(x, f"{name}_1")
    if config.sk_ratio > 0:
        x = _selective_conv(x, filters, stride, f"{name}_sk", config.sk_ratio)
    else:
        x = _conv(x, filters, 3, stride, f"{name}_conv2")
        x = _norm_relu(x, f"{name}_2")
    x = _conv(x, 4 * filters, 1, 1, f"{name}_conv3")
    x = _last_norm(x, f"{name}_3", config)
    return _join(x, shortcut, filters, name, config)


def _shortcut(x, filters, stride, name, config):
    if stride == 1 and x.shape[-1] == filters:
        return x
    if config.sk_ratio > 0:
        # ResNet-D: no pixel is dropped; the margin matters where the size is odd.
        if stride > 1:
            margin = ((0, 1), (0, 1))
            x = keras.layers.ZeroPadding2D(margin, name=f"{name}_shortcut_pad")(x)
        padding = "same" if stride == 1 else "valid"
        x = keras.layers.AveragePooling2D(
            2, stride, padding, name=f"{name}_shortcut_pool"
        )(x)
        stride = 1
    x = _conv(x, filters, 1, stride, f"{name}_shortcut_conv")
    return _norm(f"{name}_shortcut_norm")(x)


def _selective_conv(x, filters, stride, name, ratio):
    """A 3x3 convolution in two streams, mixed by what they hold on the average."""
    x = _conv(x, 2 * filters, 3, stride, f"{name}_conv")
    x = _norm_relu(x, name)
    means = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(x)
    means = SumStreams(name=f"{name}_sum")(means)
    inner = max(int(filters * ratio), SMALLEST_SQUEEZE)
    means = _conv(means, inner, 1, 1, f"{name}_squeeze")
    means = _norm_relu(means, f"{name}_squeeze")
    logits = _conv(means, 2 * filters, 1, 1, f"{name}_mix")
    return MixStreams(name=f"{name}_streams")([x, logits])


def _last_norm(x, name, config):
    gamma = "zeros" if config.zero_init else "ones"
    return _norm(f"{name}_norm", gamma=gamma)(x)


def _join(x, shortcut, filters, name, config):
    if config.se_ratio > 0:
        x = _squeeze_and_excite(x, filters, f"{name}_se", config.se_ratio)
    x = keras.layers.Add(name=f"{name}_add")([x, shortcut])
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def _squeeze_and_excite(x, filters, name, ratio):
    """Scales each channel by a gate in [0, 1] that sees the means of all of them."""
    gate = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(x)
    for part, size, activation in (
        ("reduce", max(1, int(filters * ratio)), "relu"),
        ("expand", x.shape[-1], "sigmoid"),
    ):
        gate = keras.layers.Conv2D(
            size,
            1,
            activation=activation,
            kernel_initializer=keras.initializers.VarianceScaling(),
            name=f"{name}_{part}",
        )(gate)
    return keras.layers.Multiply(name=f"{name}_scale")([x, gate])


def _conv(x, filters, kernel, stride, name):
    padding = "same"
    if stride > 1 and kernel > 1:
        # The reference pads both sides alike; "same" would pad by the image's parity.
        margin = (kernel - 1) // 2
        x = keras.layers.ZeroPadding2D(margin, name=f"{name}_pad")(x)
        padding = "valid"
    return keras.layers.Conv2D(
        filters,
        kernel,
        stride,
        padding,
        use_bias=False,
        kernel_initializer=keras.initializers.VarianceScaling(),
        name=name,
    )(x)


def _norm(name, gamma="ones"):
    return keras.layers.BatchNormalization(
        momentum=0.9, epsilon=1e-5, gamma_initializer=gamma, name=name
    )


def _norm_relu(x, name):
    x = _norm(f"{name}_norm")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


# The two layers of selective kernels have no weights, so that a precision and a
# synchronised BatchNorm reach the plain layers around them.
@keras.saving.register_keras_serializable(package="selfsup_tf")
class SumStreams(keras.layers.Layer):
    """Adds the two streams that lie one after the other in the channels."""

    def call(self, streams):
        """Streams (N, H, W, 2C) to their sum, (N, H, W, C)."""
        first, second = tf.split(streams, 2, axis=-1)
        return first + second

    def compute_output_shape(self, shape):
        """The input's shape with half the channels."""
        return (*shape[:-1], shape[-1] // 2)


@keras.saving.register_keras_serializable(package="selfsup_tf")
class MixStreams(keras.layers.Layer):
    """Averages the two streams, each channel of each image with weights of its own."""

    def call(self, inputs):
        """Streams (N, H, W, 2C) and their logits (N, 1, 1, 2C) to (N, H, W, C)."""
        streams, logits = inputs
        first, second = tf.split(streams, 2, axis=-1)
        first_logit, second_logit = tf.split(logits, 2, axis=-1)
        # The softmax of two numbers is the sigmoid of their difference.
        share = tf.sigmoid(first_logit - second_logit)
        return first * share + second * (1 - share)

    def compute_output_shape(self, shapes):
        """The shape of the streams with half the channels."""
        return (*shapes[0][:-1], shapes[0][-1] // 2)
