"""Recipes of VICReg: each returns a config, and is a document that can be run.

Every function takes the fields to override: `cifar10(epochs=100, seed=1)`. Fields left
out have the defaults of VICRegConfig. A value has its reason or its source
beside it; "ours" marks what no source gives, "unverified" what could not be read in
one.

docs/generate_recipes.py makes a table of these functions: the first line of a docstring
is its summary, the lines below it are read by their keys.

Reference: Bardes et al. 2022, "VICReg: variance-invariance-covariance regularization
for self-supervised learning", "the paper" below.
"""

import dataclasses

from selfsup_tf.config import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    EncoderConfig,
    OptimizerConfig,
)
from selfsup_tf.config.recipe_parts import (
    CPU_SGD,
    ON_CIFAR10,
    ON_FOLDER,
    ON_IMAGENET,
    ON_SHAPES,
    SOLO_CIFAR10,
    SOLO_LARS,
    SOLO_VIEW,
    TORCHVISION_VIEW,
)
from vicreg_tf.config import VICRegConfig

VIEW = dataclasses.replace(TORCHVISION_VIEW, blur=0.5, solarize=0.1)
"""The paper, appendix C.1: both views alike."""

# Ours: a quarter of what losses of cosines take, as the weights of the terms are 25.
CPU_OPTIMIZER = dataclasses.replace(CPU_SGD, learning_rate=0.03)


def shapes(**overrides) -> VICRegConfig:
    """Built-in shapes, narrow ResNet-18, 2 CPU cores in minutes.

    Reproduces: nothing published; ours, to try the whole way in minutes
    Command: python train.py vicreg shapes
    Published: nothing
    Hardware: 2 CPU cores
    Measured: 61.35 % k-NN (k 20), 15.85 % untrained, on 2 cores of an AMD EPYC
    """
    config = VICRegConfig(
        **ON_SHAPES,
        optimizer=CPU_OPTIMIZER,
        batch_size=256,
        projector=(512, 512, 512),
    )
    return dataclasses.replace(config, **overrides)


def cifar10_cpu(**overrides) -> VICRegConfig:
    """CIFAR-10, narrow ResNet-18, under 20 minutes on 2 CPU cores.

    Reproduces: nothing published; ours, to learn from photographs on a laptop
    Command: python train.py vicreg cifar10_cpu
    Published: nothing
    Hardware: 2 CPU cores
    Measured: 47.58 % k-NN and 50.35 % linear, 25.55 % k-NN untrained, after
        5.1 epochs, ten minutes of processor time: docs/measured.md
    """
    config = VICRegConfig(
        **ON_CIFAR10,
        optimizer=CPU_OPTIMIZER,
        batch_size=256,
        epochs=10,
        projector=(512, 512, 512),
    )
    return dataclasses.replace(config, **overrides)


def cifar10(**overrides) -> VICRegConfig:
    """CIFAR-10 as in solo-learn: ResNet-18, batch 256, 1000 epochs.

    Reproduces: vturrisi/solo-learn, scripts/pretrain/cifar/vicreg.yaml
    Command: python train.py vicreg cifar10
    Published: 92.07 % linear top-1, by a classifier trained beside (its README)
    Hardware: one GPU in float16 (vicreg.yaml); model and time not stated in the source
    Measured: not yet measured
    """
    view = dataclasses.replace(SOLO_VIEW, crop_area=(0.2, 1.0), solarize=0.1)
    config = VICRegConfig(
        **SOLO_CIFAR10,
        views=(view,) * 2,
        optimizer=SOLO_LARS,  # vicreg.yaml: .3, decay 1e-4
        projector=(2048, 2048, 2048),
    )
    return dataclasses.replace(config, **overrides)


def folder_cpu(**overrides) -> VICRegConfig:
    """A folder of photographs at 96 px, narrow ResNet-18, 2 CPU cores.

    Reproduces: nothing published; ours, for your own images on a laptop
    Command: python train.py vicreg folder_cpu --data=~/photos
    Published: nothing
    Hardware: 2 CPU cores
    Measured: 37.30 % k-NN (k 20) and 41.20 % linear, 23.50 and 30.10 % untrained,
        on 3,000 photographs of Imagenette with `--epochs=8`, 2 cores of an AMD EPYC
    """
    config = VICRegConfig(
        **ON_FOLDER,
        views=(VIEW,) * 2,
        optimizer=CPU_OPTIMIZER,
        projector=(512, 512, 512),
    )
    return dataclasses.replace(config, **overrides)


def folder(**overrides) -> VICRegConfig:
    """A folder of photographs at 224 px, ResNet-50, batch 256, one GPU.

    Reproduces: nothing published; ours, with the constants of ImageNet, unverified at a
        batch of 256
    Command: python train.py vicreg folder --data=~/photos
    Published: nothing
    Hardware: one GPU
    Measured: not yet measured
    """
    config = dataclasses.replace(
        imagenet(),
        data="",  # --data=FOLDER
        held_out=1000,
        batch_size=256,
        epochs=200,
        knn_epochs=10,
        checkpoint_epochs=5,
    )
    return dataclasses.replace(config, **overrides)


def imagenet(**overrides) -> VICRegConfig:
    """ImageNet: ResNet-50, batch 2048, 1000 epochs.

    Reproduces: the paper, section 4.2
    Command: python train.py vicreg imagenet --data_dir=/data/tfds
    Published: 73.2 % linear top-1 (the paper, table 1)
    Hardware: 32 V100, about 11 h for 100 epochs (unverified)
    Measured: not yet measured
    """
    config = VICRegConfig(
        **ON_IMAGENET,
        views=(VIEW,) * 2,
        encoder=EncoderConfig(
            name="resnet50",
            zero_init=True,  # unverified
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
        ),
        optimizer=OptimizerConfig(
            learning_rate=0.2,  # times batch/256
            warmup_epochs=10.0,
            weight_decay=1e-6,
            lars_form="popular",  # unverified
        ),
        batch_size=2048,
        epochs=1000,
    )
    return dataclasses.replace(config, **overrides)
