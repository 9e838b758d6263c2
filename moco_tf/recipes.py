"""Recipes of MoCo: each returns a config, and is a document that can be run.

Every function takes the fields to override: `cifar10(epochs=100, seed=1)`. Fields left
out have the defaults of MoCoConfig. A value has its reason or its source beside it;
"ours" marks what no source gives, "unverified" what could not be read in one.

docs/generate_recipes.py makes a table of these functions: the first line of a docstring
is its summary, the lines below it are read by their keys.

Reference: He et al. 2020, "Momentum contrast for unsupervised visual representation
learning"; Chen et al. 2020, "Improved baselines with momentum contrastive learning"
(v2); Chen, Xie and He 2021, "An empirical study of training self-supervised vision
transformers" (v3).
"""

import dataclasses

from moco_tf.config import MoCoConfig
from selfsup_tf.config import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    EncoderConfig,
    OptimizerConfig,
)
from selfsup_tf.config.recipe_parts import (
    CPU_SGD,
    LIGHTLY_CIFAR10,
    MOCO_VIEW,
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

VIEW_1 = dataclasses.replace(
    TORCHVISION_VIEW,
    crop_area=(0.2, 1.0),
    interpolation="bilinear",  # mmpretrain's default
)
VIEW_2 = dataclasses.replace(VIEW_1, blur=0.1, solarize=0.2)
V2 = {
    "projector_norm": "none",
    "predictor": (),
    "temperature": 0.2,
}
"""What v2 has otherwise, beside its queue."""

CPU_OPTIMIZER = dataclasses.replace(CPU_SGD, learning_rate=0.3)
"""Ours: SimCLR's .12, over the loss's factor of twice the temperature of .2."""


def shapes(**overrides) -> MoCoConfig:
    """Built-in shapes, narrow ResNet-18, 2 CPU cores in minutes.

    Reproduces: nothing published; ours, to try the whole way in minutes
    Command: python train.py moco shapes
    Published: nothing
    Hardware: 2 CPU cores
    Measured: 33.65 % k-NN (k 20), 15.85 % untrained, on 2 cores of an AMD EPYC
    """
    config = MoCoConfig(
        **ON_SHAPES,
        optimizer=CPU_OPTIMIZER,
        batch_size=256,
        temperature=0.2,
        base_tau=0.97,  # a short run needs a quicker target
        projector=(512, 128),
        predictor=(512, 128),
    )
    return dataclasses.replace(config, **overrides)


def cifar10_cpu(**overrides) -> MoCoConfig:
    """CIFAR-10, narrow ResNet-18, under 20 minutes on 2 CPU cores.

    Reproduces: nothing published; ours, to learn from photographs on a laptop
    Command: python train.py moco cifar10_cpu
    Published: nothing
    Hardware: 2 CPU cores
    Measured: 45.92 % k-NN and 49.40 % linear, 25.55 % k-NN untrained, after
        4.3 epochs, ten minutes of processor time: docs/measured.md
    """
    config = MoCoConfig(
        **ON_CIFAR10,
        optimizer=CPU_OPTIMIZER,
        batch_size=256,
        epochs=8,
        temperature=0.2,
        base_tau=0.97,  # a short run needs a quicker target
        projector=(512, 128),
        predictor=(512, 128),
    )
    return dataclasses.replace(config, **overrides)


def cifar10(**overrides) -> MoCoConfig:
    """CIFAR-10, v3 as in solo-learn: ResNet-18, batch 256, 1000 epochs.

    Reproduces: vturrisi/solo-learn, scripts/pretrain/cifar/mocov3.yaml
    Command: python train.py moco cifar10
    Published: 93.10 % linear top-1, by a classifier trained beside (its README)
    Hardware: one GPU in float16 (mocov3.yaml); model and time not stated in the source
    Measured: not yet measured
    """
    config = MoCoConfig(
        **SOLO_CIFAR10,
        views=(SOLO_VIEW, dataclasses.replace(SOLO_VIEW, solarize=0.2)),
        optimizer=dataclasses.replace(SOLO_LARS, weight_decay=1e-6),  # mocov3.yaml
        temperature=0.2,
    )
    return dataclasses.replace(config, **overrides)


def cifar10_v2(**overrides) -> MoCoConfig:
    """CIFAR-10, v2 both ways as in solo-learn: batch 256, 1000 epochs.

    Reproduces: vturrisi/solo-learn, scripts/pretrain/cifar/mocov2plus.yaml
    Command: python train.py moco cifar10_v2
    Published: 92.94 % linear top-1, by a classifier trained beside (its README)
    Hardware: one GPU in float16 (mocov2plus.yaml); model and time not stated in the
        source
    Measured: not yet measured
    """
    view = dataclasses.replace(  # augmentations/symmetric_weak.yaml
        SMALL_IMAGES,
        antialias=True,  # Pillow low-passes what it shrinks
        blur=0.5,
        blur_size=0.4,  # 13 taps: Pillow's blur is not cut off at 3
    )
    config = MoCoConfig(
        **SOLO_CIFAR10,
        views=(view,) * 2,
        optimizer=OptimizerConfig(
            name="sgd",
            learning_rate=0.3,  # mocov2plus.yaml, times batch/256 in its args
            momentum=0.9,
            weight_decay=1e-4,  # theirs is on biases and norms too
            warmup_epochs=10.0,
        ),
        queue=32768,
        final_tau=0.999,
        projector=(2048, 256),
        directions="mean",
        **V2,
    )
    return dataclasses.replace(config, **overrides)


def cifar10_lightly(**overrides) -> MoCoConfig:
    """CIFAR-10, v2 both ways as in lightly: batch 128, 200 epochs.

    Reproduces: lightly-ai/lightly, docs, cifar10_benchmark.py, but for its one queue of
        both directions, where ours has two, and its BatchNorm of eight parts
    Command: python train.py moco cifar10_lightly
    Published: 83.8 % k-NN (k 200, T .1, best epoch); 90.0 % by
        `--batch_size=512 --epochs=800 --queue=8192` (cifar10_benchmark.py of February
        2022)
    Hardware: one NVIDIA RTX A6000, 230 min (788 min for 800 epochs)
    Measured: not yet measured
    """
    view = dataclasses.replace(SMALL_IMAGES, antialias=True, interpolation="bilinear")
    config = MoCoConfig(
        **LIGHTLY_CIFAR10,
        views=(view,) * 2,
        queue=4096,
        final_tau=0.99,
        projector=(512, 128),
        directions="mean",
        **V2 | {"temperature": 0.1},
    )
    return dataclasses.replace(config, **overrides)


def folder_cpu(**overrides) -> MoCoConfig:
    """A folder of photographs at 96 px, narrow ResNet-18, 2 CPU cores.

    Reproduces: nothing published; ours, for your own images on a laptop
    Command: python train.py moco folder_cpu --data=~/photos
    Published: nothing
    Hardware: 2 CPU cores
    Measured: 36.20 % k-NN (k 20) and 40.70 % linear, 23.50 and 30.10 % untrained,
        on 3,000 photographs of Imagenette with `--epochs=8`, 2 cores of an AMD EPYC
    """
    config = dataclasses.replace(
        cifar10_cpu(),
        **ON_FOLDER,
        views=(VIEW_1, VIEW_2),
    )
    return dataclasses.replace(config, **overrides)


def folder(**overrides) -> MoCoConfig:
    """A folder of photographs at 224 px, v2, ResNet-50, batch 256, one GPU.

    Reproduces: nothing published; ours, with the constants of v2 on ImageNet; keep
        --queue below the number of photographs
    Command: python train.py moco folder --data=~/photos
    Published: nothing
    Hardware: one GPU
    Measured: not yet measured
    """
    config = dataclasses.replace(
        imagenet_v2(),
        data="",  # --data=FOLDER
        held_out=1000,
        queue=4096,  # 65,536 keys would be of the same few thousand photographs
        knn_epochs=10,
        checkpoint_epochs=5,
    )
    return dataclasses.replace(config, **overrides)


def imagenet(**overrides) -> MoCoConfig:
    """ImageNet, v3: ResNet-50, batch 4096, 100 epochs.

    Reproduces: open-mmlab/mmpretrain, configs/mocov3,
        mocov3_resnet50_8xb512-amp-coslr-100e_in1k.py
    Command: python train.py moco imagenet --data_dir=/data/tfds
    Published: 69.6 % linear top-1 (open-mmlab/mmselfsup, model zoo)
    Hardware: 8 GPUs (the config's name); model and time not stated in the source
    Measured: not yet measured
    """
    config = MoCoConfig(
        **ON_IMAGENET,
        views=(VIEW_1, VIEW_2),
        encoder=EncoderConfig(
            name="resnet50",
            zero_init=True,  # mmpretrain's default
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
        ),
        optimizer=OptimizerConfig(
            learning_rate=0.6,  # 9.6 at 4096
            warmup_epochs=10.0,
            weight_decay=1e-6,
            lars_form="popular",  # unverified
        ),
        batch_size=4096,
        epochs=100,
    )
    return dataclasses.replace(config, **overrides)


def imagenet_vit(**overrides) -> MoCoConfig:
    """ImageNet, v3: ViT-S/16, batch 4096, 300 epochs.

    Reproduces: open-mmlab/mmpretrain, configs/mocov3,
        mocov3_vit-small-p16_16xb256-amp-coslr-300e_in1k.py, but for its 12 heads of
        attention, here 6, the first class token, its decay of biases and norms, its
        float16, AdamW's epsilon, and Pillow's blur
    Command: python train.py moco imagenet_vit --data_dir=/data/tfds
    Published: 73.6 % linear top-1 (README of configs/mocov3)
    Hardware: 16 GPUs (the config's name); model and time not stated in the source
    Measured: not yet measured
    """
    config = dataclasses.replace(
        imagenet(),
        views=tuple(
            dataclasses.replace(view, crop_area=(0.08, 1.0))
            for view in (VIEW_1, VIEW_2)
        ),
        encoder=EncoderConfig(
            name="vit_small",
            fixed_embedding=True,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
        ),
        optimizer=OptimizerConfig(
            name="adamw",
            learning_rate=1.5e-4,  # 2.4e-3 at 4096
            warmup_epochs=40.0,
            weight_decay=0.1,
        ),
        epochs=300,
        temperature=0.2,
        projector=(4096, 4096, 256),
        predictor_norm="bare",
    )
    return dataclasses.replace(config, **overrides)


def imagenet_v2(**overrides) -> MoCoConfig:
    """ImageNet, v2: ResNet-50, batch 256, 65,536 keys, 200 epochs.

    Reproduces: Chen et al. 2020, section 2; facebookresearch/moco, README, its command
    Command: python train.py moco imagenet_v2 --data_dir=/data/tfds
    Published: 67.5 % linear top-1; 71.1 % by `--epochs=800` (README)
    Hardware: 8 V100, 53 h (README)
    Measured: not yet measured
    """
    config = MoCoConfig(
        **ON_IMAGENET,
        views=(MOCO_VIEW,) * 2,
        encoder=EncoderConfig(
            name="resnet50",
            zero_init=False,  # torchvision's default; unverified
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
        ),
        optimizer=OptimizerConfig(
            name="sgd",
            learning_rate=0.03,  # --lr at a batch of 256
            momentum=0.9,
            weight_decay=1e-4,
            warmup_epochs=0.0,
        ),
        batch_size=256,
        epochs=200,
        queue=65536,
        base_tau=0.999,
        final_tau=0.999,
        projector=(2048, 128),
        directions="one",
        **V2,
    )
    return dataclasses.replace(config, **overrides)
