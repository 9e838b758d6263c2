"""Judges an encoder without labels: healthy, or collapsed, and why.

Legend: N images, S height and width of the encoder's input, D length of the
representation h, P length of the projection z.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from selfsup_tf.config import Config
from selfsup_tf.data.sources import Source
from selfsup_tf.data.view_pairs import view_pairs
from selfsup_tf.errors import check
from selfsup_tf.evaluation.features import (
    compile_network,
    image_size,
    join,
    open_images,
)
from selfsup_tf.evaluation.measures.statistics import EDGES, Numbers, measure
from selfsup_tf.evaluation.vectors import check_finite
from selfsup_tf.shown import brief
from selfsup_tf.training.spread import COLLAPSED

HEALTHY, DIMENSIONAL, FULL = "healthy", "dimensional collapse", "full collapse"
NOTHING_YET = "not collapsed, nothing learned yet"
VERDICTS = (HEALTHY, NOTHING_YET, DIMENSIONAL, FULL)

_SHORT = 5  # epochs below which a collapse may be no more than a beginning
_AT_CHANCE = 0.01
"""Share of the loss of equal cosines that a contrastive run has to have left behind: a
few thousand images tell it to less than that."""

FEW, FEW_SHARE = 8, 0.01
"""Principal directions, and their share of D, below which an encoder has collapsed to a
few dimensions. The larger counts."""

LEAST = 16
"""Images below which neither verdict nor numbers mean anything."""

_TEMPERATURE = 0.1  # of SimCLR's ImageNet runs; where a run has none
PARTS = ("image", "view_1", "view_2")
"""What is measured of each image, in the order of `measure`."""


@dataclasses.dataclass(frozen=True)
class Health:
    """An encoder's verdict, its reasons and its numbers.

    Attributes:
        verdict: One of `VERDICTS`, of h.
        reasons: Sentences.
        representation: Of h.
        projection: Of z, or None where there is no projector.
        count: The number of images that were looked at.
        views: Whose views the positives are.
        temperature: Of the contrastive loss.
    """

    verdict: str
    reasons: tuple[str, ...]
    representation: Numbers
    projection: Numbers | None
    count: int
    views: str
    temperature: float

    def __repr__(self) -> str:
        numbers = {
            name: n and f"<rank_me {n.rank_me:.4g} of {n.size}, spread {n.spread:.2g}>"
            for name, n in (
                ("representation", self.representation),
                ("projection", self.projection),
            )
        }
        said = brief(self, reasons=f"<{len(self.reasons)} below>", **numbers)
        return "\n  ".join([said, *self.reasons])

    def to_dict(self) -> dict[str, Any]:
        """The numbers as plain values; what is one number each apart from arrays."""
        parts = {"representation": self.representation, "projection": self.projection}

        def of_each(values: Callable[[Numbers], Any]) -> dict[str, Any]:
            return {k: None if n is None else values(n) for k, n in parts.items()}

        return {
            **of_each(Numbers.scalars),
            "spectrum": of_each(lambda n: n.spectrum.tolist()),
            "deviations": of_each(lambda n: n.deviations.tolist()),
            "histograms": {
                "edges": list(EDGES),
                **of_each(
                    lambda n: {
                        "positive": n.positive_shares.tolist(),
                        "negative": n.negative_shares.tolist(),
                    }
                ),
            },
            "views": self.views,
            "temperature": self.temperature,
        }


def health(
    encoder: keras.Model,
    source: Any,
    *,
    config: Config | None = None,
    projector: keras.Model | None = None,
    count: int = 4096,
    batch_size: int = 256,
    seed: int = 0,
) -> Health:
    """Judges an encoder by what it makes of unlabelled images.

    Positives are two views of an image, as the run draws them. What concerns images
    rather than views (rank, spectrum, spread, uniformity) is measured on evaluation
    views, since an encoder is judged the way it is shipped: RankMe's paper speaks of
    the data set's embeddings and Wang and Isola of the data's distribution, and neither
    asks for augmented images. For trained encoders it hardly matters: RankMe of view_1
    lies within 3 % (SimCLR, CIFAR-10).

    Args:
        encoder: float32 [0, 1] (N, S, S, 3) -> h (N, D).
        source: Images as `open_source` takes them; the labels are not read.
        config: Of the run, for its views; SimCLR's defaults where it is left out.
        projector: h (N, D) -> z (N, P), where the run kept one.
        count: Images at most. RankMe grows with it until there are many more than D.
        batch_size: Images in a call of the encoder.
        seed: Of the images and their views.

    Raises:
        InputError: Fewer than `LEAST` images, a representation that is NaN or infinite,
            or an encoder, a projector and a config that do not fit together.
    """
    source = open_images(encoder, source)
    size = image_size(encoder)
    views = "those of the run" if config else "SimCLR's defaults"
    given, config = config, config or Config(image_size=size)
    _check(encoder, size, source, config, projector, count)
    encode = compile_network(encoder)
    pairs = view_pairs(source, config, count=count, batch_size=batch_size, seed=seed)
    h = join({name: encode(pair[name]).numpy() for name in PARTS} for pair in pairs)
    temperature = temperature_of(config)

    def numbers(parts: dict[str, np.ndarray], what: str) -> Numbers:
        for part in parts.values():
            check_finite(part, source.name, what)
        return measure(*parts.values(), temperature=temperature)

    representation, projection = numbers(h, "representations"), None
    if projector is not None:
        project = compile_network(projector)
        z = {name: project(values).numpy() for name, values in h.items()}
        projection = numbers(z, "projections")
    verdict, reasons = judge(representation, projection, given)
    return Health(
        verdict=verdict,
        reasons=tuple(reasons),
        representation=representation,
        projection=projection,
        count=len(h["image"]),
        views=views,
        temperature=temperature,
    )


def _check(
    encoder: keras.Model,
    size: int,
    source: Source,
    config: Config,
    projector: keras.Model | None,
    count: int,
) -> None:
    check(
        config.image_size == size,
        f"an encoder of {config.image_size} x {config.image_size} pixels, the "
        "image_size of the config",
        f"one of {size} x {size}",
        "Give the config of the run that the encoder is from.",
    )
    check(
        projector is None or projector.input_shape[-1] == encoder.output_shape[-1],
        f"a projector of representations of {encoder.output_shape[-1]} numbers",
        f"one of {projector.input_shape[-1]}" if projector is not None else "",
        "Give the projector.keras that lies beside the encoder.",
    )
    check(
        min(count, source.size) >= LEAST,
        f"{LEAST} images or more, of which an encoder's health can be told",
        f"{min(count, source.size)} ({source.name}, count={count})",
        "Give more images, or raise count.",
    )


def temperature_of(config: Config) -> float:
    """The temperature of a contrastive run; 0.1 where a run has none.

    The temperature of a run of one view, such as a distillation, softens labels.
    """
    return config.temperature if _is_contrastive(config) else _TEMPERATURE


def _is_contrastive(config: Config) -> bool:
    return len(config.drawn_views) > 1 and hasattr(config, "temperature")


def judge(
    h: Numbers, z: Numbers | None = None, config: Config | None = None
) -> tuple[str, list[str]]:
    """Gives the verdict on a representation, and sentences that say why.

    Few directions of a projection do not change the verdict, since nobody is shipped
    one; SimCLR's uses few in healthy runs (Jing et al. 2022, "Understanding dimensional
    collapse in contrastive self-supervised learning"). A contrastive loss of z that is
    still that of chance does: what the encoder has is then not from the run.

    Args:
        h: Of the representations.
        z: Of the projections, if there are any.
        config: Of the run; None where it is not known.
    """
    words = f"99 % of the variance of h lies in {h.principal} of {h.size} directions"
    if h.spread < COLLAPSED:
        verdict = FULL
        first = (
            "All images have all but the same representation: the spread of h is "
            f"{h.spread:.4f} of 1, below {COLLAPSED}."
        )
    elif h.principal < _few(h):
        verdict = DIMENSIONAL
        first = f"{words}, fewer than {_few(h)}: images differ in a few ways alone."
    else:
        verdict = NOTHING_YET if _is_at_chance(z, config) else HEALTHY
        first = f"{words}, and its spread is {h.spread:.2f} of 1: images differ."
    remarks = _remarks(h, z)
    epochs = getattr(config, "epochs", None)
    if verdict in (FULL, DIMENSIONAL) and epochs is not None and epochs < _SHORT:
        remarks.append(
            f"The run is short, --epochs={epochs:g}, and many runs pass through this: "
            "train for longer before anything else is changed."
        )
    return verdict, [first, *remarks]


def _is_at_chance(z: Numbers | None, config: Config | None = None) -> bool:
    """Whether the loss of a run that contrasts is that of equal cosines."""
    if z is None or z.spread < COLLAPSED:
        return False
    contrasts = config is None or _is_contrastive(config)
    return contrasts and z.below_chance <= _AT_CHANCE * z.chance_loss


def _few(numbers: Numbers) -> int:
    """The least principal directions of a healthy encoder.

    Untrained networks, whose representations are the most alike, have 25 (a narrow
    ResNet-18) to 337 (ResNet50V2) on CIFAR-10, and spreads of 0.037 or more; a rank of
    3 has 3, or 4 beside a mean. Of few images, half of the possible are asked for.
    """
    possible = len(numbers.spectrum)
    wanted = max(FEW, math.ceil(FEW_SHARE * numbers.size))
    return min(wanted, (possible + 1) // 2)


def _remarks(h: Numbers, z: Numbers | None) -> list[str]:
    near = h.positive_cosine - h.negative_cosine >= 0.0005  # what is printed of them
    side = "below" if h.below_chance > 0 else "above"
    remarks = [
        f"Two views of an image are {'nearer' if near else 'NO nearer'} than two "
        f"images: cosines of {h.positive_cosine:.3f} and {h.negative_cosine:.3f}. The "
        f"contrastive loss of h is {h.contrastive_loss:.2f}, {abs(h.below_chance):.2f} "
        f"{side} that of equal cosines."
    ]
    if h.dead:
        remarks.append(f"{h.dead} of {h.size} dimensions of h say nothing.")
    if z is not None and z.spread < COLLAPSED:
        remarks.append("The projection z, which the loss sees, has collapsed fully.")
    elif z is not None and z.principal < _few(z):
        remarks.append(
            f"The projection z, which the loss sees, has collapsed to {z.principal} of "
            f"{z.size} directions."
        )
    if _is_at_chance(z):
        lower = "hardly lower" if z.below_chance > 0 else "no lower"
        remarks.append(
            f"The contrastive loss of z is {z.contrastive_loss:.3f}, {lower} than the "
            f"{z.chance_loss:.3f} of equal cosines. If that is the loss of the run, it "
            "has taught little yet: more steps or milder views (crop_area, brightness, "
            "contrast, saturation, hue) may help."
        )
    return remarks
