"""What the numbers of an encoder's health mean: healthy or collapsed, and why."""

import math

from selfsup_tf.evaluation.health import Numbers
from selfsup_tf.training.spread import COLLAPSED

HEALTHY, DIMENSIONAL, FULL = "healthy", "dimensional collapse", "full collapse"

FEW, FEW_SHARE = 8, 0.01
"""Principal directions, and their share of D, below which an encoder has collapsed to a
few dimensions. The larger counts."""


def judge(h: Numbers, z: Numbers | None = None) -> tuple[str, list[str]]:
    """The verdict on the representation, and sentences that say why.

    A projection does not change the verdict, since nobody is shipped one; SimCLR's uses
    few directions in healthy runs (Jing et al. 2022, "Understanding dimensional
    collapse in contrastive self-supervised learning").
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
        verdict = HEALTHY
        first = f"{words}, and its spread is {h.spread:.2f} of 1: images differ."
    return verdict, [first, *_remarks(h, z)]


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
    near = h.positive_cosine > h.negative_cosine
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
    if z is not None and z.spread >= COLLAPSED and z.below_chance <= 0:
        remarks.append(
            f"The contrastive loss of z is {z.contrastive_loss:.3f}, no lower than the "
            f"{z.chance_loss:.3f} of equal cosines. If that is the loss of the run, it "
            "has taught little yet: more steps or milder views (crop_area, brightness, "
            "contrast, saturation, hue) may help."
        )
    return remarks
