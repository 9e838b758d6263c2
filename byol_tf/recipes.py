"""Recipes of BYOL: each returns a config, and is a document that can be run.

Every function takes the fields to override: `cifar10(epochs=100, seed=1)`. Fields left
out have the defaults of BYOLConfig. A value has its reason or its source beside it;
"ours" marks what no source gives, "unverified" what could not be read in one. Files and
issues without another name are those of google-deepmind/deepmind-research, byol/.

docs/generate_recipes.py makes a table of these functions: the first line of a docstring
is its summary, the lines below it are read by their keys. One recipe is one screen, so
this file is as long as there are recipes.

Reference: Grill et al. 2020, "Bootstrap your own latent".
"""

import dataclasses

from byol_tf.config import BYOLConfig
from selfsup_tf.config import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    EncoderConfig,
    OptimizerConfig,
    ViewConfig,
    recipe_parts,
)
from selfsup_tf.config.recipe_parts import (
    CIFAR10_MEAN,
    CIFAR10_STD,
    CPU_SGD,
    LIGHTLY_RESNET18,
    ON_FOLDER,
    ON_IMAGENET,
    SOLO_CIFAR10,
    SOLO_VIEW,
)

VIEW_1 = ViewConfig(  # utils/augmentations.py
    brightness=0.4,
    brightness_mode="add",
    contrast=0.4,
    saturation=0.2,
    hue=0.1,
    blur=1.0,
)
VIEW_2 = dataclasses.replace(VIEW_1, blur=0.1, solarize=0.2)

# utils/dataset.py draws a crop once and cuts it down to the image.
REFERENCE_1 = dataclasses.replace(VIEW_1, crop_law="log_uniform_clipped")
REFERENCE_2 = dataclasses.replace(VIEW_2, crop_law="log_uniform_clipped")

SMALL_1 = dataclasses.replace(VIEW_1, blur=0.0)  # 32 px are blurred enough
SMALL_2 = dataclasses.replace(VIEW_2, blur=0.0)


NARROW = dataclasses.replace(recipe_parts.NARROW, mean=CIFAR10_MEAN, std=CIFAR10_STD)


def cifar10_cpu(**overrides) -> BYOLConfig:
    """CIFAR-10, narrow ResNet-18, under 20 minutes on 2 CPU cores.

    Reproduces: nothing published; ours, to learn from photographs on a laptop
    Command: python train.py byol cifar10_cpu
    Published: nothing
    Hardware: 2 CPU cores
    Measured: 41.29 % k-NN (k 200) and 45.67 % linear, 25.55 and 28.56 % untrained;
        14 min 52 s on 2 cores of an Intel Xeon
    """
    config = BYOLConfig(
        data="cifar10",
        image_size=32,
        views=(SMALL_1, SMALL_2),
        encoder=NARROW,
        optimizer=dataclasses.replace(CPU_SGD, learning_rate=0.2),
        batch_size=128,  # without negatives, more updates help more than larger ones
        epochs=8,
        base_tau=0.97,  # a run of 3,000 steps needs a quicker target
        projector=(512, 128),
        predictor=(512, 128),
        knn_epochs=2,
    )
    return dataclasses.replace(config, **overrides)


def cifar10(**overrides) -> BYOLConfig:
    """CIFAR-10 as in solo-learn: ResNet-18, batch 256, 1000 epochs.

    Reproduces: vturrisi/solo-learn, scripts/pretrain/cifar/byol.yaml
    Command: python train.py byol cifar10
    Published: 92.58 % linear top-1, by a classifier trained beside (its README)
    Hardware: one GPU in float16 (byol.yaml); model and time not stated in the source
    Measured: not yet measured
    """
    config = BYOLConfig(
        **SOLO_CIFAR10,
        views=(SOLO_VIEW, dataclasses.replace(SOLO_VIEW, solarize=0.2)),
        optimizer=OptimizerConfig(
            learning_rate=1.0,  # byol.yaml, times batch/256 in solo/args/pretrain.py
            weight_decay=1e-5,
            lars_form="popular",  # solo/utils/lars.py, as this and the next two
            trust_coefficient=0.02,
            trust_clip=True,
        ),
        base_tau=0.99,
        projector=(4096, 256),  # solo/methods/byol.py; its last layers have a bias
        predictor=(4096, 256),
    )
    return dataclasses.replace(config, **overrides)


def cifar10_lightly(**overrides) -> BYOLConfig:
    """CIFAR-10 as in lightly: ResNet-18, SGD, batch 128, 200 epochs.

    Reproduces: lightly-ai/lightly, docs, cifar10_benchmark.py of 27 March 2023, but
        that tau rises from .99 to 1 where theirs stays
    Command: python train.py byol cifar10_lightly
    Published: 86.9 % k-NN (k 200, T .1, best epoch); 91.0 % by
        `--batch_size=512 --epochs=800` (lightly, docs, benchmarks.rst)
    Hardware: one NVIDIA RTX A6000, 122 min (401 min for 800 epochs)
    Measured: not yet measured
    """
    view = ViewConfig(  # SimCLR's for both, until their pull request 1325 of July 2023
        interpolation="bilinear",  # torchvision's default
        antialias=True,  # Pillow low-passes what it shrinks
        brightness=0.4,  # cj_strength .5
        contrast=0.4,
        saturation=0.4,
        hue=0.1,
        blur=0.0,
    )
    config = BYOLConfig(
        data="cifar10",
        held_out=0,  # the published number learns from all 50,000
        image_size=32,
        views=(view,) * 2,
        encoder=LIGHTLY_RESNET18,
        # Their loss is the mean of -cos, ours of 2 - 2 cos: twice the gradient. Half of
        # their .06 for 128 images and twice their 5e-4 make the same updates.
        optimizer=OptimizerConfig(
            name="sgd",
            learning_rate=0.06,
            warmup_epochs=0.0,
            weight_decay=1e-3,  # theirs is on biases and norms too
        ),
        batch_size=128,
        epochs=200,
        base_tau=0.99,
        projector=(1024, 256),
        predictor=(1024, 256),
        directions="mean",
        knn_epochs=10,  # with --held_out=1000
        checkpoint_epochs=10,  # every few minutes
    )
    return dataclasses.replace(config, **overrides)


def stl10_cpu(**overrides) -> BYOLConfig:
    """STL-10, a fifth of it at 96 px, narrow ResNet-18, 2 CPU cores.

    Reproduces: nothing published; ours, to learn from images that have no labels
    Command: python train.py byol stl10_cpu
    Published: nothing
    Hardware: 2 CPU cores
    Measured: not yet measured
    """
    config = dataclasses.replace(
        folder_cpu(),
        data="stl10",
        split="unlabelled[:20%]",  # 20,000 images, that fit in memory
        held_out=0,  # none of them has a label
        epochs=8,
    )
    return dataclasses.replace(config, **overrides)


def stl10(**overrides) -> BYOLConfig:
    """STL-10's unlabelled images at 96 px, ResNet-18, batch 256, one GPU.

    Reproduces: nothing published; ours, with the constants of imagenette, unverified on
        these images
    Command: python train.py byol stl10
    Published: nothing
    Hardware: one GPU
    Measured: not yet measured
    """
    config = dataclasses.replace(
        imagenette(),
        data="stl10",
        split="unlabelled",  # 100,000 images; eval.py takes its train and test
        image_size=96,
        epochs=200,  # ours; twice the updates of imagenette's 1000
        base_tau=0.99,  # configs/byol.py for up to 300 epochs
        precision="mixed_bfloat16",  # ours, for speed
        checkpoint_epochs=5,
    )
    return dataclasses.replace(config, **overrides)


def imagenette_cpu(**overrides) -> BYOLConfig:
    """Imagenette at 96 px, narrow ResNet-18, 2 CPU cores.

    Reproduces: nothing published; ours, for photographs of a few classes
    Command: python train.py byol imagenette_cpu
    Published: nothing
    Hardware: 2 CPU cores
    Measured: not yet measured
    """
    config = dataclasses.replace(
        folder_cpu(),
        data="imagenette/160px-v2",
        epochs=10,
    )
    return dataclasses.replace(config, **overrides)


def imagenette(**overrides) -> BYOLConfig:
    """Imagenette by the authors: ResNet-18, batch 256, 1000 epochs.

    Reproduces: google-deepmind/deepmind-research, byol/README.md, fast iteration
    Command: python train.py byol imagenette
    Published: about 92.3 % linear top-1, by a classifier trained beside (README)
    Hardware: one V100, roughly 4 h (README)
    Measured: not yet measured
    """
    config = BYOLConfig(
        data="imagenette/160px-v2",  # README
        held_out=0,  # the published number learns from all 9,469
        image_size=128,  # README
        views=(REFERENCE_1, REFERENCE_2),
        encoder=EncoderConfig(
            name="resnet18",  # README
            zero_init=False,  # Haiku starts only bottlenecks at 0
            mean=IMAGENET_MEAN,  # README: need not be changed
            std=IMAGENET_STD,
        ),
        optimizer=OptimizerConfig(
            learning_rate=2.0,  # README
            warmup_epochs=10.0,  # configs/byol.py
            weight_decay=1e-6,  # README
            lars_form="popular",  # utils/optimizers.py
        ),
        batch_size=256,  # README
        epochs=1000,  # README
        base_tau=0.996,  # configs/byol.py for 1000 epochs
        projector=(4096, 256),  # configs/byol.py
        predictor=(4096, 256),
        knn_epochs=10,  # with --held_out=1000
        checkpoint_epochs=10,  # every few minutes
    )
    return dataclasses.replace(config, **overrides)


def folder_cpu(**overrides) -> BYOLConfig:
    """A folder of photographs at 96 px, narrow ResNet-18, 2 CPU cores.

    Reproduces: nothing published; ours, for your own images on a laptop
    Command: python train.py byol folder_cpu --data=~/photos
    Published: nothing
    Hardware: 2 CPU cores
    Measured: 33.40 % k-NN (k 20) and 36.90 % linear, 23.50 and 30.10 % untrained,
        on 3,000 photographs of Imagenette, 2 cores of an AMD EPYC
    """
    config = BYOLConfig(
        **ON_FOLDER,
        views=(VIEW_1, VIEW_2),
        optimizer=CPU_SGD,
        base_tau=0.97,  # as the paper's shortest run, of 40 epochs
        projector=(512, 128),
        predictor=(512, 128),
    )
    return dataclasses.replace(config, **overrides)


def folder(**overrides) -> BYOLConfig:
    """A folder of photographs at 224 px, ResNet-50, batch 256, one GPU.

    Reproduces: nothing published; ours, with the constants of 300 epochs of ImageNet,
        unverified at a batch of 256
    Command: python train.py byol folder --data=~/photos
    Published: nothing
    Hardware: one GPU
    Measured: not yet measured
    """
    config = dataclasses.replace(
        imagenet(),
        data="",  # --data=FOLDER
        held_out=1000,
        batch_size=256,  # ours
        epochs=200,  # ours
        knn_epochs=10,
        checkpoint_epochs=5,
    )
    return dataclasses.replace(config, **overrides)


def imagenet_40(**overrides) -> BYOLConfig:
    """ImageNet: ResNet-50, batch 4096, 40 epochs.

    Reproduces: google-deepmind/deepmind-research, byol/configs/byol.py, 40 epochs
    Command: python train.py byol imagenet_40 --data_dir=/data/tfds
    Published: 61.5 % linear top-1, 62 % by a classifier trained beside, both +- .5
        (issue 76)
    Hardware: Cloud TPUs (README); how many, how long not stated in the source
    Measured: not yet measured
    """
    config = _imagenet(epochs=40, learning_rate=0.45, weight_decay=1e-6, base_tau=0.97)
    return dataclasses.replace(config, **overrides)


def imagenet_100(**overrides) -> BYOLConfig:
    """ImageNet: ResNet-50, batch 4096, 100 epochs.

    Reproduces: google-deepmind/deepmind-research, byol/configs/byol.py, 100 epochs
    Command: python train.py byol imagenet_100 --data_dir=/data/tfds
    Published: not stated in the source
    Hardware: Cloud TPUs (README); how many, how long not stated in the source
    Measured: not yet measured
    """
    config = _imagenet(epochs=100, learning_rate=0.45, weight_decay=1e-6, base_tau=0.99)
    return dataclasses.replace(config, **overrides)


def imagenet(**overrides) -> BYOLConfig:
    """ImageNet: ResNet-50, batch 4096, 300 epochs.

    Reproduces: google-deepmind/deepmind-research, byol/configs/byol.py, 300 epochs
    Command: python train.py byol imagenet --data_dir=/data/tfds
    Published: 72.5 % linear top-1 (Grill et al. 2020, ablations; unverified)
    Hardware: Cloud TPUs (README); how many, how long not stated in the source
    Measured: not yet measured
    """
    config = _imagenet(epochs=300, learning_rate=0.3, weight_decay=1e-6, base_tau=0.99)
    return dataclasses.replace(config, **overrides)


def imagenet_1000(**overrides) -> BYOLConfig:
    """ImageNet: ResNet-50, batch 4096, 1000 epochs.

    Reproduces: google-deepmind/deepmind-research, byol/configs/byol.py, 1000 epochs
    Command: python train.py byol imagenet_1000 --data_dir=/data/tfds
    Published: 74.3 % linear top-1 (Grill et al. 2020), 74.4 % of the released weights
        (README)
    Hardware: 512 Cloud TPU v3, about 8 h (README)
    Measured: not yet measured
    """
    config = _imagenet(
        epochs=1000, learning_rate=0.2, weight_decay=1.5e-6, base_tau=0.996
    )
    return dataclasses.replace(config, **overrides)


def _imagenet(
    *, epochs: int, learning_rate: float, weight_decay: float, base_tau: float
) -> BYOLConfig:
    """What the presets of configs/byol.py share; they differ in the arguments."""
    return BYOLConfig(
        **ON_IMAGENET,
        views=(REFERENCE_1, REFERENCE_2),
        encoder=EncoderConfig(
            name="resnet50",
            zero_init=True,  # the code's; not the paper's, and no better (README)
            mean=IMAGENET_MEAN,  # utils/dataset.py
            std=IMAGENET_STD,
        ),
        optimizer=OptimizerConfig(
            learning_rate=learning_rate,
            warmup_epochs=10.0,
            weight_decay=weight_decay,
            lars_form="popular",  # utils/optimizers.py
        ),
        batch_size=4096,
        epochs=epochs,
        base_tau=base_tau,
        projector=(4096, 256),
        predictor=(4096, 256),
    )
