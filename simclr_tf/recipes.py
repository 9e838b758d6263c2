"""Recipes of SimCLR: each returns a config and says what it is for.

Every function takes the fields to override: `cifar10(epochs=100, seed=1)`. Fields left
out here have the defaults of SimCLRConfig, which are the reference's for ImageNet.
"""

import dataclasses

from selfsup_tf.config import EncoderConfig, OptimizerConfig, ViewConfig
from simclr_tf.config import SimCLRConfig

SMALL_IMAGES = ViewConfig(
    brightness=0.4,  # strength .5 of 1, the reference's for CIFAR-10
    contrast=0.4,
    saturation=0.4,
    hue=0.1,
    blur=0.0,  # 32 px are blurred enough
)

# Whatever two views of a shape share beside the shape is a way to cheat, so colour,
# contrast, texture and pose are all disturbed.
DRAWN_SHAPES = ViewConfig(
    crop_area=(0.4, 1.0),
    jitter=0.9,
    hue=0.5,
    grayscale=0.4,
    blur=0.5,
    blur_sigma=(0.3, 1.5),
    blur_size=0.25,
    solarize=0.3,
    rotation=30.0,
)

NARROW = EncoderConfig(name="resnet18", width=0.25, stem="small_stride2")

CPU_SGD = OptimizerConfig(
    name="sgd",  # LARS pays at large batches only
    learning_rate=0.12,
    momentum=0.9,
    weight_decay=5e-4,
    warmup_epochs=0.5,
)


def shapes(**overrides) -> SimCLRConfig:
    """Built-in shapes, narrow ResNet-18, 2 CPU cores in minutes: the demo."""
    config = SimCLRConfig(
        data="shapes",
        image_size=32,
        view_1=DRAWN_SHAPES,
        view_2=DRAWN_SHAPES,
        encoder=NARROW,
        optimizer=CPU_SGD,
        batch_size=256,
        epochs=18,
        temperature=0.2,
        projector=(256, 128),
        held_out=500,
        knn_epochs=5,
        checkpoint_epochs=5,
    )
    return dataclasses.replace(config, **overrides)


def cifar10_cpu(**overrides) -> SimCLRConfig:
    """CIFAR-10, narrow ResNet-18, under 20 minutes on 2 CPU cores."""
    config = SimCLRConfig(
        data="cifar10",
        image_size=32,
        view_1=SMALL_IMAGES,
        view_2=SMALL_IMAGES,
        encoder=NARROW,
        optimizer=CPU_SGD,
        batch_size=256,
        epochs=10,
        temperature=0.2,
        projector=(256, 128),
        knn_epochs=2,
    )
    return dataclasses.replace(config, **overrides)


def cifar10(**overrides) -> SimCLRConfig:
    """CIFAR-10 as in the reference: ResNet-18, batch 512, 1000 epochs, one GPU.

    Published: about 91 % linear (google-research/simclr, README). Not yet measured
    here.
    """
    config = SimCLRConfig(
        data="cifar10",
        held_out=0,  # the published number learns from all 50,000
        image_size=32,
        view_1=SMALL_IMAGES,
        view_2=SMALL_IMAGES,
        encoder=EncoderConfig(name="resnet18", stem="small"),
        optimizer=OptimizerConfig(learning_rate=1.0, weight_decay=1e-4),
        batch_size=512,
        epochs=1000,
        temperature=0.5,
        projector=(512, 512, 128),  # as wide as the representation
        knn_epochs=10,
        checkpoint_epochs=10,
    )
    return dataclasses.replace(config, **overrides)


def folder_cpu(**overrides) -> SimCLRConfig:
    """A folder of photographs at 96 px, narrow ResNet-18, 2 CPU cores."""
    config = SimCLRConfig(
        data="",  # --data=FOLDER
        image_size=96,
        encoder=EncoderConfig(name="resnet18", width=0.25),
        optimizer=CPU_SGD,
        batch_size=128,
        epochs=20,
        temperature=0.2,
        projector=(256, 128),
        knn_epochs=5,
        checkpoint_epochs=5,
    )
    return dataclasses.replace(config, **overrides)


def folder(**overrides) -> SimCLRConfig:
    """A folder of photographs at 224 px, ResNet-50, one GPU."""
    config = SimCLRConfig(
        data="",  # --data=FOLDER
        image_size=224,
        optimizer=OptimizerConfig(
            learning_rate=1.2,  # .075 sqrt(batch)
            scaling="sqrt",  # the authors' advice for batches below 4096
        ),
        batch_size=256,
        epochs=200,
        temperature=0.2,  # the authors' later advice (their issue 166)
        precision="mixed_bfloat16",
        knn_epochs=10,
        checkpoint_epochs=5,
    )
    return dataclasses.replace(config, **overrides)


def imagenet(**overrides) -> SimCLRConfig:
    """ImageNet as in the reference: ResNet-50, batch 4096, 100 epochs, many devices.

    Published: about 64.5 % linear after 100 epochs (google-research/simclr, README).
    Not yet measured here.
    """
    config = SimCLRConfig(
        data="imagenet2012",
        held_out=0,
        optimizer=OptimizerConfig(weight_decay=1e-4),
        precision="mixed_bfloat16",
        knn_epochs=10,
    )
    return dataclasses.replace(config, **overrides)
