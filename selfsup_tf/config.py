"""What a run is made of: frozen dataclasses, their checks, and the plan of a run.

Nothing here imports TensorFlow, so that a mistake in a flag is reported at once.
Batch sizes are global (over all replicas), learning rates are per 256 images, and a
duration is counted in epochs or in steps, never in both.
"""

import dataclasses
import math
import re
from typing import Any, ClassVar, Literal

from selfsup_tf.errors import check, nearest
from selfsup_tf.fields import check_fields

Interval = tuple[float, float]


FROM_PYTHON = "(given in Python)"
"""Stands in a config for what has no name on disk: arrays, a network."""

PRETRAINED = "pretrained"
"""The name of an encoder that is another run's."""


def _check_probability(name: str, value: float) -> None:
    check(
        0 <= value <= 1,
        f"{name} to be a probability in [0, 1]",
        value,
        f"Give {name} a value between 0 and 1.",
    )


def _check_positive(name: str, value: float) -> None:
    check(
        0 < value < math.inf,
        f"{name} above 0 and finite",
        value,
        f"Give {name} a positive value.",
    )


def _check_not_negative(name: str, value: float) -> None:
    check(
        0 <= value < math.inf,
        f"{name} of 0 or more and finite",
        value,
        f"Give {name} 0 or more.",
    )


def _check_interval(name: str, value: Interval, low: float, high: float) -> None:
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
        _check_interval("crop_area", self.crop_area, 1e-6, 1)
        _check_interval("crop_aspect", self.crop_aspect, 1e-3, 1e3)
        check(
            self.crop_law != "distorted_box" or self.crop_area[1] > 0.1,
            "crop_area up to more than .1, since a distorted box covers that at least",
            self.crop_area,
            "Raise its upper bound, or choose another crop_law.",
        )
        _check_interval("blur_sigma", self.blur_sigma, 1e-3, 1e3)
        for name in ("flip", "jitter", "grayscale", "blur", "solarize", "rotate90"):
            _check_probability(name, getattr(self, name))
        for name in ("brightness", "contrast", "saturation", "rotation", "blur_size"):
            _check_not_negative(name, getattr(self, name))
        _check_interval("hue", (0, self.hue), 0, 0.5)
        _check_interval("solarize_threshold", (0, self.solarize_threshold), 0, 1)


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
    MobileNetV3Small, which bring their own input scaling in place of mean and std."""
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
        _check_positive("encoder.width", self.width)
        _check_not_negative("encoder.sk_ratio", self.sk_ratio)
        _check_not_negative("encoder.se_ratio", self.se_ratio)
        _check_positive("encoder.patch_size", self.patch_size)
        for value in self.std:
            _check_positive("std", value)
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
        _check_positive("optimizer.learning_rate", self.learning_rate)
        _check_not_negative("optimizer.weight_decay", self.weight_decay)
        _check_not_negative("optimizer.warmup_epochs", self.warmup_epochs)
        _check_positive("optimizer.trust_coefficient", self.trust_coefficient)
        _check_interval("optimizer.momentum", (0, self.momentum), 0, 1)
        if self.clip_norm is not None:
            _check_positive("optimizer.clip_norm", self.clip_norm)


def operational(default: Any) -> Any:
    """A field that may change between a run and its resumption."""
    return dataclasses.field(default=default, metadata={"operational": True})


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything a pretraining run depends on. Each method extends it once."""

    method: ClassVar[str]
    required: ClassVar[dict[str, str]] = {
        "data": "Name a folder, an .npz file or a TFDS data set: --data=~/photos"
    }
    """The fields that a recipe may leave empty for the user to fill, with advice."""

    data: str = "shapes"
    """A TFDS name, a folder of images, an .npz file, or shapes (drawn by us)."""
    split: str = "train"
    """Which part of the data to learn from."""
    held_out: int = 1000
    """Labelled images that are kept from training for the online k-NN; at most a
    tenth of the data."""
    image_size: int = 224
    """Height and width of a view, in pixels."""
    view_1: ViewConfig = ViewConfig()
    """The first view of every image."""
    view_2: ViewConfig = ViewConfig()
    """The second view of every image."""
    encoder: EncoderConfig = EncoderConfig()
    """The network that is learned and kept."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """How it is learned."""
    batch_size: int = 4096
    """Images in a step, over all replicas."""
    accumulate: int = 1
    """Micro-batches that a step is made of, one after the other, to save memory. The
    gradient is that of the whole batch; BatchNorm sees a micro-batch at a time."""
    epochs: float | None = 100.0
    """Passes over the data; none where steps are given."""
    steps: int | None = None
    """Updates of the weights, in place of epochs."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16", "float64"] = (
        "float32"
    )
    """What the network computes in; the weights and the loss of the mixed ones are
    float32. float64 is for proofs."""
    seed: int = 0
    """All that is random follows from it."""

    data_dir: str | None = operational(None)
    """Where TFDS keeps its data."""
    strategy: Literal["auto", "one_device", "mirrored", "multi_worker", "tpu"] = (
        operational("auto")
    )
    """auto takes what there is: the workers of TF_CONFIG or of a SLURM step, the TPU
    that --tpu names, all GPUs of this machine, or one device."""
    tpu: str | None = operational(None)
    """Name of the TPU, or local on a machine that has one."""
    collectives: Literal["auto", "ring", "nccl"] = operational("auto")
    """What carries sums between workers; auto lets TensorFlow choose."""
    worker_timeout: float = operational(300.0)
    """Seconds to wait at the start for the workers of a run, until all are there."""
    jit_compile: bool = operational(False)
    """Whether XLA compiles the step; on a TPU it always does."""
    remat: bool = operational(False)
    """Whether the activations within the blocks of a network are computed again in the
    backward pass: less memory for a third more time."""
    augment_on: Literal["host", "device"] = operational("host")
    """Where views are drawn: on the host, or, from uint8 images, on the device."""
    steps_per_call: int = operational(10)
    """Steps between two visits of the host."""
    checkpoint_epochs: float = operational(1.0)
    """Epochs between two checkpoints."""
    knn_epochs: float = operational(1.0)
    """Epochs between two online k-NN evaluations."""

    def __post_init__(self):
        check_fields(self)
        check(
            0 <= self.seed < 2**32,
            "seed within [0, 2^32)",
            self.seed,
            "Any whole number in it will do.",
        )
        for name in ("image_size", "batch_size", "accumulate", "steps_per_call"):
            _check_positive(name, getattr(self, name))
        for name in ("checkpoint_epochs", "knn_epochs", "worker_timeout"):
            _check_positive(name, getattr(self, name))
        _check_not_negative("held_out", self.held_out)
        check(
            self.batch_size >= 2,
            "batch_size of 2 or more",
            self.batch_size,
            "A contrast needs two images; choose a larger batch.",
        )
        check_divisible(self.batch_size, 1, self.accumulate)
        check(
            self.tpu is None or self.strategy in ("auto", "tpu"),
            f"no --tpu beside --strategy={self.strategy}",
            self.tpu,
            "Leave one of them out.",
        )
        check(
            (self.epochs is None) != (self.steps is None),
            "one of epochs and steps",
            f"epochs={self.epochs}, steps={self.steps}",
            "Leave one of them out (None).",
        )
        for name in ("epochs", "steps"):
            if getattr(self, name) is not None:
                _check_positive(name, getattr(self, name))


def check_divisible(batch_size: int, replicas: int, accumulate: int = 1) -> None:
    """Raises InputError unless all replicas get equal parts of every micro-batch."""
    parts = replicas * accumulate
    below = batch_size // parts * parts
    among = f"the {replicas} replicas"
    if accumulate > 1:
        among = f"accumulate={accumulate}"
        among += f" times {replicas} replicas, {parts}" if replicas > 1 else ""
    check(
        batch_size % parts == 0,
        f"a batch_size divisible by {among}",
        batch_size,
        f"The nearest that are: {f'{below} and ' if below else ''}{below + parts}.",
    )


def check_complete(config: Config) -> None:
    """Raises InputError where a field that the recipe leaves to the user is empty."""
    for name, advice in config.required.items():
        check(getattr(config, name) != "", f"--{name}", "nothing", advice)


@dataclasses.dataclass(frozen=True)
class Plan:
    """The numbers that follow from a config and the size of its data, in steps.

    Attributes:
        steps_per_epoch: Full batches in the data; the rest of an epoch is dropped.
        total_steps: Length of the run.
        warmup_steps: Length of the warm-up.
        learning_rate: The rate after the warm-up.
        checkpoint_steps: Steps between two checkpoints.
        knn_steps: Steps between two online k-NN evaluations.
    """

    steps_per_epoch: int
    total_steps: int
    warmup_steps: int
    learning_rate: float
    checkpoint_steps: int
    knn_steps: int


def make_plan(config: Config, num_images: int) -> Plan:
    """Turns epochs into steps and the base rate into the rate of this batch, once.

    Args:
        config: The run's config.
        num_images: Images that the run learns from.

    Raises:
        InputError: The batch is larger than the data, or the warm-up than the run.
    """
    check(
        config.batch_size <= num_images,
        f"a batch no larger than the data ({num_images} images)",
        f"batch_size={config.batch_size}",
        f"Use --batch_size={num_images} or less, or more images.",
    )
    per_epoch = num_images // config.batch_size
    if config.steps is not None:
        total = config.steps
    else:
        total = max(1, round(config.epochs * per_epoch))
    warmup = round(config.optimizer.warmup_epochs * per_epoch)
    check(
        warmup < total or warmup == 0,
        f"a warm-up shorter than the run ({total} steps)",
        f"optimizer.warmup_epochs={config.optimizer.warmup_epochs} ({warmup} steps)",
        "Train for longer, or lower --optimizer.warmup_epochs.",
    )
    ratio = config.batch_size / 256
    scale = {"linear": ratio, "sqrt": math.sqrt(ratio), "none": 1.0}
    return Plan(
        steps_per_epoch=per_epoch,
        total_steps=total,
        warmup_steps=warmup,
        learning_rate=config.optimizer.learning_rate * scale[config.optimizer.scaling],
        checkpoint_steps=max(1, round(config.checkpoint_epochs * per_epoch)),
        knn_steps=max(1, round(config.knn_epochs * per_epoch)),
    )


def to_dict(config: Config) -> dict[str, Any]:
    """The config as plain values, with the method's name under "method"."""
    return {"method": config.method, **dataclasses.asdict(config)}


def differences(config: Config, stored: dict[str, Any]) -> list[str]:
    """Lines naming the fields of `config` that differ from those of a stored run.

    Operational fields (where the data lie, how often to log) may differ and are left
    out. A field that is younger than the stored run had its default then.
    """
    free = {f.name for f in dataclasses.fields(config) if f.metadata}
    now, then = _flat(to_dict(config)), _flat(stored)
    for field in dataclasses.fields(config):
        if field.default is not dataclasses.MISSING:
            then = _flat({field.name: _plain(field.default)}) | then
    if now["method"] != then.get("method"):
        return [f"method: {then.get('method')} there, {now['method']} here"]
    return [
        f"{key}: {then.get(key, 'absent')} there, {now.get(key, 'absent')} here"
        for key in sorted(now.keys() | then.keys())
        if key not in free and now.get(key) != then.get(key)
    ]


def _plain(value: Any) -> Any:
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value


def worker_differences(theirs: dict[str, Any], mine: dict[str, Any]) -> list[str]:
    """Lines naming what differs between the configs of two workers of one run.

    Each is a `to_dict`. Only where the data lie may differ between machines.
    """
    theirs, mine = _flat(theirs), _flat(mine)
    return [
        f"{key}: {theirs.get(key, 'absent')} there, {mine.get(key, 'absent')} here"
        for key in sorted(theirs.keys() | mine.keys())
        if key != "data_dir" and theirs.get(key) != mine.get(key)
    ]


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            value = list(value) if isinstance(value, tuple) else value
            flat[prefix + key] = value
    return flat
