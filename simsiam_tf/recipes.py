"""Recipes of SimSiam: each returns a config, and is a document that can be run.

Every function takes the fields to override: `cifar10(epochs=100, seed=1)`. Fields left
out have the defaults of SimSiamConfig. A value has its reason or its source beside it;
"ours" marks what no source gives, "unverified" what could not be read in one.

docs/generate_recipes.py makes a table of these functions: the first line of a docstring
is its summary, the lines below it are read by their keys.

Reference: Chen and He 2021, "Exploring simple Siamese representation learning", "the
paper" below.
"""

import dataclasses

from selfsup_tf.config import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    EncoderConfig,
    OptimizerConfig,
)
from selfsup_tf.config.recipe_parts import (
    CIFAR10_MEAN,
    CIFAR10_STD,
    CPU_SGD,
    LIGHTLY_RESNET18,
    MOCO_VIEW,
    ON_CIFAR10,
    ON_FOLDER,
    ON_IMAGENET,
    ON_SHAPES,
    SMALL_IMAGES,
    SOLO_CIFAR10,
)
from simsiam_tf.config import SimSiamConfig

IMAGENET_VIEW = MOCO_VIEW  # appendix A, in PyTorch's words; the blur's .5 unverified
TORCHVISION_SMALL = dataclasses.replace(
    SMALL_IMAGES, antialias=True, interpolation="bilinear"
)

CPU_OPTIMIZER = dataclasses.replace(CPU_SGD, learning_rate=0.6)
"""Ours: after two epochs of cifar10_cpu level with 1.2 and ahead of .12."""


def shapes(**overrides) -> SimSiamConfig:
    """Built-in shapes, narrow ResNet-18, 2 CPU cores in minutes.

    Reproduces: nothing published; ours, to try the whole way in minutes
    Command: python train.py simsiam shapes
    Published: nothing
    Hardware: 2 CPU cores
    Measured: 24.25 % k-NN (k 20), 15.85 % untrained, on 2 cores of an AMD EPYC
    """
    config = SimSiamConfig(
        **ON_SHAPES,
        optimizer=CPU_OPTIMIZER,
        batch_size=64,  # 3 points of k-NN ahead of 128; 1.2 for 30 epochs is no better
        projector=(512, 512),
        predictor=(128, 512),  # a quarter, as in the paper
    )
    return dataclasses.replace(config, **overrides)


def cifar10_cpu(**overrides) -> SimSiamConfig:
    """CIFAR-10, narrow ResNet-18, under 20 minutes on 2 CPU cores.

    Reproduces: nothing published; ours, to learn from photographs on a laptop
    Command: python train.py simsiam cifar10_cpu
    Published: nothing
    Hardware: 2 CPU cores
    Measured: 39.50 % k-NN and 45.51 % linear, 25.55 % k-NN untrained, after
        4.8 epochs, ten minutes of processor time: docs/measured.md
    """
    config = SimSiamConfig(
        **ON_CIFAR10,
        optimizer=CPU_OPTIMIZER,
        batch_size=128,  # without negatives, more updates help more than larger ones
        epochs=8,
        projector=(512, 512),  # the paper has two layers for CIFAR-10
        predictor=(128, 512),
    )
    return dataclasses.replace(config, **overrides)


def cifar10(**overrides) -> SimSiamConfig:
    """CIFAR-10 by the authors: ResNet-18, batch 512, 800 epochs.

    Reproduces: the paper, appendix D
    Command: python train.py simsiam cifar10
    Published: 91.8 % linear top-1 (figure D.1)
    Hardware: not stated in the source
    Measured: not yet measured
    """
    config = SimSiamConfig(
        data="cifar10",
        held_out=0,  # the published number learns from all 50,000
        image_size=32,
        views=(dataclasses.replace(IMAGENET_VIEW, blur=0.0),) * 2,
        encoder=EncoderConfig(
            name="resnet18",
            stem="small",  # "the CIFAR variant of ResNet-18"
            mean=CIFAR10_MEAN,  # unverified
            std=CIFAR10_STD,
        ),
        optimizer=OptimizerConfig(
            name="sgd",
            learning_rate=0.03,
            momentum=0.9,
            weight_decay=5e-4,
            warmup_epochs=0.0,
        ),
        batch_size=512,
        epochs=800,
        projector=(2048, 2048),  # two layers
        fixed_predictor_rate=False,  # unverified
        knn_epochs=10,  # with --held_out=1000
        checkpoint_epochs=10,  # every few minutes
    )
    return dataclasses.replace(config, **overrides)


def cifar10_solo(**overrides) -> SimSiamConfig:
    """CIFAR-10 as in solo-learn: ResNet-18, batch 256, 1000 epochs.

    Reproduces: vturrisi/solo-learn, scripts/pretrain/cifar/simsiam.yaml
    Command: python train.py simsiam cifar10_solo
    Published: 90.51 % linear top-1, by a classifier trained beside (its README)
    Hardware: one GPU in float16 (simsiam.yaml); model and time not stated in the source
    Measured: not yet measured
    """
    view = dataclasses.replace(  # augmentations/symmetric_weak.yaml
        SMALL_IMAGES,
        antialias=True,  # Pillow low-passes what it shrinks
        blur=0.5,
        blur_size=0.4,  # 13 taps: Pillow's blur is not cut off at 3
    )
    config = SimSiamConfig(
        **SOLO_CIFAR10,
        views=(view,) * 2,
        optimizer=OptimizerConfig(
            name="sgd",
            learning_rate=0.5,  # simsiam.yaml, times batch/256 in solo/args/pretrain.py
            momentum=0.9,
            weight_decay=1e-5,  # theirs is on biases and norms too
            warmup_epochs=10.0,
        ),
    )
    return dataclasses.replace(config, **overrides)


def cifar10_lightly(**overrides) -> SimSiamConfig:
    """CIFAR-10 as in lightly: ResNet-18, SGD, batch 512, 800 epochs.

    Reproduces: lightly-ai/lightly, docs, cifar10_benchmark.py
    Command: python train.py simsiam cifar10_lightly
    Published: 90.6 % k-NN (k 200, T .1, best epoch), 81.4 % after 200 epochs
        (cifar10_benchmark.py of February 2022)
    Hardware: one NVIDIA RTX A6000, 636 min
    Measured: not yet measured
    """
    config = SimSiamConfig(
        data="cifar10",
        held_out=0,  # the published number learns from all 50,000
        image_size=32,
        views=(TORCHVISION_SMALL,) * 2,
        encoder=LIGHTLY_RESNET18,
        optimizer=OptimizerConfig(
            name="sgd",
            learning_rate=0.06,
            scaling="none",  # whatever the batch
            momentum=0.9,
            weight_decay=5e-4,  # theirs is on biases and norms too
            warmup_epochs=0.0,
        ),
        batch_size=512,
        epochs=800,
        projector=(2048, 2048),
        projector_norm="full",
        fixed_predictor_rate=False,
        knn_epochs=10,  # with --held_out=1000
        checkpoint_epochs=10,  # every few minutes
    )
    return dataclasses.replace(config, **overrides)


def folder_cpu(**overrides) -> SimSiamConfig:
    """A folder of photographs at 96 px, narrow ResNet-18, 2 CPU cores.

    Reproduces: nothing published; ours, for your own images on a laptop
    Command: python train.py simsiam folder_cpu --data=~/photos
    Published: nothing
    Hardware: 2 CPU cores
    Measured: 35.50 % k-NN (k 20) and 42.50 % linear, 23.50 and 30.10 % untrained,
        on 3,000 photographs of Imagenette, 2 cores of an AMD EPYC
    """
    config = SimSiamConfig(
        **ON_FOLDER,
        views=(IMAGENET_VIEW,) * 2,
        optimizer=CPU_OPTIMIZER,
        projector=(512, 512),
        predictor=(128, 512),
    )
    return dataclasses.replace(config, **overrides)


def folder(**overrides) -> SimSiamConfig:
    """A folder of photographs at 224 px, ResNet-50, batch 256, one GPU.

    Reproduces: nothing published; ours, with the constants of ImageNet; the paper finds
        batches of 256 to 2048 much alike
    Command: python train.py simsiam folder --data=~/photos
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


def imagenet(**overrides) -> SimSiamConfig:
    """ImageNet: ResNet-50, batch 512, 100 epochs.

    Reproduces: the paper, section 3 and table 1 (c)
    Command: python train.py simsiam imagenet --data_dir=/data/tfds
    Published: 68.1 % linear top-1 (table 2); with a batch of 256 by
        `--batch_size=256 --epochs=200` 70.0 %, `--batch_size=256 --epochs=800` 71.3 %
        (table 4)
    Hardware: 8 GPUs (section 3); how long not stated in the source
    Measured: not yet measured
    """
    config = SimSiamConfig(
        **ON_IMAGENET,
        views=(IMAGENET_VIEW,) * 2,
        encoder=EncoderConfig(
            name="resnet50",
            zero_init=True,  # appendix A
            mean=IMAGENET_MEAN,  # unverified
            std=IMAGENET_STD,
        ),
        optimizer=OptimizerConfig(
            name="sgd",
            learning_rate=0.05,
            momentum=0.9,
            weight_decay=1e-4,
            warmup_epochs=0.0,
        ),
        batch_size=512,
        epochs=100,
    )
    return dataclasses.replace(config, **overrides)
