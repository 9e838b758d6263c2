"""The views of a config: what an image is turned into before the network sees it."""

import dataclasses
import json
from typing import Any, ClassVar, Literal

from selfsup_tf.config.checks import (
    Interval,
    check_interval,
    check_not_negative,
    check_positive,
    check_probability,
)
from selfsup_tf.errors import InputError, check, nearest
from selfsup_tf.fields import check_fields


@dataclasses.dataclass(frozen=True)
class LayerConfig:
    """A Keras layer of your own in a view; `layer` makes one from keywords."""

    name: str
    """What it is registered with Keras as, "package>Class". Where nothing is, the
    module `package` is imported first."""
    options: tuple[tuple[str, Any], ...] = ()
    """Arguments of its constructor, by name: what JSON can hold."""
    before: str | None = None
    """The operation of ViewConfig.OPERATIONS that it comes before; None: the end."""

    def __post_init__(self):
        check_fields(self)
        try:
            hash(self)
            json.dumps(self.options)
        except TypeError:
            raise InputError(
                f"options of {self.name} that are numbers, words, None or tuples",
                dict(self.options),
                "What a config holds is compared and written as JSON.",
            ) from None


def layer(name: str, /, *, before: str | None = None, **options: Any) -> LayerConfig:
    """A layer of your own for `ViewConfig.layers`.

    ViewConfig(layers=(layer("my_layers>Posterize", bits=4, before="blur"),))

    Args:
        name: As registered with `keras.saving.register_keras_serializable`.
        before: One of `ViewConfig.OPERATIONS`; at the end where it is left out.
        options: Arguments of the layer's constructor.
    """
    return LayerConfig(name, tuple(sorted(options.items())), before)


@dataclasses.dataclass(frozen=True)
class ViewConfig:
    """The distribution that one view of an image, or several, are drawn from.

    The operations are applied in the order of the fields. Probabilities are per image.
    The defaults are SimCLR's for ImageNet but for the law of the crops
    (google-research/simclr, tf2/data_util.py).
    """

    PROBABILITIES: ClassVar[tuple[str, ...]] = (
        *("flip", "jitter", "grayscale", "blur", "solarize", "rotate90"),
    )
    OPERATIONS: ClassVar[tuple[str, ...]] = (*PROBABILITIES, "rotation")
    """What may follow the crop, in this order; `data.views` makes layers of them."""

    SWITCHES: ClassVar[dict[str, tuple[str, ...]]] = {
        "jitter": ("brightness", "brightness_mode", "contrast", "saturation", "hue"),
        "blur": ("blur_sigma", "blur_size"),
        "solarize": ("solarize_threshold",),
    }
    """Probabilities, and the fields that have no effect where they are 0."""

    size: int | None = None
    """Height and width of the view, in pixels; image_size where it is left out."""
    count: int = 1
    """How many views of an image are drawn like this."""
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
    layers: tuple[LayerConfig, ...] = ()
    """Layers of your own, each after those of the same place before it."""

    def __post_init__(self):
        check_fields(self)
        for name in ("size", "count"):
            if getattr(self, name) is not None:
                check_positive(name, getattr(self, name))
        check_interval("crop_area", self.crop_area, 1e-6, 1)
        check_interval("crop_aspect", self.crop_aspect, 1e-3, 1e3)
        check(
            self.crop_law != "distorted_box" or self.crop_area[1] > 0.1,
            "crop_area up to more than .1, since a distorted box covers that at least",
            self.crop_area,
            "Raise its upper bound, or choose another crop_law.",
        )
        check_interval("blur_sigma", self.blur_sigma, 1e-3, 1e3)
        for name in self.PROBABILITIES:
            check_probability(name, getattr(self, name))
        for name in ("brightness", "contrast", "saturation", "rotation", "blur_size"):
            check_not_negative(name, getattr(self, name))
        check_interval("hue", (0, self.hue), 0, 0.5)
        check_interval("solarize_threshold", (0, self.solarize_threshold), 0, 1)
        for own in self.layers:
            check(
                own.before in (None, *self.OPERATIONS),
                f"an operation that {own.name} comes before",
                repr(own.before),
                nearest(str(own.before), self.OPERATIONS),
            )

    def unheeded(self) -> dict[str, str]:
        """Fields that have no effect beside the others' values: `Config.unheeded`."""
        found = {
            name: f"with {switch} above 0"
            for switch, names in self.SWITCHES.items()
            for name in names
            if getattr(self, switch) == 0
        }
        if self.brightness == 0:
            found |= {"brightness_mode": "with brightness above 0"}
        return found
