"""Imports the networks of google-research/simclr from checkpoints of TensorFlow 2.

Reference: google-research/simclr, tf2/resnet.py, tf2/model.py and tf2/run.py (names of
attributes, order of the layers in each list); Chen et al. 2020, "A simple framework
for contrastive learning" (v1) and "Big self-supervised models are strong
semi-supervised learners" (v2).
"""

import dataclasses
import pathlib
from collections.abc import Iterator

import keras

from selfsup_tf.config import EncoderConfig
from selfsup_tf.errors import check
from selfsup_tf.models.copies import leaf_layers
from selfsup_tf.models.encoders import build_encoder
from selfsup_tf.models.heads import build_head
from selfsup_tf.models.resnet import BASIC, BLOCKS
from simclr_tf.object_checkpoints import ObjectCheckpoint, some

IMAGE_SIZE = {"imagenet": 224, "small": 32}
"""Height and width that a stem is meant for, in pixels."""

RESNET = "resnet_model"
STEM = f"{RESNET}/initial_conv_relu_max_pool"
GROUPS = f"{RESNET}/block_groups"
HEAD = "_projection_head"
LINEAR_LAYERS = f"{HEAD}/linear_layers"

# Our layers, each with its path within a list of the checkpoint's layers. The numbers
# count what has no variables as well: DropBlock, IdentityLayer, FixedPadding, pooling.
PLAIN_STEM = {"stem_conv": "0/conv2d", "stem_norm": "2/bn"}
RESNET_D_STEM = {
    "stem_conv1": "0/conv2d",
    "stem_conv1_norm": "1/bn",
    "stem_conv2": "2/conv2d",
    "stem_conv2_norm": "3/bn",
    "stem_conv": "4/conv2d",
    "stem_norm": "6/bn",
}
BOTTLENECK = {
    "conv1": "0/conv2d",
    "1_norm": "1/bn",
    "conv2": "3/conv2d",
    "2_norm": "4/bn",
    "conv3": "6/conv2d",
    "3_norm": "7/bn",
    "se_reduce": "9/se_reduce",
    "se_expand": "9/se_expand",
}
SELECTIVE_BOTTLENECK = {
    "conv1": "0/conv2d",
    "1_norm": "1/bn",
    "sk_conv": "3/conv2d_fixed_padding/conv2d",
    "sk_norm": "3/batch_norm_relu/bn",
    "sk_squeeze": "3/conv2d_0",
    "sk_squeeze_norm": "3/batch_norm_relu_1/bn",
    "sk_mix": "3/conv2d_1",
    "conv3": "5/conv2d",
    "3_norm": "6/bn",
    "se_reduce": "8/se_reduce",
    "se_expand": "8/se_expand",
}


@dataclasses.dataclass(frozen=True)
class Imported:
    """The networks that were imported from a checkpoint.

    Attributes:
        encoder: f, from images float32 in [0, 1], (N, S, S, 3), to representations
            (N, D), as `build_encoder` makes it.
        projector: g, from representations (N, D) to projections (N, P); None where the
            checkpoint has none, or none was asked for.
        encoder_config: What the encoder is.
        unused: Names of the checkpoint's other variables: of its optimizer, its
            counters, its supervised head.
    """

    encoder: keras.Model
    projector: keras.Model | None
    encoder_config: EncoderConfig
    unused: tuple[str, ...]


def import_simclr(
    path: str | pathlib.Path,
    *,
    encoder_config: EncoderConfig | None = None,
    image_size: int | None = None,
    projector: bool = True,
) -> Imported:
    """Imports encoder and projector from a checkpoint of google-research/simclr.

    Args:
        path: A directory of a SavedModel, or of a training run (its latest checkpoint
            is taken), or the prefix of a checkpoint, such as RUN/ckpt-1000.
        encoder_config: What the encoder has to be; read off the checkpoint where it is
            left out.
        image_size: Height and width of the images, in pixels; 224, or 32 for the stem
            for small images, where it is left out. The weights fit any size.
        projector: Whether to take the projector too, where there is one.

    Raises:
        InputError: It is no such checkpoint; its variables are not those of the
            network, both sides being listed; or some of its weights are not finite.
    """
    checkpoint = ObjectCheckpoint(path)
    found = _read_config(checkpoint)
    config = found if encoder_config is None else encoder_config
    _check_config(config)
    if image_size is None:
        image_size = IMAGE_SIZE[config.stem]
    encoder = build_encoder(config, image_size)
    head = None
    if projector and checkpoint.below(HEAD):
        head = _build_projector(checkpoint, encoder.output_shape[-1])
    variables = _variables(encoder, dict(_encoder_layers(config)))
    if head is not None:
        variables |= _variables(head, _projector_layers(checkpoint))
    guess = "" if config == found else f"It seems to be {_describe(found)}. "
    unused = checkpoint.load(
        variables,
        _needless(checkpoint, projector=projector),
        network=_describe(config),
        advice=f"{guess}Where only {HEAD} differs, leave it out: projector=False",
    )
    return Imported(encoder, head, config, unused)


def _read_config(checkpoint: ObjectCheckpoint) -> EncoderConfig:
    """Reads the encoder's config off the names and shapes of its variables.

    The ratios of selective kernels and of squeeze-and-excitation are not stored; these
    are ratios that give the channels of the last stage, and so the same network.

    Raises:
        InputError: It is none of our networks.
    """
    check(
        checkpoint.has(GROUPS),
        f"a network of google-research/simclr, with an object {GROUPS}",
        f"{checkpoint.prefix}, whose variables are named "
        + some(sorted(checkpoint.specs)),
        "Names or numbers of other forms can't be mapped without guessing. Take a "
        "checkpoint or a SavedModel that tf2/run.py wrote, as are those in "
        "gs://simclr-checkpoints-tf2.",
    )
    blocks = tuple(
        checkpoint.length(f"{GROUPS}/{group}/layers")
        for group in range(checkpoint.length(GROUPS))
    )
    check(
        not checkpoint.has(f"{GROUPS}/0/layers/0/conv2d_bn_layers"),
        "a network of bottleneck blocks: resnet50, 101, 152 or 200",
        f"{checkpoint.prefix}, a ResNet-18 or 34 with blocks {blocks}",
        "Its first block has a projection in its shortcut, which our resnet18 and 34 "
        "lack, so that some weights would have no place.",
    )
    names = [name for name in BLOCKS if BLOCKS[name] == blocks and name not in BASIC]
    check(
        len(names) == 1,
        "the blocks of resnet50, 101, 152 or 200",
        f"{checkpoint.prefix} with {blocks}",
        "It is no network of google-research/simclr.",
    )
    first, last = (f"{GROUPS}/{g}/layers/0/conv_relu_dropblock_layers" for g in (0, 3))
    filters = checkpoint.shape(f"{first}/0/conv2d/kernel")[-1]
    parts = BOTTLENECK
    if checkpoint.has(f"{last}/{SELECTIVE_BOTTLENECK['sk_squeeze']}"):
        parts = SELECTIVE_BOTTLENECK

    def ratio(layer):
        if layer not in parts or not checkpoint.has(f"{last}/{parts[layer]}"):
            return 0.0
        inner = checkpoint.shape(f"{last}/{parts[layer]}/kernel")[-1]
        exact = inner / (8 * filters)
        # The channels are rounded down, which may hit the quotient's own rounding.
        rounded = int(8 * filters * exact) == inner
        return exact if rounded else (inner + 0.5) / (8 * filters)

    large = checkpoint.shape(f"{STEM}/0/conv2d/kernel")[0] == 7
    deep = checkpoint.has(f"{STEM}/{RESNET_D_STEM['stem_conv']}")
    return EncoderConfig(
        name=names[0],
        width=filters / 64,
        stem="imagenet" if large or deep else "small",
        sk_ratio=ratio("sk_squeeze"),
        se_ratio=ratio("se_reduce"),
    )


def _check_config(config: EncoderConfig) -> None:
    check(
        config.name in BLOCKS and config.name not in BASIC,
        "encoder_config of resnet50, 101, 152 or 200",
        config.name,
        "The others have no counterpart in google-research/simclr.",
    )
    check(
        config.stem in IMAGE_SIZE,
        f"encoder_config with the stem {' or '.join(IMAGE_SIZE)}",
        config.stem,
        "Weights of the stem small have its shapes, but not its stride.",
    )
    plain = EncoderConfig()
    check(
        (config.mean, config.std, config.weights)
        == (plain.mean, plain.std, plain.weights),
        "encoder_config without mean, std and weights",
        f"mean={config.mean}, std={config.std}, weights={config.weights}",
        "These networks take images in [0, 1] as they are.",
    )


def _encoder_layers(config: EncoderConfig) -> Iterator[tuple[str, str]]:
    """The layers of our ResNet, each with its path in a checkpoint."""
    selective = config.sk_ratio > 0
    deep = selective and config.stem == "imagenet"
    for layer, path in (RESNET_D_STEM if deep else PLAIN_STEM).items():
        yield layer, f"{STEM}/{path}"
    parts = SELECTIVE_BOTTLENECK if selective else BOTTLENECK
    for stage, blocks in enumerate(BLOCKS[config.name]):
        # ResNet-D pools before it projects, and pads before it pools with a stride.
        conv = 0 if not selective else 1 if stage == 0 else 2
        for block in range(blocks):
            ours = f"stage{stage + 1}_block{block + 1}"
            theirs = f"{GROUPS}/{stage}/layers/{block}"
            for layer, path in parts.items():
                yield f"{ours}_{layer}", f"{theirs}/conv_relu_dropblock_layers/{path}"
            shortcut = f"{theirs}/projection_layers"
            yield f"{ours}_shortcut_conv", f"{shortcut}/{conv}/conv2d"
            yield f"{ours}_shortcut_norm", f"{shortcut}/{conv + 1}/bn"


def _build_projector(checkpoint: ObjectCheckpoint, input_size: int) -> keras.Model:
    """Builds a projector of the same sizes as the checkpoint's."""
    return build_head(
        input_size,
        [
            checkpoint.shape(f"{LINEAR_LAYERS}/{index}/dense/kernel")[-1]
            for index in range(checkpoint.length(LINEAR_LAYERS))
        ],
        name="projector",
        norm="all",
        hidden_bias=False,
        output_bias=False,
        initializer=keras.initializers.RandomNormal(stddev=0.01),
    )


def _projector_layers(checkpoint: ObjectCheckpoint) -> dict[str, str]:
    """The layers of our projector, each with its path in a checkpoint."""
    layers = {}
    for index in range(checkpoint.length(LINEAR_LAYERS)):
        layers[f"dense{index + 1}"] = f"{LINEAR_LAYERS}/{index}/dense"
        layers[f"norm{index + 1}"] = f"{LINEAR_LAYERS}/{index}/bn_relu/bn"
    return layers


def _variables(
    network: keras.Model, layers: dict[str, str]
) -> dict[str, keras.Variable]:
    """The variables of a network by their paths; in a layer both sides name them alike.

    Raises:
        KeyError: A layer with variables is not among the layers.
    """
    return {
        f"{layers[layer.name]}/{variable.name}": variable
        for layer in leaf_layers(network)
        for variable in layer.variables
    }


def _needless(checkpoint: ObjectCheckpoint, *, projector: bool) -> set[str]:
    """Keys of the variables that no encoder and no projector needs."""
    network = checkpoint.below(RESNET)
    head = checkpoint.below(HEAD)
    others = ("supervised_head", "/optimizer", "/global_step", "/save_counter")
    needless = checkpoint.slots.union(*map(checkpoint.below, others))
    # An optimizer may lead to the network's own variables.
    return needless - network - head if projector else (needless | head) - network


def _describe(config: EncoderConfig) -> str:
    return (
        f"{config.name} with width={config.width:g}, stem={config.stem}, "
        f"sk_ratio={config.sk_ratio:g}, se_ratio={config.se_ratio:g}"
    )
