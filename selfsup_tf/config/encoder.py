"""The network of a config."""

import dataclasses
from typing import ClassVar, Literal

from selfsup_tf.config.checks import (
    check_defaults,
    check_not_negative,
    check_positive,
)
from selfsup_tf.errors import check, nearest
from selfsup_tf.fields import check_fields
from selfsup_tf.installed import application_names

PRETRAINED = "pretrained"
"""The name of an encoder that is another run's."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """The network f that turns an image into its representation h.

    An option that does not apply to the network is refused; only mean and std may stand
    beside a network of keras.applications, which has its own.
    """

    BASIC_RESNETS: ClassVar[tuple[str, ...]] = ("resnet18", "resnet34")
    RESNETS: ClassVar[tuple[str, ...]] = (
        *BASIC_RESNETS,
        "resnet50",
        "resnet101",
        "resnet152",
        "resnet200",
    )
    VITS: ClassVar[tuple[str, ...]] = ("vit_tiny", "vit_small", "vit_base", "vit_large")

    name: str = "resnet50"
    """resnet18, 34, 50, 101, 152, 200 (ours); vit_tiny, small, base, large (of
    keras-hub, the extra "hub"); or a name of keras.applications, such as ResNet50V2 or
    MobileNetV3Small, which bring their own input scaling in place of mean and std;
    their dropout is turned off."""
    width: float = 1.0
    """Multiplies the channels of a ResNet; may be below 1."""
    stem: Literal["imagenet", "small", "small_stride2"] = "imagenet"
    """A ResNet's first layers: 7x7 stride 2 and a max-pool, or 3x3 stride 1, or 3x3
    stride 2; the last two for images of 32 to 64 pixels."""
    sk_ratio: float = 0.0
    """Selective kernels of a ResNet of bottlenecks, with the stem and the shortcuts of
    ResNet-D: channels of the layer that mixes them, as a share; .0625 in SimCLR v2."""
    se_ratio: float = 0.0
    """Squeeze-and-excitation of a ResNet: channels of its inner layer, as a share."""
    zero_init: bool = True
    """Whether a ResNet's residual blocks start as the identity, their last gamma 0."""
    patch_size: int = 16
    """Height and width of a ViT's patches, in pixels."""
    fixed_embedding: bool = False
    """Whether a ViT's patches are embedded by a random projection that stays as it is,
    also when the network is fine-tuned, and their positions by sines and cosines: MoCo
    v3. A file of weights brings its own numbers for both, which stay."""
    weights: str | None = None
    """A file of weights of this network, for keras.applications also "imagenet"."""
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Subtracted from the channels of the image, in [0, 1]."""
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Divides the channels of the image after the mean is subtracted."""

    def __post_init__(self):
        check_fields(self)
        check_positive("encoder.width", self.width)
        check_not_negative("encoder.sk_ratio", self.sk_ratio)
        check_not_negative("encoder.se_ratio", self.se_ratio)
        check_positive("encoder.patch_size", self.patch_size)
        for value in self.std:
            check_positive("std", value)
        ours, applications = (*self.RESNETS, *self.VITS), application_names()
        check(
            self.name in (PRETRAINED, *ours)
            or self.name.lower() in map(str.lower, applications)
            or self.name.startswith("(")  # of one from Python
            or not applications,
            "the name of an encoder",
            repr(self.name),
            nearest(self.name, (*ours, *applications)),
        )
        if self.name == PRETRAINED:
            return  # what stands beside it is refused where the run is named
        of_a_resnet = ("width", "stem", "sk_ratio", "se_ratio", "zero_init")
        options = dict.fromkeys(of_a_resnet, self.RESNETS)
        options |= dict.fromkeys(("patch_size", "fixed_embedding"), self.VITS)
        check_defaults(self, "encoder", options)
        check(
            self.sk_ratio == 0 or self.name not in self.BASIC_RESNETS,
            f"encoder.sk_ratio of 0 for {self.name}, which has no bottleneck blocks",
            self.sk_ratio,
            "Use --encoder.name=resnet50 or a deeper one, or --encoder.sk_ratio=0.",
        )
        check(
            self.weights != "imagenet" or self.name not in ours,
            f"encoder.weights of {self.name} to be a file",
            "imagenet",
            "Keras has ImageNet weights for its own: --encoder.name=ResNet50.",
        )

    def unheeded(self) -> dict[str, str]:
        """Fields that have no effect beside the others' values: `Config.unheeded`."""
        if self.name in (PRETRAINED, *self.RESNETS, *self.VITS):
            return {}
        return dict.fromkeys(
            ("mean", "std"), "with a network that does not scale its input"
        )
