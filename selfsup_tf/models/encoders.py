"""Encoders f: functional models from images to representations.

An encoder takes float32 images in [0, 1], shape (N, H, W, 3), and gives float32
representations h, shape (N, D). What its network wants of its input (a mean
subtracted, a range of [-1, 1]) is inside. Where a run has other channels, 1 to 16, they
stand in the place of the 3, here and in all that takes an encoder.
"""

import functools
import inspect
import pathlib
import warnings

import keras

from selfsup_tf.config import EncoderConfig
from selfsup_tf.errors import InputError, check, check_one_of
from selfsup_tf.models import resnet, vit
from selfsup_tf.models.copies import copy_network, leaf_layers, plain
from selfsup_tf.models.keras_settings import check_keras
from selfsup_tf.models.own import channels_of, check_fits
from selfsup_tf.models.preprocessing import normalize, preprocess


def build_encoder(
    config: EncoderConfig,
    image_size: int,
    *,
    channels: int = 3,
    precision: str = "float32",
    name: str = "encoder",
) -> keras.Model:
    """Builds the encoder that `config` describes, freshly initialised.

    Args:
        config: Which network, and how wide.
        image_size: Height and width of its input, in pixels.
        channels: Of its input.
        precision: What it computes in, a Keras dtype policy. Its variables and its
            output are float32 whatever the policy.
        name: Name of the model.

    Raises:
        InputError: No network has this name, it can't take this size, it has a mean or
            weights for other channels, its weights can't be had, or the package it
            comes from is missing; or Keras is set otherwise, see `check_keras`.
    """
    check_keras()
    shape = (image_size, image_size, channels)
    if channels != 3:
        _check_any_channels(config, channels)
    if config.name in (*resnet.BLOCKS, *vit.SIZES):
        build = resnet.build_resnet if config.name in resnet.BLOCKS else vit.build_vit
        backbone = build(config, image_size, channels)
        mean, std = config.mean, config.std
        if channels != 3:
            mean, std = mean[:1] * channels, std[:1] * channels
        first = functools.partial(normalize, mean=mean, std=std)
    else:
        backbone, module = _build_application(config, shape)
        first = functools.partial(preprocess, module=module)
    if config.weights not in (None, "imagenet"):
        _load_weights(backbone, config.weights)
    images = keras.Input(shape, name="image")
    h = backbone(first(images))
    # Identity casts: the representation is float32 under every policy.
    h = keras.layers.Identity(dtype="float32", name="representation")(h)
    return copy_network(keras.Model(images, h, name=name), precision=precision)


def adopt_encoder(
    encoder: keras.Model,
    image_size: int,
    *,
    channels: int = 0,
    precision: str = "float32",
    name: str = "encoder",
) -> keras.Model:
    """Copies a user's own model, weights included, and makes it fit for training.

    Raises:
        InputError: It is not a map from (N, image_size, image_size, channels) to (N,
            D), where channels are given.
    """
    check_fits(encoder, image_size, channels)
    encoder = plain(encoder)
    shape = (image_size, image_size, channels_of(encoder))
    images = keras.Input(shape, name="image")
    h = encoder(images)
    h = keras.layers.Identity(dtype="float32", name="representation")(h)
    return copy_network(keras.Model(images, h, name=name), precision=precision)


# MobileNetV3's own .999 keeps a third of the statistics it was built with for 1,000
# steps: a short run would be judged by what the encoder never was.
BATCH_NORM_MOMENTUM = 0.9
# EfficientNet's stochastic depth drops other blocks for each view. In an untrained one
# most images are then nearer to another image than to themselves, and there is little
# to learn from that. SimCLR and BYOL train networks without it; fine-tuning and
# distillation go without it here, too.
DROP_RATE = 0.0


def application_modules() -> dict[str, str]:
    """The networks of keras.applications, each with the name of its module there."""
    return {
        name: network.__module__.rpartition(".")[2]
        for name, network in vars(keras.applications).items()
        if inspect.isfunction(network)
    }


def _check_any_channels(config: EncoderConfig, channels: int) -> None:
    """Raises InputError where something of the network is for three channels alone."""
    default = EncoderConfig()
    check(
        (config.mean, config.std) == (default.mean, default.std),
        f"no encoder.mean and encoder.std for {channels} channels",
        f"mean={config.mean}, std={config.std}",
        "They are for three: --encoder.mean 0 0 0 --encoder.std 1 1 1 takes the "
        "images as they are.",
    )
    check(
        config.weights != "imagenet",
        f"encoder.weights for {channels} channels",
        "imagenet",
        "They are for three; use --channels=3, or leave them out.",
    )


def _build_application(
    config: EncoderConfig, shape: tuple[int, int, int]
) -> tuple[keras.Model, str]:
    modules = application_modules()
    name = {name.lower(): name for name in modules}.get(config.name.lower())
    check_one_of(
        name or config.name,
        [*resnet.BLOCKS, *vit.SIZES, *modules],
        "the name of an encoder",
    )
    try:
        with warnings.catch_warnings():
            # Of other than 1 or 3 channels, which are meant.
            warnings.filterwarnings("ignore", "This model usually expects 1 or 3")
            network = getattr(keras.applications, name)(
                include_top=False,
                weights="imagenet" if config.weights == "imagenet" else None,
                input_shape=shape,
                pooling="avg",
            )
    except ValueError as error:
        said = f"Keras says: {error}"
        raise InputError(f"an image_size that {name} takes", shape[0], said) from error
    except Exception as error:
        # Keras raises a bare Exception when a download fails, and none other here.
        raise InputError(
            f"ImageNet weights of {name} from the network",
            str(error),
            "Fetch them where there is a network, and name the file: "
            f"selfsup_tf.open_teacher('imagenet:{name}').network.save('a.keras') makes "
            "one that is named a.keras; a file of weights alone is "
            "--encoder.weights=FILE",
        ) from error
    for layer in leaf_layers(network):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = BATCH_NORM_MOMENTUM
        elif isinstance(layer, keras.layers.Dropout):
            layer.rate = DROP_RATE
    return network, modules[name]


def _load_weights(network: keras.Model, path: str) -> None:
    file = pathlib.Path(path).expanduser()
    check(
        file.is_file(),
        'encoder.weights to be "imagenet" or a file',
        repr(path),
        "Check the path.",
    )
    try:
        network.load_weights(file)
    except (ValueError, OSError) as error:
        said = f"Keras says: {error}"
        raise InputError(
            f"weights that fit {network.name}", repr(path), said
        ) from error
