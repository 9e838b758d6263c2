"""Parts of recipes that several methods share, each with its source.

"Ours" marks what no source gives.
"""

import dataclasses

from selfsup_tf.config.encoder import IMAGENET_MEAN, IMAGENET_STD, EncoderConfig
from selfsup_tf.config.optimizer import OptimizerConfig
from selfsup_tf.config.view import ViewConfig

CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2470, 0.2435, 0.2616)

SMALL_IMAGES = ViewConfig(
    brightness=0.4,  # strength .5 of 1, the reference's for CIFAR-10
    contrast=0.4,
    saturation=0.4,
    hue=0.1,
    blur=0.0,  # 32 px are blurred enough
)
"""SimCLR's views of CIFAR-10: google-research/simclr, README."""

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
"""Ours, for the built-in shapes."""

NARROW = EncoderConfig(name="resnet18", width=0.25, stem="small_stride2")
"""Ours: what two CPU cores train in minutes at 32 px."""

CPU_SGD = OptimizerConfig(
    name="sgd",  # LARS pays at large batches only
    learning_rate=0.12,  # lightly's .06 for 128 images, as its decay
    momentum=0.9,
    weight_decay=5e-4,
    warmup_epochs=0.5,  # a short run has no ten epochs to spare
)

SOLO_RESNET18 = EncoderConfig(
    name="resnet18",
    stem="small",  # solo/methods/base.py; its padding of 2 gives 34 px, ours 32
    zero_init=False,  # torchvision's default
    mean=CIFAR10_MEAN,  # solo/data/pretrain_dataloader.py
    std=CIFAR10_STD,
)
"""vturrisi/solo-learn's for CIFAR-10."""

LIGHTLY_RESNET18 = EncoderConfig(
    name="resnet18",
    stem="small",  # lightly's ResNetGenerator
    zero_init=False,  # PyTorch's default
    mean=IMAGENET_MEAN,  # its transforms normalise by these, CIFAR-10 too
    std=IMAGENET_STD,
)
"""lightly-ai/lightly's for CIFAR-10: docs, cifar10_benchmark.py."""

SOLO_VIEW = ViewConfig(  # augmentations/asymmetric.yaml
    antialias=True,  # Pillow low-passes what it shrinks
    brightness=0.4,  # multiplies, as torchvision does
    contrast=0.4,
    saturation=0.2,
    hue=0.1,
    blur=0.0,
)
"""vturrisi/solo-learn's view of CIFAR-10 that its asymmetric pairs are made of."""

SOLO_LARS = OptimizerConfig(
    learning_rate=0.3,
    weight_decay=1e-4,
    lars_form="popular",  # solo/utils/lars.py, as this and the next two
    trust_coefficient=0.02,
    trust_clip=True,
)
"""vturrisi/solo-learn's for CIFAR-10; a rate follows batch/256 in its args."""

TORCHVISION_VIEW = ViewConfig(
    interpolation="bicubic",
    antialias=True,  # Pillow low-passes what it shrinks
    brightness=0.4,
    contrast=0.4,
    saturation=0.2,
    hue=0.1,
    blur=1.0,
)
"""BYOL's first view of ImageNet as PyTorch's codes draw it: brightness multiplies."""

MOCO_VIEW = ViewConfig(
    antialias=True,  # Pillow low-passes what it shrinks
    interpolation="bilinear",  # torchvision's default
    crop_area=(0.2, 1.0),
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    hue=0.1,
    blur=0.5,
)
"""MoCo v2's view of ImageNet, which SimSiam has, too."""

# What recipes of one kind have alike, as fields of their configs.

ON_SHAPES = {
    "data": "shapes",
    "image_size": 32,
    "views": (DRAWN_SHAPES,) * 2,
    "encoder": NARROW,
    "epochs": 18,
    "held_out": 500,
    "knn_epochs": 5,
    "checkpoint_epochs": 5,
}
"""Ours: of the built-in shapes, in minutes."""

ON_CIFAR10 = {
    "data": "cifar10",
    "image_size": 32,
    "views": (SMALL_IMAGES,) * 2,
    "encoder": dataclasses.replace(NARROW, mean=CIFAR10_MEAN, std=CIFAR10_STD),
    "knn_epochs": 2,
}
"""Ours: of CIFAR-10 on two CPU cores."""

ON_FOLDER = {
    "data": "",  # --data=FOLDER
    "image_size": 96,
    "encoder": EncoderConfig(
        name="resnet18", width=0.25, mean=IMAGENET_MEAN, std=IMAGENET_STD
    ),
    "batch_size": 128,
    "epochs": 20,
    "knn_epochs": 5,
    "checkpoint_epochs": 5,
}
"""Ours: of a folder of photographs on two CPU cores."""

_PUBLISHED = {
    "held_out": 0,  # the published numbers learn from all images
    "knn_epochs": 10,  # with --held_out=1000
}

_PUBLISHED_CIFAR10 = {
    **_PUBLISHED,
    "data": "cifar10",
    "image_size": 32,
    "checkpoint_epochs": 10,  # every few minutes
}

SOLO_CIFAR10 = {
    **_PUBLISHED_CIFAR10,
    "encoder": SOLO_RESNET18,
    "batch_size": 256,
    "epochs": 1000,
}
"""vturrisi/solo-learn, scripts/pretrain/cifar/."""

LIGHTLY_CIFAR10 = {
    **_PUBLISHED_CIFAR10,
    "encoder": LIGHTLY_RESNET18,
    "optimizer": OptimizerConfig(
        name="sgd",
        learning_rate=0.12,  # their .06 for 128 images
        momentum=0.9,
        weight_decay=5e-4,  # theirs is on biases and norms too
        warmup_epochs=0.0,
    ),
    "batch_size": 128,
    "epochs": 200,
}
"""lightly-ai/lightly, docs, cifar10_benchmark.py."""

ON_IMAGENET = {
    **_PUBLISHED,
    "data": "imagenet2012",
    "image_size": 224,
    "precision": "mixed_bfloat16",  # ours, for memory
}
