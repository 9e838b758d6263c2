"""Bootstrap confidence intervals of numbers that are measured on test images.

Reference: Efron and Tibshirani 1993, "An introduction to the bootstrap", section 13.3
(the percentile interval); Clopper and Pearson 1934, "The use of confidence or fiducial
limits illustrated in the case of the binomial".
"""

import dataclasses
import math
from typing import Any

import numpy as np

from selfsup_tf.errors import check

OUTSIDE = (1 - 0.95) / 2  # of the interval, on either side
RESAMPLES = 1000
_FEW = 30  # images that differ; of more the bootstrap is as sure as it may be
_AT_ONCE = 2**22  # images drawn at a time: 32 MiB of indices


def bootstrap_interval(
    values: np.ndarray, *, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """The bootstrap confidence interval, of 95 %, of a mean over test images.

    The images are drawn again with replacement, as many as there are, and the
    percentiles of the means of such samples are the bounds. What varies is the choice
    of test images alone: neither the training nor its images. Hits alone, or misses
    alone, are drawn again as they are and would leave no interval: they have the exact
    bound of Clopper and Pearson, 98.2 to 100 % for 200 hits of 200. Other equal values
    have equal bounds.

    Args:
        values: What each test image scored, (N,): 1 for a hit and 0 for a miss, or an
            average precision.
        resamples: Samples drawn.

    Returns:
        The lower and the upper bound.

    Raises:
        InputError: There are no values.
    """
    values = np.asarray(values, np.float64)
    check(len(values) > 0, "a score of one image or more", "none", "Give test images.")
    if len(np.unique(values)) == 1 and values[0] in (0.0, 1.0):
        others = _unseen_share(len(values))
        return (1 - others, 1.0) if values[0] else (0.0, others)
    return _percentiles(values, resamples)


def _unseen_share(count: int) -> float:
    """How many others there may be, if so many in a row were alike in 1 of 40 cases."""
    return float(1 - OUTSIDE ** (1 / count))


def _percentiles(values: np.ndarray, resamples: int = RESAMPLES) -> tuple[float, float]:
    random = np.random.default_rng(0)
    rows = max(1, _AT_ONCE // len(values))
    means = []
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        drawn = random.integers(0, len(values), (count, len(values)))
        means.append(values[drawn].mean(axis=1))
    low, high = np.quantile(np.concatenate(means), [OUTSIDE, 1 - OUTSIDE])
    return float(low), float(high)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scored:
    """The outcome of a protocol for one encoder on labelled test images.

    Attributes:
        per_image: (N,), what each test image brought to the number that counts. With
            the same images, two encoders' are paired. Not in `to_dict`.
    """

    per_image: np.ndarray = dataclasses.field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values, but for `per_image`."""
        values = dataclasses.asdict(self)
        del values["per_image"]
        return values

    def gain_interval(self, other: "Scored") -> tuple[float, float]:
        """The 95 % confidence interval of the gain on another encoder.

        The differences are paired: both were judged on the same images. Where a coin
        would part as few images as unevenly in one of 20 cases or more (the exact sign
        test), it reaches to 0: a bootstrap of few images is too sure.
        """
        ours, theirs = (np.asarray(x.per_image, np.float64) for x in (self, other))
        low, high = _percentiles(ours - theirs)
        if low == high and abs(low) == 1:  # all gained, or all lost: see above
            others = 2 * _unseen_share(len(ours))
            low, high = (1 - others, 1.0) if low > 0 else (-1.0, others - 1)
        if _may_be_chance(ours - theirs):
            return min(low, 0.0), max(high, 0.0)
        return low, high


def _may_be_chance(differences: np.ndarray) -> bool:
    """Whether so few are above or below 0 that it may be chance which."""
    above, below = int((differences > 0).sum()), int((differences < 0).sum())
    told = above + below
    if told > _FEW:
        return False
    rarer = sum(math.comb(told, n) for n in range(min(above, below) + 1))
    return 2 * rarer > 0.05 * 2**told
