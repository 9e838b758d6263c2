"""ResNets as SimCLR and BYOL train them.

The stride is in the 3x3 convolution, weights start from a variance-scaling normal,
BatchNorm has momentum .9 and epsilon 1e-5, and the last gamma of each residual block
starts at 0, so that a block starts as the identity.

Reference: He et al. 2016, "Deep residual learning for image recognition";
google-research/simclr, tf2/resnet.py.
"""

import keras

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
BASIC = ("resnet18", "resnet34")
REDUCTION = {"imagenet": 32, "small": 8, "small_stride2": 16}


def build_resnet(config: EncoderConfig, image_size: int) -> keras.Model:
    """A ResNet up to and with its global average pooling.

    Args:
        config: Depth (name), width multiplier and stem.
        image_size: Height and width of the input, in pixels.

    Returns:
        A model from (N, image_size, image_size, 3) to (N, D): D is 512 * width for
        resnet18 and 34, 2048 * width for the deeper ones.

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
    images = keras.Input((image_size, image_size, 3), name="image")
    x = _stem(images, _channels(64, config.width), config.stem)
    block = _basic_block if config.name in BASIC else _bottleneck_block
    for stage, repeats in enumerate(BLOCKS[config.name]):
        filters = _channels(64 * 2**stage, config.width)
        for index in range(repeats):
            stride = 2 if stage > 0 and index == 0 else 1
            x = block(x, filters, stride, f"stage{stage + 1}_block{index + 1}")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(images, x, name=config.name)


def _channels(filters: int, width: float) -> int:
    return max(1, round(filters * width))


def _stem(x, filters, stem):
    kernel, stride = {"imagenet": (7, 2), "small": (3, 1), "small_stride2": (3, 2)}[
        stem
    ]
    x = _conv(x, filters, kernel, stride, "stem_conv")
    x = _norm_relu(x, "stem")
    if stem == "imagenet":
        x = keras.layers.MaxPooling2D(3, 2, padding="same", name="stem_pool")(x)
    return x


def _basic_block(x, filters, stride, name):
    shortcut = _shortcut(x, filters, stride, name)
    x = _conv(x, filters, 3, stride, f"{name}_conv1")
    x = _norm_relu(x, f"{name}_1")
    x = _conv(x, filters, 3, 1, f"{name}_conv2")
    return _join(x, shortcut, f"{name}_2", name)


def _bottleneck_block(x, filters, stride, name):
    shortcut = _shortcut(x, 4 * filters, stride, name)
    x = _conv(x, filters, 1, 1, f"{name}_conv1")
    x = _norm_relu(x, f"{name}_1")
    x = _conv(x, filters, 3, stride, f"{name}_conv2")
    x = _norm_relu(x, f"{name}_2")
    x = _conv(x, 4 * filters, 1, 1, f"{name}_conv3")
    return _join(x, shortcut, f"{name}_3", name)


def _shortcut(x, filters, stride, name):
    if stride == 1 and x.shape[-1] == filters:
        return x
    x = _conv(x, filters, 1, stride, f"{name}_shortcut_conv")
    return _norm(f"{name}_shortcut_norm")(x)


def _join(x, shortcut, norm_name, name):
    x = _norm(f"{norm_name}_norm", gamma="zeros")(x)
    x = keras.layers.Add(name=f"{name}_add")([x, shortcut])
    return keras.layers.ReLU(name=f"{name}_relu")(x)


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
