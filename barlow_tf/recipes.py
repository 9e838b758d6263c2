"""Recipes of Barlow Twins: each returns a config, and is a document that can be run.

Every function takes the fields to override: `cifar10(epochs=100, seed=1)`. Fields left
out have the defaults of BarlowTwinsConfig. A value has its reason or its source
beside it; "ours" marks what no source gives, "unverified" what could not be read in
one.

docs/generate_recipes.py makes a table of these functions: the first line of a docstring
is its summary, the lines below it are read by their keys.

Reference: Zbontar et al. 2021, "Barlow Twins: self-supervised learning via redundancy
reduction", "the paper" below; its code is facebookresearch/barlowtwins (MIT).
"""

import dataclasses

from barlow_tf.config import BarlowTwinsConfig
from selfsup_tf.config import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    EncoderConfig,
    OptimizerConfig,
)
from selfsup_tf.config.recipe_parts import (
    CPU_SGD,
    LIGHTLY_CIFAR10,
    ON_CIFAR10,
    ON_FOLDER,
    ON_IMAGENET,
    ON_SHAPES,
    SMALL_IMAGES,
    SOLO_CIFAR10,
    SOLO_LARS,
    SOLO_VIEW,
    TORCHVISION_VIEW,
)

VIEW_1 = TORCHVISION_VIEW  # the paper, section 2.2: those of BYOL
VIEW_2 = dataclasses.replace(VIEW_1, blur=0.1, solarize=0.2)

CPU_OPTIMIZER = dataclasses.replace(CPU_SGD, learning_rate=0.003)
"""Ours: a loss that is a sum over 512 features wants a lower rate; .03 is as good on
CIFAR-10 within a point and 8 points worse on shapes.
"""


def shapes(**overrides) -> BarlowTwinsConfig:
    """Built-in shapes, narrow ResNet-18, 2 CPU cores in minutes.

    Reproduces: nothing published; ours, to try the whole way in minutes
    Command: python train.py barlow shapes
    Published: nothing
    Hardware: 2 CPU cores
    Measured: 34.30 % k-NN (k 20), 15.85 % untrained, on 2 cores of an AMD EPYC
    """
    config = BarlowTwinsConfig(
        **ON_SHAPES,
        optimizer=CPU_OPTIMIZER,
        batch_size=128,
        projector=(512, 512, 512),
    )
    return dataclasses.replace(config, **overrides)


def cifar10_cpu(**overrides) -> BarlowTwinsConfig:
    """CIFAR-10, narrow ResNet-18, under 20 minutes on 2 CPU cores.

    Reproduces: nothing published; ours, to learn from photographs on a laptop
    Command: python train.py barlow cifar10_cpu
    Published: nothing
    Hardware: 2 CPU cores
    Measured: 40.83 % k-NN and 46.24 % linear, 25.55 % k-NN untrained, after
        4.8 epochs, ten minutes of processor time: docs/measured.md
    """
    config = BarlowTwinsConfig(
        **ON_CIFAR10,
        optimizer=CPU_OPTIMIZER,
        batch_size=128,
        epochs=10,
        projector=(512, 512, 512),
    )
    return dataclasses.replace(config, **overrides)


def cifar10(**overrides) -> BarlowTwinsConfig:
    """CIFAR-10 as in solo-learn: ResNet-18, batch 256, 1000 epochs.

    Reproduces: vturrisi/solo-learn, scripts/pretrain/cifar/barlow.yaml
    Command: python train.py barlow cifar10
    Published: 92.10 % linear top-1, by a classifier trained beside (its README)
    Hardware: one GPU in float16 (barlow.yaml); model and time not stated in the source
    Measured: not yet measured
    """
    config = BarlowTwinsConfig(
        **SOLO_CIFAR10,
        views=(SOLO_VIEW, dataclasses.replace(SOLO_VIEW, solarize=0.2)),
        optimizer=SOLO_LARS,  # barlow.yaml: .3, decay 1e-4
        projector=(2048, 2048, 2048),
        loss_scale=0.1,
    )
    return dataclasses.replace(config, **overrides)


def cifar10_lightly(**overrides) -> BarlowTwinsConfig:
    """CIFAR-10 as in lightly: ResNet-18, SGD, batch 128, 200 epochs.

    Reproduces: lightly-ai/lightly, docs, cifar10_benchmark.py
    Command: python train.py barlow cifar10_lightly
    Published: 83.5 % k-NN (k 200, T .1, best epoch); 85.7 % by
        `--batch_size=512 --epochs=800` (cifar10_benchmark.py of February 2022)
    Hardware: one NVIDIA RTX A6000, 193 min (642 min for 800 epochs)
    Measured: not yet measured
    """
    view = dataclasses.replace(SMALL_IMAGES, antialias=True, interpolation="bilinear")
    config = BarlowTwinsConfig(
        **LIGHTLY_CIFAR10,
        views=(view,) * 2,
        projector=(2048, 2048),
        off_diagonal=5e-3,  # lightly/loss/barlow_twins_loss.py
    )
    return dataclasses.replace(config, **overrides)


def folder_cpu(**overrides) -> BarlowTwinsConfig:
    """A folder of photographs at 96 px, narrow ResNet-18, 2 CPU cores.

    Reproduces: nothing published; ours, for your own images on a laptop
    Command: python train.py barlow folder_cpu --data=~/photos
    Published: nothing
    Hardware: 2 CPU cores
    Measured: 35.60 % k-NN (k 20) and 45.10 % linear, 23.50 and 30.10 % untrained,
        on 3,000 photographs of Imagenette, 2 cores of an AMD EPYC
    """
    config = BarlowTwinsConfig(
        **ON_FOLDER,
        views=(VIEW_1, VIEW_2),
        optimizer=CPU_OPTIMIZER,
        projector=(512, 512, 512),
    )
    return dataclasses.replace(config, **overrides)


def folder(**overrides) -> BarlowTwinsConfig:
    """A folder of photographs at 224 px, ResNet-50, batch 256, one GPU.

    Reproduces: nothing published; ours, with the constants of ImageNet, unverified at a
        batch of 256
    Command: python train.py barlow folder --data=~/photos
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


def imagenet(**overrides) -> BarlowTwinsConfig:
    """ImageNet: ResNet-50, batch 2048, 1000 epochs.

    Reproduces: facebookresearch/barlowtwins, main.py
    Command: python train.py barlow imagenet --data_dir=/data/tfds
    Published: 73.5 % linear top-1 (its README); 73.2 % with a decay of 1.5e-6 (the
        paper, table 1)
    Hardware: 16 V100, about 7 days (its README)
    Measured: not yet measured
    """
    config = BarlowTwinsConfig(
        **ON_IMAGENET,
        views=(VIEW_1, VIEW_2),
        encoder=EncoderConfig(
            name="resnet50",
            zero_init=True,  # main.py: zero_init_residual
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
        ),
        optimizer=OptimizerConfig(
            learning_rate=0.2,  # --learning-rate-weights, times batch/256
            warmup_epochs=10.0,
            weight_decay=1e-6,  # 1.5e-6 in the paper
            lars_form="popular",
        ),
        batch_size=2048,
        epochs=1000,
        # --learning-rate-biases. On W GPUs their gradient is 1 / W of the loss's, which
        # LARS hides from all else: --loss_scale=0.0625 is 16 of them.
        bias_rate=0.0048,
    )
    return dataclasses.replace(config, **overrides)
