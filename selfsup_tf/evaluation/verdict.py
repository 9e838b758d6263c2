"""Judges an encoder without labels: healthy, or collapsed, and why.

Legend: N images, S height and width of the encoder's input, D length of the
representation h, P length of the projection z.
"""

import dataclasses
import pathlib
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from selfsup_tf.config import Config
from selfsup_tf.data.sources import Source, open_source
from selfsup_tf.data.view_pairs import view_pairs
from selfsup_tf.distribution.environment import versions
from selfsup_tf.errors import check
from selfsup_tf.evaluation.collapse import judge
from selfsup_tf.evaluation.features import compile_encoder, image_size, weights_hash
from selfsup_tf.evaluation.health import EDGES, Numbers, measure
from selfsup_tf.files import write_json

LEAST = 16
"""Images below which neither verdict nor numbers mean anything."""

_TEMPERATURE = 0.1  # of SimCLR's ImageNet runs; where a run has none
_PARTS = ("image", "view_1", "view_2")


@dataclasses.dataclass(frozen=True)
class Health:
    """An encoder's verdict, its reasons and its numbers.

    Attributes:
        verdict: healthy, dimensional collapse or full collapse, of h.
        reasons: Sentences.
        representation: Of h.
        projection: Of z, or None where there is no projector.
        images: Name of the source and the number of its images that were looked at.
        views: Whose views the positives are.
        temperature: Of the contrastive loss.
        seed: Of the images and their views.
        encoder_hash: `weights_hash` of the encoder.
        seconds: Time it took.
        versions: Of the packages that the numbers depend on.
    """

    verdict: str
    reasons: tuple[str, ...]
    representation: Numbers
    projection: Numbers | None
    images: dict[str, Any]
    views: str
    temperature: float
    seed: int
    encoder_hash: str
    seconds: float
    versions: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """As plain values; what is one number each apart from the arrays."""
        parts = {"representation": self.representation, "projection": self.projection}

        def of_each(values: Callable[[Numbers], Any]) -> dict[str, Any]:
            return {k: None if n is None else values(n) for k, n in parts.items()}

        return {
            "protocol": "health",
            "verdict": self.verdict,
            "reasons": list(self.reasons),
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
            "images": self.images,
            "views": self.views,
            "temperature": self.temperature,
            "seed": self.seed,
            "encoder_hash": self.encoder_hash,
            "seconds": self.seconds,
            "versions": self.versions,
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
    path: str | pathlib.Path | None = None,
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
        path: A JSON file for the numbers, such as RUN_DIR/eval/health.json.

    Raises:
        InputError: Fewer than `LEAST` images, a representation that is NaN or infinite,
            or an encoder, a projector and a config that do not fit together.
    """
    start = time.perf_counter()
    source = open_source(source)
    size = image_size(encoder)
    views = "those of the run" if config else "SimCLR's defaults"
    config = config or Config(image_size=size)
    _check(encoder, size, source, config, projector, count)
    encode = compile_encoder(encoder)
    pairs = view_pairs(source, config, count=count, batch_size=batch_size, seed=seed)
    h = {name: [] for name in _PARTS}
    for batch in pairs:
        for name, found in h.items():
            found.append(encode(batch[name]).numpy())
    h = {name: np.concatenate(found) for name, found in h.items()}
    temperature = temperature_of(config)
    representation = _measure(h, source, temperature, "representations")
    projection = None
    if projector is not None:
        project = compile_head(projector)
        z = {name: project(tf.constant(values)).numpy() for name, values in h.items()}
        projection = _measure(z, source, temperature, "projections")
    verdict, reasons = judge(representation, projection)
    result = Health(
        verdict=verdict,
        reasons=tuple(reasons),
        representation=representation,
        projection=projection,
        images={"name": source.name, "size": len(h["image"])},
        views=views,
        temperature=temperature,
        seed=seed,
        encoder_hash=weights_hash(encoder),
        seconds=round(time.perf_counter() - start, 2),
        versions=versions(),
    )
    if path is not None:
        write_json(path, result.to_dict())
    return result


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


def _measure(
    parts: dict[str, np.ndarray], source: Source, temperature: float, what: str
) -> Numbers:
    check(
        all(np.isfinite(part).all() for part in parts.values()),
        f"finite {what} of {source.name}",
        "NaN or infinity",
        "The encoder is broken (a diverged run?); take an earlier checkpoint.",
    )
    return measure(*(parts[name] for name in _PARTS), temperature=temperature)


def compile_head(head: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """A head in inference mode, h (N, D) float32 to (N, P) float32, traced once."""

    @tf.function(
        input_signature=[tf.TensorSpec((None, head.input_shape[-1]), tf.float32, "h")]
    )
    def project(h):
        return tf.cast(head(h, training=False), tf.float32)

    return project


def temperature_of(config: Config) -> float:
    """That of a contrastive run; .1 where a run has none.

    The temperature of a run of one view, such as a distillation, softens labels.
    """
    if len(config.drawn_views) == 1:
        return _TEMPERATURE
    return getattr(config, "temperature", _TEMPERATURE)


_SHOWN = (
    ("RankMe", "rank_me", ".1f"),
    ("directions of 99 %", "principal", "d"),
    ("spread", "spread", ".3f"),
    ("dead dimensions", "dead", "d"),
    ("alignment", "alignment", ".3f"),
    ("uniformity", "uniformity", ".3f"),
    ("cosine of two views", "positive_cosine", ".3f"),
    ("cosine of two images", "negative_cosine", ".3f"),
    ("contrastive loss", "contrastive_loss", ".3f"),
    ("loss by chance", "chance_loss", ".3f"),
)


def format_health(health: Health) -> str:
    """The verdict, its reasons and a small table, as lines for a terminal.

    ```
    healthy: 4096 images of cifar10:train
      99 % of the variance of h lies in 71 of 128 directions, and its spread is ...
                                 h         z
    size                       128       128
    RankMe                    44.3      28.0
    ```
    """
    columns = {"h": health.representation, "z": health.projection}
    columns = {name: numbers for name, numbers in columns.items() if numbers}
    images = health.images
    return "\n".join(
        [
            f"{health.verdict}: {images['size']} images of {images['name']}, "
            f"views {health.views}",
            *(f"  {reason}" for reason in health.reasons),
            f"{'':22}" + "".join(f"{name:>10}" for name in columns),
            *(
                f"{title:22}"
                + "".join(f"{getattr(n, key):>10{form}}" for n in columns.values())
                for title, key, form in (("size", "size", "d"), *_SHOWN)
            ),
        ]
    )
