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
class Proof:
    """Held-out images for the proof, and others from the training source.

    Labels and bank are there only where both sources are labelled with the same
    classes.

    Attributes:
        images: uint8, each (H, W, 3) of its own size; some shrunk, see
            `choose_images`.
        views: The evaluation views of the held-out images as their source has them,
            (N, S, S, 3) float32 in [0, 1].
        source: Where they come from.
        labels: Theirs, (N,) int64; None without.
        bank_views: Views of labelled training images, the neighbours and the linear
            classifier's examples, (B, S, S, 3) float32; None without labels.
        bank_labels: Theirs, (B,) int64.
        bank_source: Where they come from.
        class_names: Of the labels.
        calibration: Views to calibrate on, (M, S, S, 3) float32; None where nothing is
            calibrated.
        calibration_source: Where those come from.
        choice: How all were chosen: the seed, and for each part its number and the
            hash of its indices.
        image_views: The views of `images`, where some of those are shrunk and theirs
            are other ones; else None.
        num_shrunk: How many are.
    """

    images: list[np.ndarray]
    views: np.ndarray
    source: str
    labels: np.ndarray | None = None
    bank_views: np.ndarray | None = None
    bank_labels: np.ndarray | None = None
    bank_source: str | None = None
    class_names: tuple[str, ...] | None = None
    calibration: np.ndarray | None = None
    calibration_source: str | None = None
    choice: dict[str, Any] = dataclasses.field(default_factory=dict)
    image_views: np.ndarray | None = None
    num_shrunk: int = 0

    def to_dict(self) -> dict[str, Any]:
        """What was chosen, as plain values, without the images."""
        return {
            "images": {"source": self.source, "count": len(self.images)},
            "num_shrunk": self.num_shrunk,
            "bank": None
            if self.bank_views is None
            else {"source": self.bank_source, "count": len(self.bank_views)},
            "calibration": None
            if self.calibration is None
            else {"source": self.calibration_source, "count": len(self.calibration)},
            "choice": self.choice,
        }


@dataclasses.dataclass(frozen=True)
class _Part:
    """Some elements of a source: views, labels (or None), and indices."""

    views: np.ndarray
    labels: np.ndarray | None
    indices: np.ndarray
    images: list[np.ndarray] = dataclasses.field(default_factory=list)
    # {row: the view of an image that was shrunk}
    shrunk: dict[int, np.ndarray] = dataclasses.field(default_factory=dict)

    def __getitem__(self, rows: slice) -> "_Part":
        """Some rows; a slice that does not begin at 0 has no images any more."""
        labels = None if self.labels is None else self.labels[rows]
        shrunk = {} if rows.start else self.shrunk
        images = self.images[rows]
        return _Part(self.views[rows], labels, self.indices[rows], images, shrunk)


def choose_images(
    images: Any,
    training_images: Any = None,
    *,
    size: int,
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
    one beyond that is shrunk to a shorter side of 2 S, and then stands beside the
    encoder's answer to the shrunk image.

    Args:
        images: Held-out images: a Source, or what `open_source` takes. None: `shapes`,
            drawn by this package, which says less about your images.
        training_images: Images of the kind the encoder learned from, likewise. None,
            or the same source again: others of `images`, a half where they are few.
        size: S.
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
        images = open_source("shapes", split="test")
        training_images = "shapes" if training_images is None else training_images
    held_out = open_source(images)
    training = held_out if training_images is None else open_source(training_images)
    shared = training is held_out or (
        training.fingerprint is not None
        and training.fingerprint == held_out.fingerprint
    )
    labelled = num_bank > 0 and _same_classes(held_out, training)
    wanted = (num_bank if labelled else 0) + (num_calibration if calibrates else 0)
    if shared:
        num_images = min(num_images, held_out.size // 2 if wanted else held_out.size)
    views = min(num_images, held_out.size) + min(wanted, training.size)
    if views * size * size * 3 * 4 > large_bytes:
        logger.warning(
            "The proof holds %d views of %d x %d pixels in memory: %.1f GB.",
            views, size, size, views * size * size * 3 * 4 / 1e9,
        )  # fmt: skip
    kept = {"keep": num_images, "kept_bytes": kept_bytes}
    if shared:
        drawn = _draw(held_out, num_images + wanted, size, seed, **kept)
        proof, rest = drawn[:num_images], drawn[num_images:]
    else:
        proof = _draw(held_out, num_images, size, seed, **kept)
        rest = _draw(training, wanted, size, seed) if wanted else None
    check(
        len(proof.views) >= 2,
        "two or more images",
        f"{len(proof.views)} from {held_out.name}",
        "An export is proven on real images; give some.",
    )
    bank = rest[:num_bank] if labelled else None
    calibration = rest[-num_calibration:] if calibrates else None
    if bank is not None and not _answerable(bank.labels, proof.labels):
        bank = None
    parts = {"images": proof, "bank": bank, "calibration": calibration}
    return Proof(
        images=proof.images,
        views=proof.views,
        source=held_out.name,
        labels=proof.labels if bank else None,
        bank_views=bank.views if bank else None,
        bank_labels=bank.labels if bank else None,
        bank_source=training.name if bank else None,
        class_names=held_out.class_names if bank else None,
        calibration=calibration.views if calibration else None,
        calibration_source=training.name if calibration else None,
        choice={
            "seed": seed,
            **{
                name: {
                    "count": len(part.indices),
                    "indices_sha256": fingerprint(np.sort(part.indices)),
                }
                for name, part in parts.items()
                if part is not None
            },
        },
        image_views=_image_views(proof),
        num_shrunk=len(proof.shrunk),
    )


def _same_classes(held_out: Source, training: Source) -> bool:
    return (
        held_out.labelled
        and training.labelled
        and held_out.class_names == training.class_names
    )


def _answerable(bank_labels: np.ndarray, labels: np.ndarray) -> bool:
    """Whether accuracies mean something: real labels, and two classes to tell apart.

    Test splits of some data sets have a label of -1 on every image.
    """
    known = bank_labels.min() >= 0 and labels.min() >= 0
    return bool(known) and len(np.unique(bank_labels)) > 1


def _draw(
    source: Source,
    count: int,
    size: int,
    seed: int,
    *,
    keep: int = 0,
    kept_bytes: int = 0,
) -> _Part:
    """The first `count` of a shuffled source, and of the first `keep` the images."""
    labelled = source.labelled
    limit, kept = max(2 * size, 64), 0

    def view(example):
        return {**example, "view": evaluation_view(example["image"], size)}

    dataset = source.shuffled(seed=seed, epoch=0, labels=labelled).take(count)
    # Few ahead, since an image of a camera takes 36 MB.
    dataset = dataset.map(view, num_parallel_calls=2).prefetch(2)
    # Written into one array, since a list of views would hold them twice at the end.
    views = np.empty((min(count, source.size), size, size, 3), np.float32)
    images, labels, indices, shrunk = [], [], [], {}
    for row, example in enumerate(itertools.islice(dataset, len(views))):
        views[row] = example["view"]
        indices.append(int(example["index"]))
        if labelled:
            labels.append(int(example["label"]))
        if row < keep:
            image = example["image"].numpy()
            if kept + image.nbytes > kept_bytes and min(image.shape[:2]) > limit:
                image = _shrink(image, limit)
                shrunk[row] = evaluation_view(tf.constant(image), size).numpy()
            kept += image.nbytes
            images.append(image)
    return _Part(
        views[: len(indices)],
        np.array(labels, np.int64) if labelled else None,
        np.array(indices, np.int64),
        images,
        shrunk,
    )


def _shrink(image: np.ndarray, limit: int) -> np.ndarray:
    """A uint8 image whose shorter side is longer than `limit`, brought down to it."""
    height, width = image.shape[:2]
    factor = limit / min(height, width)
    to = round(height * factor), round(width * factor)
    resized = tf.image.resize(image, to, "area")
    return tf.cast(tf.round(resized), tf.uint8).numpy()


def _image_views(part: _Part) -> np.ndarray | None:
    if not part.shrunk:
        return None
    views = part.views.copy()
    views[list(part.shrunk)] = list(part.shrunk.values())
    return views
