"""Recipes of DINO: each returns a config, and is a document that can be run.

Every function takes the fields to override: `cifar10(epochs=100, seed=1)`. Fields left
out have the defaults of DINOConfig. A value has its reason or its source beside it;
"ours" marks what no source gives, "unverified" what could not be read in one.

docs/generate_recipes.py makes a table of these functions: the first line of a docstring
is its summary, the lines below it are read by their keys.

Reference: Caron et al. 2021, "Emerging properties in self-supervised vision
transformers"; its code is facebookresearch/dino.
"""

import dataclasses

from dino_tf.config import DINOConfig
from selfsup_tf.config import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    EncoderConfig,
    OptimizerConfig,
)
from selfsup_tf.config.recipe_parts import (
    LIGHTLY_CIFAR10,
    ON_CIFAR10,
    ON_FOLDER,
    ON_IMAGENET,
    SOLO_CIFAR10,
    SOLO_LARS,
    SOLO_VIEW,
    TORCHVISION_VIEW,
)

SMALL_HEAD = {
    "projector": (512, 128),
    "projector_norm": "hidden",  # as lightly for CIFAR-10
    "prototypes": 1024,
    "base_tau": 0.99,  # a short run needs a quicker target
    "frozen_epochs": 0.2,
}
"""Ours, for a short run on a narrow network."""


CPU_ADAMW = OptimizerConfig(
    name="adamw",
    learning_rate=0.005,
    weight_decay=0.01,
    warmup_epochs=0.5,
)
"""Ours: among a few rates of SGD and AdamW, tried for 300 steps on a network half as
wide, .003 and .008 were level and ahead of SGD at .4 by a point or two.
"""


def cifar10_cpu(**overrides) -> DINOConfig:
    """CIFAR-10, narrow ResNet-18, under 20 minutes on 2 CPU cores.

    Reproduces: nothing published; ours, to learn from photographs on a laptop
    Command: python train.py dino cifar10_cpu
    Published: nothing
    Hardware: 2 CPU cores
    Measured: 38.31 % k-NN and 43.01 % linear, 25.55 % k-NN untrained, after
        4.2 epochs, ten minutes of processor time: docs/measured.md
    """
    config = DINOConfig(
        **ON_CIFAR10,
        optimizer=CPU_ADAMW,
        batch_size=256,
        epochs=8,
        **SMALL_HEAD,
    )
    return dataclasses.replace(config, **overrides)


def cifar10(**overrides) -> DINOConfig:
    """CIFAR-10 as in solo-learn: ResNet-18, batch 256, 1000 epochs.

    Reproduces: vturrisi/solo-learn, scripts/pretrain/cifar/dino.yaml, but for
        BatchNorms, which see both views together here
    Command: python train.py dino cifar10
    Published: 89.52 % linear top-1, by a classifier trained beside (its README)
    Hardware: one GPU in float16 (dino.yaml); model and time not stated in the source
    Measured: not yet measured
    """
    config = DINOConfig(
        **SOLO_CIFAR10,
        views=(SOLO_VIEW, dataclasses.replace(SOLO_VIEW, solarize=0.2)),
        optimizer=dataclasses.replace(SOLO_LARS, weight_decay=1e-6),  # dino.yaml
        target_temperature=0.07,  # this and the next two: solo/methods/dino.py
        target_temperature_start=0.04,
        target_temperature_epochs=50,
        base_tau=0.9995,
        prototypes=4096,
    )
    return dataclasses.replace(config, **overrides)


def cifar10_lightly(**overrides) -> DINOConfig:
    """CIFAR-10 as in lightly: ResNet-18, batch 128, 200 epochs.

    Reproduces: lightly-ai/lightly, docs, cifar10_benchmark.py, but for BatchNorms,
        which see both views together here, and the head's first weights
    Command: python train.py dino cifar10_lightly
    Published: 86.8 % k-NN (k 200, T .1, best epoch); 88.4 % by
        `--batch_size=512 --epochs=800` (cifar10_benchmark.py of February 2022)
    Hardware: one NVIDIA RTX A6000, 221 min (766 min for 800 epochs)
    Measured: not yet measured
    """
    view = dataclasses.replace(
        TORCHVISION_VIEW,
        crop_area=(0.4, 1.0),  # this and the jitter: lightly/data/collate.py
        blur=0.0,
    )
    config = DINOConfig(
        **LIGHTLY_CIFAR10,
        views=(view, dataclasses.replace(view, solarize=0.2)),
        base_tau=0.99,
        final_tau=0.99,
        projector=(2048, 256),
        projector_norm="hidden",
        prototypes=2048,
        frozen_epochs=0.0,
    )
    return dataclasses.replace(config, **overrides)


def folder_cpu(**overrides) -> DINOConfig:
    """Photographs at 96 and 48 px, narrow ResNet-18, 2 CPU cores.

    Reproduces: nothing published; ours, for your own images on a laptop
    Command: python train.py dino folder_cpu --data=~/photos
    Published: nothing
    Hardware: 2 CPU cores
    Measured: 35.00 % k-NN (k 20) and 41.30 % linear, 23.50 and 30.10 % untrained,
        on 3,000 photographs of Imagenette with `--epochs=8`, 2 cores of an AMD EPYC
    """
    config = dataclasses.replace(
        cifar10_cpu(),
        **ON_FOLDER,
        views=_crops(large=(0.25, 1.0), small=(0.05, 0.25), size=48, count=4),
    )
    return dataclasses.replace(config, **overrides)


def folder(**overrides) -> DINOConfig:
    """Photographs at 224 and 96 px, ResNet-50, one GPU.

    Reproduces: nothing published; ours, with the constants of ImageNet
    Command: python train.py dino folder --data=~/photos
    Published: nothing
    Hardware: one GPU; its memory is untried: --accumulate=4 takes 64 images at a time
    Measured: not yet measured
    """
    config = dataclasses.replace(
        imagenet(),
        data="",  # --data=FOLDER
        held_out=1000,
        batch_size=256,
        base_tau=0.9995,  # the authors' advice for a batch of 256
        prototypes=4096,  # 65,536 are more than most folders have photographs
        checkpoint_epochs=5,
    )
    return dataclasses.replace(config, **overrides)


def imagenet(**overrides) -> DINOConfig:
    """ImageNet, ResNet-50: two crops of 224 px, eight of 96 px, 100 epochs.

    Reproduces: facebookresearch/dino, README, its command for ResNet-50, but for its
        float16, its first weights, a decay that is not clipped, Pillow's blur, and a
        rate that ends at 1e-6, here at 0
    Command: python train.py dino imagenet --data_dir=/data/tfds
    Published: nothing of this command; 75.3 % linear, 67.5 % k-NN after 800 epochs with
        other constants (README)
    Hardware: 8 GPUs (README); model and time not stated in the source
    Measured: not yet measured
    """
    config = DINOConfig(
        **ON_IMAGENET,
        views=_crops(large=(0.14, 1.0), small=(0.05, 0.14), size=96, count=8),
        encoder=EncoderConfig(
            name="resnet50",
            zero_init=False,  # torchvision's default
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
        ),
        optimizer=OptimizerConfig(
            name="sgd",
            learning_rate=0.03,  # --lr 0.03 for 256 images
            momentum=0.9,
            weight_decay=1e-4,
            warmup_epochs=10.0,
            clip_norm=3.0,  # --clip_grad
            clip_each=True,
        ),
        batch_size=512,  # 8 GPUs times 64
        epochs=100,
    )
    return dataclasses.replace(config, **overrides)


def imagenet_vit(**overrides) -> DINOConfig:
    """ImageNet, ViT-S/16: two crops of 224 px, eight of 96 px, 100 epochs.

    Reproduces: facebookresearch/dino, README, vanilla DINO training, but for its
        stochastic depth of .1, its first weights, its float16, AdamW's epsilon,
        Pillow's blur, and a rate that ends at 1e-6, here at 0
    Command: python train.py dino imagenet_vit --data_dir=/data/tfds
    Published: 74.0 % linear on the tokens of four blocks, 69.3 % k-NN, both of the
        target (README); 76.0 % and 73.3 % by `--epochs=300 --batch_size=1024
        --learn_lengths=True --target_temperature=0.07 --target_temperature_epochs=30`
    Hardware: 8 GPUs, 1.75 days (README)
    Measured: not yet measured
    """
    config = dataclasses.replace(
        imagenet(),
        views=_crops(large=(0.4, 1.0), small=(0.05, 0.4), size=96, count=8),
        encoder=EncoderConfig(name="vit_small", mean=IMAGENET_MEAN, std=IMAGENET_STD),
        optimizer=OptimizerConfig(
            name="adamw",
            learning_rate=5e-4,
            weight_decay=0.04,
            final_weight_decay=0.4,
            warmup_epochs=10.0,
            clip_norm=3.0,  # --clip_grad
            clip_each=True,
        ),
    )
    return dataclasses.replace(config, **overrides)


def _crops(large, small, size, count):
    """The three kinds of views of main_dino.py, DataAugmentationDINO.

    The blur of small ones is wide enough for its largest sigma of 2 pixels: 17 taps.
    """
    first = dataclasses.replace(TORCHVISION_VIEW, crop_area=large)  # blurred always
    second = dataclasses.replace(first, blur=0.1, solarize=0.2)
    local = dataclasses.replace(
        first, crop_area=small, size=size, count=count, blur=0.5, blur_size=17 / size
    )
    return first, second, local
