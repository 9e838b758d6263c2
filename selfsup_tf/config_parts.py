"""The parts of a config: the views, the encoder and the optimizer of a run."""

import dataclasses
import math
import re
from typing import ClassVar, Literal

from selfsup_tf.errors import check, nearest
from selfsup_tf.fields import check_fields

Interval = tuple[float, float]


PRETRAINED = "pretrained"
"""The name of an encoder that is another run's."""


def check_probability(name: str, value: float) -> None:
    check(
        0 <= value <= 1,
        f"{name} to be a probability in [0, 1]",
        value,
        f"Give {name} a value between 0 and 1.",
    )


def check_positive(name: str, value: float) -> None:
    check(
        0 < value < math.inf,
        f"{name} above 0 and finite",
        value,
        f"Give {name} a positive value.",
    )


def check_not_negative(name: str, value: float) -> None:
    check(
        0 <= value < math.inf,
        f"{name} of 0 or more and finite",
        value,
        f"Give {name} 0 or more.",
    )


def check_interval(name: str, value: Interval, low: float, high: float) -> None:
    check(
        len(value) == 2 and low <= value[0] <= value[1] <= high,
        f"{name} to be two rising numbers within [{low}, {high}]",
        value,
        f"Give {name} its lower and its upper bound, in this order.",
    )


@dataclasses.dataclass(frozen=True)
class ViewConfig:
    """The distribution one view of an image is drawn from.

    The operations are applied in the order of the fields. Probabilities are per image.
    The defaults are SimCLR's for ImageNet but for the law of the crops
    (google-research/simclr, tf2/data_util.py).
    """

    crop_area: Interval = (0.08, 1.0)
    """Bounds of the share of the image's area that a crop covers."""
    crop_aspect: Interval = (3 / 4, 4 / 3)
    """Width over height of a crop, in pixels."""
    crop_law: Literal["log_uniform", "log_uniform_clipped", "distorted_box"] = (
        "log_uniform"
    )
    """log_uniform: area uniform, aspect log-uniform, drawn again until it fits
    (torchvision); log_uniform_clipped: drawn once, its sides cut down to the image's
    (BYOL); distorted_box: aspect uniform, then the height, at least a tenth of the
    image covered: TensorFlow's sample_distorted_bounding_box (SimCLR)."""
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    """How a crop is resized."""
    antialias: bool = False
    """Whether a crop is low-pass filtered when it is shrunk."""
    flip: float = 0.5
    """Probability of a horizontal flip."""
    jitter: float = 0.8
    """Probability of the colour jitter."""
    brightness: float = 0.8
    """Half-width of the brightness factor's (or shift's) range."""
    brightness_mode: Literal["multiply", "add"] = "multiply"
    """SimCLR v2 multiplies, SimCLR v1 and BYOL add."""
    contrast: float = 0.8
    """Half-width of the contrast factor's range around 1."""
    saturation: float = 0.8
    """Half-width of the saturation factor's range around 1."""
    hue: float = 0.2
    """Largest shift of the hue, in turns."""
    grayscale: float = 0.2
    """Probability of dropping the colours."""
    blur: float = 0.5
    """Probability of a Gaussian blur."""
    blur_sigma: Interval = (0.1, 2.0)
    """Standard deviation of the blur, in pixels of the view, drawn uniformly."""
    blur_size: float = 0.1
    """Length of the blur's kernel as a share of the view's height."""
    solarize: float = 0.0
    """Probability of inverting the pixels at or above the threshold."""
    solarize_threshold: float = 0.5
    """Threshold of solarize, in [0, 1]."""
    rotate90: float = 0.0
    """Probability of a turn by 90, 180 or 270 degrees."""
    rotation: float = 0.0
    """Largest rotation to either side, in degrees."""

    def __post_init__(self):
        check_fields(self)
        check_interval("crop_area", self.crop_area, 1e-6, 1)
        check_interval("crop_aspect", self.crop_aspect, 1e-3, 1e3)
        check(
            self.crop_law != "distorted_box" or self.crop_area[1] > 0.1,
            "crop_area up to more than .1, since a distorted box covers that at least",
            self.crop_area,
            "Raise its upper bound, or choose another crop_law.",
        )
        check_interval("blur_sigma", self.blur_sigma, 1e-3, 1e3)
        for name in ("flip", "jitter", "grayscale", "blur", "solarize", "rotate90"):
            check_probability(name, getattr(self, name))
        for name in ("brightness", "contrast", "saturation", "rotation", "blur_size"):
            check_not_negative(name, getattr(self, name))
        check_interval("hue", (0, self.hue), 0, 0.5)
        check_interval("solarize_threshold", (0, self.solarize_threshold), 0, 1)


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
        ours = (*self.RESNETS, *self.VITS)
        check(
            self.name in ours or not re.fullmatch(r"resnet\d+|vit_\w+", self.name),
            "the name of an encoder",
            repr(self.name),
            nearest(self.name, ours),
        )
        if self.name == PRETRAINED:
            return  # what stands beside it is refused where the run is named
        if self.name not in self.RESNETS:
            options = ("width", "stem", "sk_ratio", "se_ratio", "zero_init")
            self._check_defaults(options, self.RESNETS)
        if self.name not in self.VITS:
            self._check_defaults(("patch_size",), self.VITS)
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

    def _check_defaults(self, options: tuple[str, ...], networks: tuple[str, ...]):
        # All at once: a recipe may have set several that another network lacks.
        moved = [o for o in options if getattr(self, o) != getattr(EncoderConfig, o)]
        flags = [f"--encoder.{o}={getattr(EncoderConfig, o)}" for o in moved]
        check(
            not moved,
            f"{' '.join(flags)} for the encoder {self.name}",
            ", ".join(str(getattr(self, o)) for o in moved),
            f"Only {', '.join(networks)} take other values: choose one of them with "
            f"--encoder.name, or give {' '.join(flags)}.",
        )


IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """How the weights follow their gradients."""

    name: Literal["lars", "sgd", "adam", "adamw", "rmsprop", "lamb"] = "lars"
    """lars is the papers'; the others are Keras's."""
    learning_rate: float = 0.3
    """Per 256 images of the global batch."""
    scaling: Literal["linear", "sqrt", "none"] = "linear"
    """How the rate grows with the batch: by batch/256, by its root, or not."""
    warmup_epochs: float = 10.0
    """Epochs in which the rate rises linearly from 0."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """What the rate does after the warm-up."""
    weight_decay: float = 1e-6
    """Decoupled for adamw and lamb, coupled into the gradient for the others."""
    momentum: float = 0.9
    """Momentum of lars, sgd and rmsprop."""
    nesterov: bool = False
    """Whether sgd looks ahead."""
    lars_form: Literal["classic", "popular"] = "classic"
    """Whether the rate enters the velocity (SimCLR) or the update (BYOL)."""
    trust_coefficient: float = 0.001
    """eta of lars: how large an update may be beside its weights."""
    trust_clip: bool = False
    """Whether lars keeps the learning rate times the trust at the rate or below, as
    solo-learn does: its effective rate is the smaller of trust and rate."""
    clip_norm: float | None = None
    """Largest global norm of the gradient; longer ones are scaled down."""

    def __post_init__(self):
        check_fields(self)
        check_positive("optimizer.learning_rate", self.learning_rate)
        check_not_negative("optimizer.weight_decay", self.weight_decay)
        check_not_negative("optimizer.warmup_epochs", self.warmup_epochs)
        check_positive("optimizer.trust_coefficient", self.trust_coefficient)
        check_interval("optimizer.momentum", (0, self.momentum), 0, 1)
        if self.clip_norm is not None:
            check_positive("optimizer.clip_norm", self.clip_norm)
