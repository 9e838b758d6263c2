"""What is measured of an encoder while it learns: online k-NN and the health panel."""

import logging
import math
from collections.abc import Callable, Mapping

import keras
import numpy as np
import tensorflow as tf

from selfsup_tf.config import Config
from selfsup_tf.data.parts import share_classes
from selfsup_tf.data.source import Source
from selfsup_tf.data.view_pairs import view_pairs
from selfsup_tf.evaluation.features import compile_network, extract_features, join
from selfsup_tf.evaluation.measures.health import (
    DIMENSIONAL,
    LEAST,
    PARTS,
    judge,
    temperature_of,
)
from selfsup_tf.evaluation.measures.knn import knn_from_features
from selfsup_tf.evaluation.measures.statistics import measure, rank_me, singular_values

logger = logging.getLogger("selfsup_tf")

Networks = Mapping[str, keras.Model]
Encode = Callable[[tf.Tensor], tf.Tensor]

# A step costs an image three forward passes of each view, the backward one counted
# twice; the panel costs it three, of two views and of the evaluation view: half of it.
# So a hundredth of the images takes .5 % of an epoch. As much again goes into the
# numbers, and once into tracing and into drawing the views.
SHARE = 1 / 100
FEWEST = 32  # images, which is more than that share of fewer than 3,200
_MOST = 1024  # images
_MOST_BYTES = 2**28  # of their views, which stay in memory
_SURE = 64  # images from which on few directions are no accident
_BATCH = 256
_LOGGED = (
    "rank_me",
    "alignment",
    "uniformity",
    "positive_cosine",
    "negative_cosine",
    "spread",
)


class Monitor:
    """Measures the networks that a run keeps, every config.knn_epochs.

    It brings the same networks every time, so they are traced once, and it neither
    changes them nor draws a random number that the run draws.

    Args:
        knn: For the online k-NN, labelled images that answer and labelled images that
            ask; or None.
        panel: The health panel, or None.
    """

    def __init__(self, knn: tuple[Source, Source] | None, panel: "HealthPanel | None"):
        self.knn, self.panel = knn, panel
        self._encode = self._project = None

    def __call__(self, networks: Networks) -> dict[str, float]:
        """The scores by their log names."""
        if self._encode is None:
            self._encode = compile_network(networks["encoder"])
            if "projector" in networks:
                self._project = compile_network(networks["projector"])
        scores = {}
        if self.knn is not None:
            bank, queries = (
                extract_features(
                    networks["encoder"], source, encode=self._encode, skip_lost=True
                )
                for source in self.knn
            )
            scores["eval/knn_top_1"] = knn_from_features(bank, queries).top_1
        if self.panel is not None:
            scores |= self.panel(self._encode, self._project)
        return scores


def hold_out(
    source: Source, config: Config, *, share: float = SHARE, fewest: int = FEWEST
) -> tuple[Source, Monitor | None]:
    """Parts the images into those to learn from and those that a monitor keeps.

    Some labelled images are kept from training for the online k-NN; the health panel
    looks at some of those that are learned from, labelled or not.

    Args:
        source: All images.
        config: Of the run.
        share: Of the images that are learned from, which the panel looks at.
        fewest: How many it looks at, where the share is smaller.
    """
    rest, knn = _online_knn(source, config)
    panel = _health_panel(rest, config, share, fewest)
    if knn is None and panel is None:
        return rest, None
    return rest, Monitor(knn, panel)


def _online_knn(
    source: Source, config: Config
) -> tuple[Source, tuple[Source, Source] | None]:
    """What is left to learn from, and the images that answer and that ask."""
    count = min(config.held_out, source.size // 10)
    if not source.labelled or count == 0:
        return source, None
    if source.streamed or source.labels.min() < 0:
        logger.info("No online k-NN: the data are streamed, or not all have labels.")
        return source, None
    if not share_classes(source):
        logger.info("No online k-NN: most classes have one image.")
        return source, None
    rest, queries = source.split(count, seed=config.seed)
    _, bank = rest.split(min(4 * count, rest.size // 2), seed=config.seed + 1)
    if len(np.unique(bank.labels)) < 2:
        logger.info("No online k-NN: the images held out are of one class.")
        return source, None
    return rest, (bank, queries)


class HealthPanel:
    """The numbers of `eval.py health` on a few images, the same views every time.

    Args:
        source: Images that are learned from.
        config: Its views and seed.
        count: How many images.
    """

    def __init__(self, source: Source, config: Config, count: int):
        self.source, self.config, self.count = source, config, count
        self._views: dict[str, np.ndarray] | None = None
        self._warned = False

    def __call__(self, encode: Encode, project: Encode | None) -> dict[str, float]:
        """Health of h, and RankMe of z where there is a projector."""
        if self._views is None:
            self._views = self._draw()
        h = {name: _encoded(encode, views) for name, views in self._views.items()}
        z = None if project is None else project(h["image"]).numpy()
        if not all(np.isfinite(x).all() for x in (*h.values(), z) if x is not None):
            logger.warning("No health numbers: a representation is NaN or infinite.")
            return {}
        numbers = measure(*h.values(), temperature=temperature_of(self.config))
        verdict, reasons = judge(numbers)
        # The loop itself tells of a full collapse.
        if verdict == DIMENSIONAL and self.count >= _SURE and not self._warned:
            self._warned = True
            logger.warning("DIMENSIONAL COLLAPSE: %s", reasons[0])
        scores = {f"health/{name}": getattr(numbers, name) for name in _LOGGED}
        if z is not None:
            scores["health/projection_rank_me"] = rank_me(singular_values(z))
        return scores

    def _draw(self) -> dict[str, np.ndarray]:
        """Views of each image, (N, S, S, 3) as uint8: a quarter of the memory."""
        options = {"count": self.count, "batch_size": _BATCH, "seed": self.config.seed}
        return join(
            {n: np.rint(pair[n].numpy() * 255).astype(np.uint8) for n in PARTS}
            for pair in view_pairs(self.source, self.config, **options)
        )


def _health_panel(
    source: Source, config: Config, share: float, fewest: int
) -> HealthPanel | None:
    if len(config.drawn_views) == 1:
        return None  # it is made for labels
    fit = _MOST_BYTES // (3 * config.image_size**2 * 3)
    # Of the data alone: RankMe of other numbers of images could not be compared.
    wanted = max(fewest, math.floor(share * source.size))
    count = min(_MOST, fit, source.size, wanted)
    if count < LEAST:
        logger.info("No health numbers: fewer than %d images.", LEAST)
        return None
    return HealthPanel(source, config, count)


def _encoded(encode: Encode, views: np.ndarray) -> np.ndarray:
    batches = np.split(views, range(_BATCH, len(views), _BATCH))
    return np.concatenate(
        [encode(tf.constant(batch / np.float32(255))).numpy() for batch in batches]
    )
