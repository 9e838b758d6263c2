"""Recipes of SimCLR: each returns a config, and is a document that can be run.

Every function takes the fields to override: `cifar10(epochs=100, seed=1)`. Fields left
out have the defaults of SimCLRConfig. A value has its reason or its source beside it;
"ours" marks what no source gives, "unverified" what could not be read in one. Files
and issues without another name are those of google-research/simclr.

docs/generate_recipes.py makes a table of these functions: the first line of a docstring
is its summary, the lines below it are read by their keys. One recipe is one screen, so
this file is as long as there are recipes.

Reference: Chen et al. 2020a, "A simple framework for contrastive learning of visual
representations" (v1); Chen et al. 2020b, "Big self-supervised models are strong
semi-supervised learners" (v2).
"""

import dataclasses

from selfsup_tf.config import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    EncoderConfig,
    OptimizerConfig,
    ViewConfig,
)
from selfsup_tf.config.recipe_parts import (
    CPU_SGD,
    LIGHTLY_RESNET18,
    NARROW,
    ON_IMAGENET,
    ON_SHAPES,
    SMALL_IMAGES,
    SOLO_CIFAR10,
)
from simclr_tf.config import SimCLRConfig

# Colour jitter of strength 1, blur of every other view: tf2/data_util.py.
V2_VIEW = ViewConfig(crop_law="distorted_box")
V1_VIEW = dataclasses.replace(V2_VIEW, brightness_mode="add")  # impl="simclrv1" there


def shapes(**overrides) -> SimCLRConfig:
    """Built-in shapes, narrow ResNet-18, 2 CPU cores in minutes: the demo.

    Reproduces: nothing published; ours, to try the whole way in minutes
    Command: python train.py simclr shapes
    Published: nothing
    Hardware: 2 CPU cores
    Measured: 59.70 % k-NN (k 20) and 62.25 % linear, 15.85 and 12.05 % untrained;
        2.9 min by `make demo` on 2 cores of an Intel Xeon
    """
    config = SimCLRConfig(
        **ON_SHAPES,
        optimizer=CPU_SGD,
        batch_size=256,
        temperature=0.2,
        projector=(256, 128),
    )
    return dataclasses.replace(config, **overrides)


def cifar10_cpu(**overrides) -> SimCLRConfig:
    """CIFAR-10, narrow ResNet-18, under 20 minutes on 2 CPU cores.

    Reproduces: nothing published; ours, to learn from photographs on a laptop
    Command: python train.py simclr cifar10_cpu
    Published: nothing
    Hardware: 2 CPU cores
    Measured: 53.80 % k-NN and 56.39 % linear, 24.80 and 30.74 % untrained, in 15 min
        on 2 cores of an Intel Xeon (docs/measured.md)
    """
    config = SimCLRConfig(
        data="cifar10",
        image_size=32,
        views=(SMALL_IMAGES,) * 2,
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
    """CIFAR-10, the authors' command: ResNet-18, batch 512, 1000 epochs.

    Reproduces: google-research/simclr, README, CIFAR-10 with a single GPU
    Command: python train.py simclr cifar10
    Published: about 91 % linear top-1 (README)
    Hardware: one GPU (README); model and time not stated in the source
    Measured: not yet measured
    """
    view = dataclasses.replace(SMALL_IMAGES, crop_law="distorted_box")
    config = SimCLRConfig(
        data="cifar10",
        held_out=0,  # the published number learns from all 50,000
        image_size=32,
        views=(view,) * 2,
        encoder=EncoderConfig(name="resnet18", stem="small"),  # tf2/model.py: <= 32 px
        optimizer=OptimizerConfig(
            learning_rate=1.0,  # README
            weight_decay=1e-4,  # README; 1e-6 in that of v1, with the same 91 %
        ),
        batch_size=512,
        epochs=1000,
        temperature=0.5,  # README
        projector=(512, 512, 128),  # num_proj_layers=3, as wide as the representation
        directions="sum",  # tf2/objective.py
        knn_epochs=10,  # with --held_out=1000
        checkpoint_epochs=10,  # every few minutes
    )
    return dataclasses.replace(config, **overrides)


def cifar10_solo(**overrides) -> SimCLRConfig:
    """CIFAR-10 as in solo-learn: ResNet-18, batch 256, 1000 epochs.

    Reproduces: vturrisi/solo-learn, scripts/pretrain/cifar/simclr.yaml
    Command: python train.py simclr cifar10_solo
    Published: 90.74 % linear top-1, by a classifier trained beside (its README)
    Hardware: one GPU in float16 (simclr.yaml); model and time not stated in the source
    Measured: not yet measured
    """
    view = ViewConfig(  # augmentations/symmetric.yaml: jitter .8 .8 .8 .2, blur .5
        antialias=True,  # Pillow low-passes what it shrinks
        blur_size=0.4,  # 13 taps: Pillow's blur is not cut off at 3 as the reference's
    )
    config = SimCLRConfig(
        **SOLO_CIFAR10,
        views=(view,) * 2,
        optimizer=OptimizerConfig(
            learning_rate=0.4,  # simclr.yaml, times batch/256 in solo/args/pretrain.py
            weight_decay=1e-4,
            lars_form="popular",  # solo/utils/lars.py, as this and the next two
            trust_coefficient=0.02,
            trust_clip=True,
        ),
        temperature=0.2,
        projector=(2048, 256),
        projector_norm="none",  # solo/methods/simclr.py
    )
    return dataclasses.replace(config, **overrides)


def cifar10_lightly(**overrides) -> SimCLRConfig:
    """CIFAR-10 as in lightly: ResNet-18, SGD, batch 128, 200 epochs.

    Reproduces: lightly-ai/lightly, docs, cifar10_benchmark.py of 27 March 2023
    Command: python train.py simclr cifar10_lightly
    Published: 84.7 % k-NN (k 200, T .1, best epoch); 87.9 % with
        `--batch_size=512 --epochs=800` (lightly, docs, benchmarks.rst)
    Hardware: one NVIDIA RTX A6000, 98 min (331 min for 800 epochs)
    Measured: not yet measured
    """
    view = dataclasses.replace(
        SMALL_IMAGES,  # lightly's for CIFAR-10 too: cj_strength .5, no blur
        interpolation="bilinear",  # torchvision's default
        antialias=True,  # Pillow low-passes what it shrinks
    )
    config = SimCLRConfig(
        data="cifar10",
        held_out=0,  # the published number learns from all 50,000
        image_size=32,
        views=(view,) * 2,
        encoder=LIGHTLY_RESNET18,
        optimizer=OptimizerConfig(
            name="sgd",
            learning_rate=0.12,  # .06 for 128 images
            warmup_epochs=0.0,
            weight_decay=5e-4,  # theirs is on biases and norms too
        ),
        batch_size=128,
        epochs=200,
        temperature=0.5,  # NTXentLoss's default
        projector=(512, 128),
        projector_norm="none",  # its head had none before their pull request 1150
        knn_epochs=10,  # with --held_out=1000
        checkpoint_epochs=10,  # every few minutes
    )
    return dataclasses.replace(config, **overrides)


def stl10_cpu(**overrides) -> SimCLRConfig:
    """STL-10, a fifth of it at 96 px, narrow ResNet-18, 2 CPU cores.

    Reproduces: nothing published; ours, to learn from images that have no labels
    Command: python train.py simclr stl10_cpu
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


def stl10(**overrides) -> SimCLRConfig:
    """STL-10's unlabelled images at 96 px, ResNet-18, batch 512, one GPU.

    Reproduces: nothing published; ours, by the authors' advice for batches below 4096
        (issue 166)
    Command: python train.py simclr stl10
    Published: nothing
    Hardware: one GPU
    Measured: not yet measured
    """
    config = SimCLRConfig(
        data="stl10",
        split="unlabelled",  # 100,000 images; eval.py takes its train and test
        held_out=0,  # none of them has a label
        image_size=96,
        views=(V2_VIEW,) * 2,
        # The stem of ImageNet, as in solo-learn for STL-10 (solo/methods/base.py).
        encoder=EncoderConfig(name="resnet18"),
        optimizer=OptimizerConfig(
            learning_rate=1.2,  # .075 sqrt(batch), issue 166
            scaling="sqrt",
            weight_decay=1e-4,  # README
        ),
        batch_size=512,  # ours
        epochs=200,  # ours
        temperature=0.2,  # issue 166
        projector=(512, 512, 128),  # num_proj_layers=3, as wide as the representation
        directions="sum",  # tf2/objective.py
        precision="mixed_bfloat16",  # ours, for speed
        checkpoint_epochs=5,
    )
    return dataclasses.replace(config, **overrides)


def imagenette_cpu(**overrides) -> SimCLRConfig:
    """Imagenette at 96 px, narrow ResNet-18, 2 CPU cores.

    Reproduces: nothing published; ours, for photographs of a few classes
    Command: python train.py simclr imagenette_cpu
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


def imagenette(**overrides) -> SimCLRConfig:
    """Imagenette as in lightly: ResNet-18, SGD, batch 256, 800 epochs.

    Reproduces: lightly-ai/lightly, docs, imagenette_benchmark.py
    Command: python train.py simclr imagenette
    Published: 88.9 % k-NN (k 200, T .1, best epoch; lightly, docs, benchmarks.rst)
    Hardware: one NVIDIA RTX A6000, 194 min (lightly, docs, benchmarks.rst)
    Measured: not yet measured
    """
    view = ViewConfig(
        interpolation="bilinear",  # torchvision's default
        antialias=True,  # Pillow low-passes what it shrinks
        brightness=0.4,  # cj_strength .5
        contrast=0.4,
        saturation=0.4,
        hue=0.1,
    )
    config = SimCLRConfig(
        data="imagenette/160px-v2",
        held_out=0,  # the published number learns from all 9,469
        image_size=128,
        views=(view,) * 2,
        encoder=EncoderConfig(
            name="resnet18",  # torchvision's
            zero_init=False,  # torchvision's default
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
        ),
        optimizer=OptimizerConfig(
            name="sgd",
            learning_rate=0.06,
            warmup_epochs=0.0,
            weight_decay=5e-4,  # theirs is on biases and norms too
        ),
        batch_size=256,
        epochs=800,
        temperature=0.5,  # NTXentLoss's default
        projector=(512, 128),
        projector_norm="none",  # unverified: all have one since their pull request 1150
        knn_epochs=10,  # with --held_out=1000
        checkpoint_epochs=10,  # every few minutes
    )
    return dataclasses.replace(config, **overrides)


def folder_cpu(**overrides) -> SimCLRConfig:
    """A folder of photographs at 96 px, narrow ResNet-18, 2 CPU cores.

    Reproduces: nothing published; ours, for your own images on a laptop
    Command: python train.py simclr folder_cpu --data=~/photos
    Published: nothing
    Hardware: 2 CPU cores
    Measured: 37.30 % k-NN (k 20) and 45.10 % linear, 25.70 and 32.40 % untrained, on
        3,000 photographs of Imagenette with `--epochs=8`; 2 min 11 s on 2 cores of an
        Intel Xeon
    """
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


def folder_edge(**overrides) -> SimCLRConfig:
    """A folder at 96 px, MobileNetV3Small for devices, 2 CPU cores.

    Reproduces: nothing published; ours, for encoders that shall run on devices
    Command: python train.py simclr folder_edge --data=~/photos
    Published: nothing
    Hardware: 2 CPU cores
    Measured: 41.50 % k-NN (k 20) and 47.40 % linear, 26.70 and 10.00 % untrained, on
        3,000 photographs of Imagenette, 6 min 41 s; 31.70 and 38.80 % with
        `--encoder.name=EfficientNetB0`, 31 min; both on 2 cores of an AMD EPYC
    """
    # Networks as deep and thin as these stay at the loss of chance for epochs on the
    # views of folder_cpu: EfficientNetB0 at 4.86 of 4.84 after 5, 4.17 on these.
    view = dataclasses.replace(SMALL_IMAGES, crop_area=(0.25, 1.0), blur=0.5)
    config = SimCLRConfig(
        data="",  # --data=FOLDER
        image_size=96,
        views=(view,) * 2,
        encoder=EncoderConfig(name="MobileNetV3Small"),
        optimizer=OptimizerConfig(
            name="adam",
            learning_rate=0.004,  # .001 for 64 images
            weight_decay=1e-6,
            warmup_epochs=0.5,
        ),
        batch_size=64,  # more steps an epoch, of which a small folder has few
        epochs=40,
        temperature=0.2,
        projector=(256, 128),
        knn_epochs=5,
        checkpoint_epochs=5,
    )
    return dataclasses.replace(config, **overrides)


def folder(**overrides) -> SimCLRConfig:
    """A folder of photographs at 224 px, ResNet-50, batch 256, one GPU.

    Reproduces: nothing published; ours, by the authors' advice for batches below 4096
        (issue 166)
    Command: python train.py simclr folder --data=~/photos
    Published: nothing
    Hardware: one GPU
    Measured: not yet measured
    """
    config = SimCLRConfig(
        data="",  # --data=FOLDER
        image_size=224,
        views=(V2_VIEW,) * 2,
        optimizer=OptimizerConfig(
            learning_rate=1.2,  # .075 sqrt(batch), issue 166
            scaling="sqrt",
            weight_decay=1e-4,  # README
        ),
        batch_size=256,  # ours
        epochs=200,  # ours
        temperature=0.2,  # issue 166
        projector=(2048, 2048, 128),  # num_proj_layers=3, proj_out_dim=128
        directions="sum",  # tf2/objective.py
        precision="mixed_bfloat16",  # ours, for speed
        knn_epochs=10,
        checkpoint_epochs=5,
    )
    return dataclasses.replace(config, **overrides)


def imagenet(**overrides) -> SimCLRConfig:
    """ImageNet, SimCLR v1: ResNet-50, batch 4096, 100 epochs.

    Reproduces: google-research/simclr, README, ImageNet with Cloud TPUs, as of v1
    Command: python train.py simclr imagenet --data_dir=/data/tfds
    Published: about 64.5 % linear top-1 (README; a number of v1, says issue 119)
    Hardware: 32 TPU v3, about 6 h (README)
    Measured: not yet measured
    """
    config = SimCLRConfig(
        **ON_IMAGENET,
        views=(V1_VIEW,) * 2,
        encoder=EncoderConfig(name="resnet50"),
        optimizer=OptimizerConfig(
            learning_rate=0.3,  # 4.8 at 4096, as .075 sqrt(batch) is
            warmup_epochs=10.0,  # run.py
            weight_decay=1e-6,  # v1's; the README has had v2's 1e-4 since v2 came out
        ),
        batch_size=4096,
        epochs=100,
        temperature=0.1,  # README
        projector=(2048, 128),  # two layers (issue 4; num_nlh_layers=1 in v1's run.py)
        directions="sum",  # objective.py
    )
    return dataclasses.replace(config, **overrides)


def imagenet_1000(**overrides) -> SimCLRConfig:
    """ImageNet, SimCLR v1: ResNet-50, batch 4096, 1000 epochs.

    Reproduces: Chen et al. 2020a, by the command of 100 epochs, only longer (issue 56)
    Command: python train.py simclr imagenet_1000 --data_dir=/data/tfds
    Published: 69.1 % linear top-1; wider, 74.2 % by
        `--encoder.width=2 --projector 4096 128` and 76.6 % by
        `--encoder.width=4 --projector 8192 128` (README)
    Hardware: 32 to 128 TPU v3 cores; 1.5 h for 100 epochs on 128 (Chen et al. 2020a)
    Measured: not yet measured
    """
    config = dataclasses.replace(imagenet(), epochs=1000)
    return dataclasses.replace(config, **overrides)


def imagenet_v2(**overrides) -> SimCLRConfig:
    """ImageNet, SimCLR v2: ResNet-50, batch 4096, 800 epochs.

    Reproduces: Chen et al. 2020b, section 3.1, but for the memory of negatives, which
        the authors' code lacks too
    Command: python train.py simclr imagenet_v2 --data_dir=/data/tfds
    Published: 71.7 % linear top-1 with a memory of negatives (Chen et al. 2020b, table
        1), 71.1 % without (issue 77)
    Hardware: 128 Cloud TPUs (Chen et al. 2020b, section 3.1); time not stated in the
        source
    Measured: not yet measured
    """
    config = SimCLRConfig(
        **ON_IMAGENET,
        views=(V2_VIEW,) * 2,
        encoder=EncoderConfig(name="resnet50"),
        optimizer=OptimizerConfig(
            learning_rate=1.6,  # .1 sqrt(batch): 6.4 at 4096 (section 3.1, issue 77)
            scaling="sqrt",
            warmup_epochs=40.0,  # 5 % of 800 (section 3.1, issue 77)
            weight_decay=1e-4,  # README
        ),
        batch_size=4096,
        epochs=800,
        temperature=0.1,  # the flag's default and the README's; for 800 unverified
        projector=(2048, 2048, 128),  # as wide as the representation but for the last
        directions="sum",  # tf2/objective.py
    )
    return dataclasses.replace(config, **overrides)


def imagenet_v2_sk(**overrides) -> SimCLRConfig:
    """ImageNet, SimCLR v2: ResNet-50 with selective kernels.

    Reproduces: Chen et al. 2020b, table 1, ResNet-50 1x SK, without that memory
    Command: python train.py simclr imagenet_v2_sk --data_dir=/data/tfds
    Published: 74.6 % linear top-1 with a memory of negatives (Chen et al. 2020b, table
        1)
    Hardware: 128 Cloud TPUs (Chen et al. 2020b, section 3.1); time not stated in the
        source
    Measured: not yet measured
    """
    config = dataclasses.replace(
        imagenet_v2(),
        encoder=EncoderConfig(name="resnet50", sk_ratio=0.0625),  # tf2/run.py
    )
    return dataclasses.replace(config, **overrides)


def imagenet_v2_wide(**overrides) -> SimCLRConfig:
    """ImageNet, SimCLR v2: ResNet-50, twice as wide, selective kernels.

    Reproduces: Chen et al. 2020b, table 1, ResNet-50 2x SK, without that memory
    Command: python train.py simclr imagenet_v2_wide --data_dir=/data/tfds
    Published: 77.7 % linear top-1 with a memory of negatives (Chen et al. 2020b, table
        1)
    Hardware: 128 Cloud TPUs (Chen et al. 2020b, section 3.1); time not stated in the
        source
    Measured: not yet measured
    """
    config = dataclasses.replace(
        imagenet_v2(),
        encoder=EncoderConfig(name="resnet50", width=2.0, sk_ratio=0.0625),
        projector=(4096, 4096, 128),  # as wide as the representation (tf2/model.py)
    )
    return dataclasses.replace(config, **overrides)


def imagenet_v2_deep(**overrides) -> SimCLRConfig:
    """ImageNet, SimCLR v2: ResNet-101.

    Reproduces: Chen et al. 2020b, table 1, ResNet-101 1x, without that memory
    Command: python train.py simclr imagenet_v2_deep --data_dir=/data/tfds
    Published: 73.6 % linear top-1 with a memory of negatives (Chen et al. 2020b, table
        1)
    Hardware: 128 Cloud TPUs (Chen et al. 2020b, section 3.1); time not stated in the
        source
    Measured: not yet measured
    """
    config = dataclasses.replace(imagenet_v2(), encoder=EncoderConfig(name="resnet101"))
    return dataclasses.replace(config, **overrides)


def imagenet_v2_big(**overrides) -> SimCLRConfig:
    """ImageNet, SimCLR v2: ResNet-152, thrice as wide, selective kernels.

    Reproduces: Chen et al. 2020b, table 1, ResNet-152 3x SK, without that memory
    Command: python train.py simclr imagenet_v2_big --data_dir=/data/tfds
    Published: 79.8 % linear top-1 with a memory of negatives (Chen et al. 2020b, table
        1)
    Hardware: 128 Cloud TPUs (Chen et al. 2020b, section 3.1); time not stated in the
        source
    Measured: not yet measured
    """
    config = dataclasses.replace(
        imagenet_v2(),
        encoder=EncoderConfig(name="resnet152", width=3.0, sk_ratio=0.0625),
        projector=(6144, 6144, 128),  # as wide as the representation (tf2/model.py)
    )
    return dataclasses.replace(config, **overrides)
