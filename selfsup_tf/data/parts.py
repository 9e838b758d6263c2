"""Parts of a source that hold the same share of every class."""

import numpy as np

from selfsup_tf.data.order import permutation
from selfsup_tf.data.source import Source
from selfsup_tf.errors import check


def labelled_fraction(source: Source, fraction: float, *, seed: int) -> Source:
    """Draws the same share of every class.

    Fractions of one seed are nested: a tenth holds the hundredth.

    Args:
        source: Labelled; a label below 0 stands for none, and its image is left out.
        fraction: In (0, 1]; 1 is the whole source.
        seed: Chooses the images.

    Raises:
        InputError: There are no labels, or a class would be left empty.
    """
    check(
        0 < fraction <= 1,
        "fraction within (0, 1]",
        fraction,
        "0.01 stands for 1 % of the labels.",
    )
    check(
        source.labelled,
        f"labels in {source.name}, to learn from",
        "images without labels",
        "Give (images, labels), or a folder with a sub-folder for each class.",
    )
    labels = source.labels
    classes, counts = np.unique(labels[labels >= 0], return_counts=True)
    check(
        len(classes) > 1,
        f"two or more classes in {source.name}",
        len(classes),
        "A classifier needs something to tell apart.",
    )
    fewest = counts.min()
    check(
        round(fraction * fewest) >= 1,
        f"a fraction that leaves an image of every class of {source.name}",
        f"{fraction}, and class {classes[counts.argmin()]} has {fewest} images",
        f"Use --fraction={1 / fewest:.2g} or more.",
    )
    if fraction == 1 and (labels >= 0).all():
        return source
    chosen = [
        _draw(source, labels == label, seed + int(label))[: round(fraction * count)]
        for label, count in zip(classes, counts, strict=True)
    ]
    name = f"{source.name}:{100 * fraction:g}% of the labels"
    return source.select(np.sort(np.concatenate(chosen)), name)


def hold_out_share(source: Source, share: float, *, seed: int) -> tuple[Source, Source]:
    """Parts a source in two: without a share of every class, and that share.

    Of a class with one image, that stays in the first.

    Raises:
        InputError: No class has two images.
    """
    chosen, labels = [], source.labels
    for label in np.unique(labels):
        members = _draw(source, labels == label, seed)
        count = round(share * len(members)) or min(1, len(members) - 1)
        chosen.append(members[:count])
    held_out = np.sort(np.concatenate(chosen))
    check(
        len(held_out) > 0,
        f"two images or more of a class in {source.name}",
        f"{source.size} images of as many classes",
        "Give more images.",
    )
    rest = np.setdiff1d(source.indices, held_out)
    return (
        source.select(rest, f"{source.name}:{1 - share:.0%}"),
        source.select(held_out, f"{source.name}:{share:.0%}"),
    )


def share_classes(source: Source) -> bool:
    """Whether most images have another of their class, so that labels tell something.

    Where each has a folder of its own, as products have, the folders are no classes.
    """
    counts = np.unique(source.labels, return_counts=True)[1]
    return bool(2 * counts[counts > 1].sum() >= counts.sum())


def _draw(source: Source, chosen: np.ndarray, seed: int) -> np.ndarray:
    """The indices of these images (N,) bool, in an order that follows from the seed."""
    members = source.indices[chosen]
    return members[permutation(len(members), seed)]
