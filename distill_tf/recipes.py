"""Recipes of distillation: each returns a config and says what it is for.

Every function takes the fields to override: `cifar10_cpu(epochs=20)`.
"""

import dataclasses

from distill_tf.config import DistillConfig
from selfsup_tf.config import EncoderConfig, OptimizerConfig, ViewConfig
from selfsup_tf.config.recipe_parts import CPU_SGD

# Crops and flips alone, as in fine-tuning and linear evaluation of both papers.
CROP_AND_FLIP = ViewConfig(jitter=0.0, grayscale=0.0, blur=0.0)
SIMCLR_CROP = dataclasses.replace(CROP_AND_FLIP, crop_law="distorted_box")


def shapes(**overrides) -> DistillConfig:
    """Built-in shapes, minutes on 2 CPU cores.

    Reproduces: nothing published; it shows the way.
    Command: python train.py distill shapes --teacher=runs/finetune-shapes
        --pretrained=runs/simclr-shapes
    Published: none
    Hardware: 2 CPU cores
    Measured: not yet measured
    """
    config = dataclasses.replace(
        cifar10_cpu(),
        data="shapes",
        views=(dataclasses.replace(CROP_AND_FLIP, crop_area=(0.4, 1.0)),),
        checkpoint_epochs=5,
    )
    return dataclasses.replace(config, **overrides)


def cifar10_cpu(**overrides) -> DistillConfig:
    """CIFAR-10 without its labels, minutes on 2 CPU cores.

    Reproduces: SimCLR v2's third step at the size of a laptop.
    Command: python train.py distill cifar10_cpu --teacher=runs/finetune-cifar10_cpu
        --pretrained=runs/simclr-cifar10_cpu
    Published: none at this size
    Hardware: 2 CPU cores
    Measured: see docs/semi_supervised.md
    """
    config = DistillConfig(
        data="cifar10",
        held_out=0,
        image_size=32,
        views=(CROP_AND_FLIP,),
        pretrained="",  # --pretrained=DIRECTORY
        optimizer=CPU_SGD,
        batch_size=256,
        epochs=10,
        temperature=0.1,  # the authors' for a student of the teacher's size
    )
    return dataclasses.replace(config, **overrides)


def folder_cpu(**overrides) -> DistillConfig:
    """A folder of photographs at 96 px, 2 CPU cores.

    Reproduces: nothing published; the settings of cifar10_cpu at another size.
    Command: python train.py distill folder_cpu --data=~/photos
        --teacher=runs/finetune-folder_cpu --pretrained=runs/simclr-folder_cpu
    Published: none
    Hardware: 2 CPU cores
    Measured: not yet measured
    """
    config = dataclasses.replace(
        cifar10_cpu(),
        data="",  # --data=FOLDER
        image_size=96,
        batch_size=128,
        checkpoint_epochs=5,
    )
    return dataclasses.replace(config, **overrides)


def folder_edge(**overrides) -> DistillConfig:
    """A folder at 96 px, MobileNetV3Small for devices, 2 CPU cores.

    Reproduces: nothing published; SimReg's loss, each image shown to the teacher
        once, whole, its vectors less their mean, and one layer for a head
    Command: python train.py distill folder_edge --data=~/photos
        --teacher=imagenet:EfficientNetB0
    Published: none
    Hardware: 2 CPU cores
    Measured: 72.30 % k-NN (k 20) and 72.10 % linear, 26.70 and 10.00 % untrained, on
        3,000 photographs of Imagenette from EfficientNet-Lite0 (97.50 %), as long as
        SimCLR takes to 41.90 %; as int8 .3 points more; 2 cores of an AMD EPYC
    """
    config = DistillConfig(
        data="",  # --data=FOLDER
        image_size=96,
        views=(dataclasses.replace(CROP_AND_FLIP, crop_area=(0.25, 1.0)),),
        encoder=EncoderConfig(name="MobileNetV3Small"),
        optimizer=OptimizerConfig(
            name="adam", learning_rate=0.004, weight_decay=1e-6, warmup_epochs=0.5
        ),
        batch_size=64,
        epochs=60,
        loss="regression",
        teacher_sees="image",  # once for all epochs, which a CPU can pay
        # Of 3,000 photographs after 20 epochs: 66.3 % k-NN, 54.0 % with SimReg's head.
        centre=True,
        predictor="linear",
        knn_epochs=5,
        checkpoint_epochs=5,
    )
    return dataclasses.replace(config, **overrides)


def folder_edge_b0(**overrides) -> DistillConfig:
    """A folder at 128 px, EfficientNetB0 for larger devices, a GPU.

    Reproduces: nothing published; `folder_edge` with a network of 4 million parameters
    Command: python train.py distill folder_edge_b0 --data=~/photos
        --teacher=hub:dinov2_small
    Published: none
    Hardware: one GPU
    Measured: not yet measured
    """
    config = folder_edge(image_size=128, encoder=EncoderConfig(name="EfficientNetB0"))
    return dataclasses.replace(config, **overrides)


def folder(**overrides) -> DistillConfig:
    """A folder of photographs at 224 px, one GPU.

    Reproduces: SimCLR v2's settings with the batch of one GPU.
    Command: python train.py distill folder --data=~/photos
        --teacher=runs/finetune-folder --pretrained=runs/simclr-folder
    Published: none
    Hardware: one GPU
    Measured: not yet measured
    """
    config = dataclasses.replace(
        imagenet(),
        data="",  # --data=FOLDER
        batch_size=256,
        epochs=100,
        checkpoint_epochs=5,
    )
    return dataclasses.replace(config, **overrides)


def imagenet(**overrides) -> DistillConfig:
    """ImageNet without its labels, 400 epochs, as in SimCLR v2.

    Reproduces: SimCLR v2's self-distillation of a ResNet-50.
    Command: python train.py distill imagenet --teacher=runs/finetune-imagenet_1pct
        --pretrained=runs/simclr-imagenet_v2 --data_dir=/data/tfds
    Published: see Chen et al. 2020, "Big self-supervised models", table 2
    Hardware: TPU; number and time not stated in the source
    Measured: not yet measured
    """
    config = DistillConfig(
        data="imagenet2012",
        pretrained="",  # --pretrained=DIRECTORY
        held_out=0,
        views=(SIMCLR_CROP,),
        optimizer=OptimizerConfig(
            learning_rate=1.6,  # .1 sqrt(batch)
            scaling="sqrt",
            weight_decay=1e-4,
            warmup_epochs=20.0,  # 5 % of the epochs
        ),
        batch_size=4096,
        epochs=400,
        temperature=0.1,  # 1 for a smaller student
        precision="mixed_bfloat16",
        checkpoint_epochs=10,
    )
    return dataclasses.replace(config, **overrides)
