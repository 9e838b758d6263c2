"""Which images an export is proven on, and which integers are calibrated on.

Legend: N held-out images, B images of the bank, M images of the calibration, S height
and width of the encoder's input.
"""

import dataclasses
import itertools
import logging
from typing import Any

import numpy as np
import tensorflow as tf

from selfsup_tf.data.source import Source, fingerprint
from selfsup_tf.data.sources import open_source
from selfsup_tf.data.views import evaluation_view
from selfsup_tf.errors import check

NUM_IMAGES = 1000
NUM_BANK = 2000
NUM_CALIBRATION = 200
LARGE_BYTES = 2 * 2**30
KEPT_BYTES = 512 * 2**20

logger = logging.getLogger("selfsup_tf")


@dataclasses.dataclass(frozen=True)
class Part:
    """Some images of a source, as an encoder sees them.

    Attributes:
        source: Where they come from.
        views: Their evaluation views, (N, S, S, 3) float32 in [0, 1].
        indices: Their places in the source, (N,) int64.
        labels: Theirs, (N,) int64; None without.
    """

    source: str
    views: np.ndarray
    indices: np.ndarray
    labels: np.ndarray | None = None

    def __getitem__(self, rows: slice) -> "Part":
        """Some of the images."""
        labels = None if self.labels is None else self.labels[rows]
        return Part(self.source, self.views[rows], self.indices[rows], labels)


@dataclasses.dataclass(frozen=True)
class Proof:
    """Held-out images for the proof, and others from the training source.

    Attributes:
        images: uint8, each (H, W, 3) of its own size; some shrunk, see
            `choose_images`.
        held_out: Their views as their source has them, N; labels only beside a bank.
        bank: Labelled training images, B, the neighbours and the linear classifier's
            examples; None unless both sources are labelled with the same classes.
        calibration: Images to calibrate on, M; None where nothing is calibrated.
        class_names: Of the labels.
        seed: That all were chosen with.
        shrunk: {place in `images`: the view (S, S, 3) of that image, which is shrunk}.
        typical: Of the calibration's views those without outliers, see
            `reference.without_outliers`.
    """

    images: list[np.ndarray]
    held_out: Part
    bank: Part | None = None
    calibration: Part | None = None
    class_names: tuple[str, ...] | None = None
    seed: int = 0
    shrunk: dict[int, np.ndarray] = dataclasses.field(default_factory=dict)
    typical: np.ndarray | None = None

    @property
    def image_views(self) -> np.ndarray:
        """The views of `images`, (N, S, S, 3), those of shrunk ones among them."""
        views = self.held_out.views.copy()
        for row, view in self.shrunk.items():
            views[row] = view
        return views

    def to_dict(self) -> dict[str, Any]:
        """What was chosen, as plain values, without the images."""
        parts = {
            "images": self.held_out,
            "bank": self.bank,
            "calibration": self.calibration,
        }
        choice = {
            name: {
                "count": len(part.indices),
                "indices_sha256": fingerprint(np.sort(part.indices)),
            }
            for name, part in parts.items()
            if part is not None
        }
        if self.typical is not None:
            left_out = len(self.calibration.views) - len(self.typical)
            choice["calibration"]["outliers_left_out"] = left_out
        sources = {
            name: part and {"source": part.source, "count": len(part.indices)}
            for name, part in parts.items()
        }
        return {
            **sources,
            "num_shrunk": len(self.shrunk),
            "choice": {"seed": self.seed, **choice},
        }


def choose_images(
    images: Any,
    training_images: Any = None,
    *,
    size: int,
    channels: int = 3,
    calibrates: bool,
    num_images: int = NUM_IMAGES,
    num_bank: int = NUM_BANK,
    num_calibration: int = NUM_CALIBRATION,
    seed: int = 0,
    kept_bytes: int = KEPT_BYTES,
    large_bytes: int = LARGE_BYTES,
) -> Proof:
    """Draws images from all over their sources, the same ones each time.

    No image of the proof is among those of the bank or the calibration. The bank and
    the calibration share images only where the training source has too few for both.
    All views, those of the bank included, are of the images as their source has them,
    as an evaluation or a server sees them. The held-out images themselves, which a
    SavedModel is called with, are kept as they are up to `kept_bytes` in all; a larger
    one beyond that is shrunk to a shorter side of 2 S, at least 64, and then stands
    beside the encoder's answer to the shrunk image.

    Args:
        images: Held-out images: a Source, or what `open_source` takes. None: `shapes`,
            drawn by this package, which says less about your images.
        training_images: Images of the kind the encoder learned from, likewise. None,
            or the same source again: others of `images`, a half where they are few.
        size: S.
        channels: Of the encoder's input.
        calibrates: Whether calibration images are needed.
        num_images: N, fewer where there are fewer.
        num_bank: B, likewise; 0 for a proof without labels.
        num_calibration: M, likewise.
        seed: Chooses.
        kept_bytes: Of held-out images that are kept as they are.
        large_bytes: Of views, beyond which a warning tells the memory.

    Raises:
        InputError: Fewer than two images.
    """
    if images is None:
        images = open_source("shapes", split="test", channels=channels)
        training_images = "shapes" if training_images is None else training_images
    held_out = training = open_source(images, channels=channels)
    if training_images is not None:
        training = open_source(training_images, channels=channels)
    for source in (held_out, training):
        check(
            source.channels == channels,
            f"images of the {channels} channels that the encoder takes",
            f"{source.channels} in {source.name}",
            "Give the images that it is for.",
        )
    shared = training is held_out or (
        training.fingerprint is not None
        and training.fingerprint == held_out.fingerprint
    )
    labelled = (
        num_bank > 0
        and held_out.labelled
        and training.labelled
        and held_out.class_names == training.class_names
    )
    wanted = (num_bank if labelled else 0) + (num_calibration if calibrates else 0)
    if shared:
        num_images = min(num_images, held_out.size // 2 if wanted else held_out.size)
    views = min(num_images, held_out.size) + min(wanted, training.size)
    bytes_of_views = views * size * size * channels * 4
    if bytes_of_views > large_bytes:
        logger.warning(
            "The proof holds %d views of %d x %d pixels in memory: %.1f GB.",
            views, size, size, bytes_of_views / 1e9,
        )  # fmt: skip
    drawn, pictures, shrunk = _draw(
        held_out,
        num_images + wanted if shared else num_images,
        size,
        seed,
        keep=num_images,
        kept_bytes=kept_bytes,
    )
    proof, rest = drawn[:num_images], drawn[num_images:]
    if wanted and not shared:
        rest, _, _ = _draw(training, wanted, size, seed)
    check(
        len(proof.views) >= 2,
        "two or more images",
        f"{len(proof.views)} from {held_out.name}",
        "An export is proven on real images; give some.",
    )
    bank = rest[:num_bank] if labelled else None
    # Accuracies mean something with real labels, and two classes to tell apart: test
    # splits of some data sets have a label of -1 on every image.
    if bank is not None and (
        min(bank.labels.min(), proof.labels.min()) < 0
        or len(np.unique(bank.labels)) < 2
    ):
        bank = None
    return Proof(
        images=pictures,
        held_out=proof if bank else dataclasses.replace(proof, labels=None),
        bank=bank,
        calibration=rest[-num_calibration:] if calibrates else None,
        class_names=held_out.class_names if bank else None,
        seed=seed,
        shrunk=shrunk,
    )


def _draw(
    source: Source,
    count: int,
    size: int,
    seed: int,
    *,
    keep: int = 0,
    kept_bytes: int = 0,
) -> tuple[Part, list[np.ndarray], dict[int, np.ndarray]]:
    """The first `count` of a shuffled source; of the first `keep` the images."""
    labelled = source.labelled
    limit, kept = max(2 * size, 64), 0

    def view(example):
        return {**example, "view": evaluation_view(example["image"], size)}

    dataset = source.shuffled(seed=seed, epoch=0, labels=labelled).take(count)
    # Few ahead, since an image of a camera takes 36 MB.
    dataset = dataset.map(view, num_parallel_calls=2).prefetch(2)
    # Written into one array, since a list of views would hold them twice at the end.
    shape = (min(count, source.size), size, size, source.channels)
    views = np.empty(shape, np.float32)
    images, labels, indices, shrunk = [], [], [], {}
    for row, example in enumerate(itertools.islice(dataset, len(views))):
        views[row] = example["view"]
        indices.append(int(example["index"]))
        if labelled:
            labels.append(int(example["label"]))
        if row < keep:
            image = example["image"].numpy()
            side = min(image.shape[:2])
            if kept + image.nbytes > kept_bytes and side > limit:
                to = [round(length * limit / side) for length in image.shape[:2]]
                resized = tf.round(tf.image.resize(image, to, "area"))
                image = tf.cast(resized, tf.uint8).numpy()
                shrunk[row] = evaluation_view(tf.constant(image), size).numpy()
            kept += image.nbytes
            images.append(image)
    part = Part(
        source.name,
        views[: len(indices)],
        np.array(indices, np.int64),
        np.array(labels, np.int64) if labelled else None,
    )
    return part, images, shrunk
