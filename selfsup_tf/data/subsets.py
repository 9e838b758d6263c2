"""The labelled fractions that semi-supervised learning is judged with."""

import numpy as np

from selfsup_tf.data.source import Source, permutation
from selfsup_tf.errors import check


def labelled_fraction(source: Source, fraction: float, *, seed: int) -> Source:
    """The same share of every class, drawn by the seed.

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
    classes = np.unique(labels[labels >= 0])
    check(
        len(classes) > 1,
        f"two or more classes in {source.name}",
        len(classes),
        "A classifier needs something to tell apart.",
    )
    counts = {label: int((labels == label).sum()) for label in classes}
    rarest = min(counts, key=counts.get)
    check(
        round(fraction * counts[rarest]) >= 1,
        f"a fraction that leaves an image of every class of {source.name}",
        f"{fraction}, and class {rarest} has {counts[rarest]} images",
        f"Use --fraction={1 / counts[rarest]:.2g} or more.",
    )
    if fraction == 1 and (labels >= 0).all():
        return source
    chosen = []
    for label in classes:
        members = source.indices[labels == label]
        order = permutation(len(members), seed + int(label))
        chosen.append(members[order[: round(fraction * len(members))]])
    name = f"{source.name}:{100 * fraction:g}% of the labels"
    return source.select(np.sort(np.concatenate(chosen)), name)
