"""Recipes of fine-tuning: each returns a config and says what it is for.

Every function takes the fields to override: `cifar10_cpu(fraction=0.1)`. All but the
head's layer and the labels is independent of how the encoder was pretrained.
"""

import dataclasses

from finetune_tf.config import FinetuneConfig
from selfsup_tf.config import OptimizerConfig, ViewConfig

# Crops and flips alone, as in fine-tuning and linear evaluation of both papers.
CROP_AND_FLIP = ViewConfig(jitter=0.0, grayscale=0.0, blur=0.0)
SIMCLR_CROP = dataclasses.replace(CROP_AND_FLIP, crop_law="distorted_box")

FEW_LABELS = OptimizerConfig(
    learning_rate=0.08,  # .005 sqrt(batch)
    scaling="sqrt",
    warmup_epochs=0.0,
    weight_decay=0.0,
)

CPU_SGD = OptimizerConfig(
    name="sgd",  # LARS pays at large batches only
    learning_rate=0.02,  # of .02, .08, .3, the best on other training images
    momentum=0.9,
    nesterov=True,
    weight_decay=5e-4,
    warmup_epochs=0.0,
)


def shapes(**overrides) -> FinetuneConfig:
    """Built-in shapes, a tenth of the labels, 2 CPU cores.

    Reproduces: nothing published; it shows the way.
    Command: python train.py finetune shapes --pretrained=runs/simclr-shapes
    Published: none
    Hardware: 2 CPU cores
    Measured: not yet measured
    """
    config = FinetuneConfig(
        data="shapes",
        pretrained="",  # --pretrained=DIRECTORY
        head_layer=1,
        fraction=0.1,
        held_out=0,
        image_size=32,
        views=(dataclasses.replace(CROP_AND_FLIP, crop_area=(0.4, 1.0)),),
        optimizer=CPU_SGD,
        batch_size=64,
        epochs=40,
        checkpoint_epochs=20,
    )
    return dataclasses.replace(config, **overrides)


def cifar10_cpu(**overrides) -> FinetuneConfig:
    """CIFAR-10, 1 % of the labels unless told otherwise, 2 CPU cores.

    Reproduces: SimCLR v2's second step at the size of a laptop.
    Command: python train.py finetune cifar10_cpu --pretrained=runs/simclr-cifar10_cpu
    Published: none at this size
    Hardware: 2 CPU cores
    Measured: see docs/semi_supervised.md
    """
    config = FinetuneConfig(
        data="cifar10",
        pretrained="",  # --pretrained=DIRECTORY
        head_layer=1,  # the authors', where labels are few
        fraction=0.01,
        held_out=0,
        image_size=32,
        views=(CROP_AND_FLIP,),
        optimizer=CPU_SGD,
        batch_size=100,
        epochs=60,  # the authors' for 1 %; 30 for 10 %
        checkpoint_epochs=30,
    )
    return dataclasses.replace(config, **overrides)


def folder_cpu(**overrides) -> FinetuneConfig:
    """A folder with a sub-folder for each class, at 96 px, 2 CPU cores.

    Reproduces: nothing published; the settings of cifar10_cpu at another size.
    Command: python train.py finetune folder_cpu --data=~/photos
        --pretrained=runs/simclr-folder_cpu
    Published: none
    Hardware: 2 CPU cores
    Measured: not yet measured
    """
    config = dataclasses.replace(
        cifar10_cpu(),
        data="",  # --data=FOLDER
        fraction=1.0,
        image_size=96,
        batch_size=64,
        epochs=20,
        checkpoint_epochs=5,
    )
    return dataclasses.replace(config, **overrides)


def folder(**overrides) -> FinetuneConfig:
    """A folder with a sub-folder for each class, at 224 px, one GPU.

    Reproduces: SimCLR v2's settings for few labels, with the batch of one GPU.
    Command: python train.py finetune folder --data=~/photos
        --pretrained=runs/simclr-folder
    Published: none
    Hardware: one GPU
    Measured: not yet measured
    """
    config = dataclasses.replace(
        imagenet_1pct(),
        data="",  # --data=FOLDER
        batch_size=256,
        checkpoint_epochs=5,
    )
    return dataclasses.replace(config, **overrides)


def imagenet_1pct(**overrides) -> FinetuneConfig:
    """ImageNet with 1 % of the labels, SimCLR v2, from the head's layer 1.

    Reproduces: the column "1 %" of SimCLR v2's table 1, after imagenet_v2 of simclr.
    Command: python train.py finetune imagenet_1pct --pretrained=runs/simclr-imagenet_v2
        --data_dir=/data/tfds
    Published: 57.9 % top-1 for ResNet-50 (google-research/simclr, README)
    Hardware: TPU; number and time not stated in the source
    Measured: not yet measured
    """
    config = FinetuneConfig(
        data="imagenet2012_subset/1pct",  # the authors' images
        pretrained="",  # --pretrained=DIRECTORY
        head_layer=1,
        held_out=0,
        views=(SIMCLR_CROP,),
        optimizer=FEW_LABELS,
        batch_size=1024,
        epochs=60,
        precision="mixed_bfloat16",
        checkpoint_epochs=10,
    )
    return dataclasses.replace(config, **overrides)


def imagenet_10pct(**overrides) -> FinetuneConfig:
    """ImageNet with 10 % of the labels, SimCLR v2.

    Reproduces: the column "10 %" of SimCLR v2's table 1, after imagenet_v2 of simclr.
    Command: python train.py finetune imagenet_10pct
        --pretrained=runs/simclr-imagenet_v2 --data_dir=/data/tfds
    Published: 68.4 % top-1 for ResNet-50 (google-research/simclr, README)
    Hardware: TPU; number and time not stated in the source
    Measured: not yet measured
    """
    config = dataclasses.replace(
        imagenet_1pct(),
        data="imagenet2012_subset/10pct",
        epochs=30,  # unverified
    )
    return dataclasses.replace(config, **overrides)


def linear_simclr(**overrides) -> FinetuneConfig:
    """ImageNet, linear evaluation by SimCLR's protocol, trunk frozen.

    Reproduces: the linear evaluation of google-research/simclr, README.
    Command: python train.py finetune linear_simclr --pretrained=runs/simclr-imagenet
        --data_dir=/data/tfds
    Published: about 64.5 % top-1 after 100 epochs of pretraining (its README)
    Hardware: TPU; number and time not stated in the source
    Measured: not yet measured
    """
    config = FinetuneConfig(
        data="imagenet2012",
        pretrained="",  # --pretrained=DIRECTORY
        frozen=True,
        held_out=0,
        views=(SIMCLR_CROP,),
        optimizer=OptimizerConfig(
            name="sgd",
            nesterov=True,
            learning_rate=0.1,
            warmup_epochs=0.0,
            weight_decay=1e-6,
        ),
        batch_size=4096,
        epochs=90,
        precision="mixed_bfloat16",
        checkpoint_epochs=10,
    )
    return dataclasses.replace(config, **overrides)


def linear_byol(**overrides) -> FinetuneConfig:
    """ImageNet, linear evaluation by BYOL's protocol, trunk frozen.

    Reproduces: the linear evaluation of deepmind-research, byol.
    Command: python train.py finetune linear_byol --pretrained=runs/byol-imagenet_1000
        --data_dir=/data/tfds
    Published: 74.3 % top-1 after 1000 epochs of pretraining (Grill et al. 2020)
    Hardware: TPU; number and time not stated in the source
    Measured: not yet measured
    """
    config = dataclasses.replace(
        linear_simclr(),
        views=(dataclasses.replace(CROP_AND_FLIP, crop_law="log_uniform_clipped"),),
        optimizer=OptimizerConfig(
            name="sgd",
            nesterov=True,
            learning_rate=0.2,
            warmup_epochs=0.0,
            weight_decay=0.0,
        ),
        batch_size=1024,
        epochs=80,
    )
    return dataclasses.replace(config, **overrides)
