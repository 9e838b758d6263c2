"""Statistics of representations that need no labels: RankMe, uniformity, spread.

Legend: N images, D length of a representation, h one of them, L2-normalised where
"direction" is said. All functions are pure and compute in float64, whatever comes: what
they take is small, and the smallest singular values are the interesting ones.
"""

import dataclasses

import numpy as np

from selfsup_tf.evaluation.vectors import unit_vectors
from selfsup_tf.shown import brief

EDGES = tuple(round(-1 + 0.05 * i, 2) for i in range(41))
"""Of the bins that cosines are counted in; the same for every encoder."""

DEAD = 0.01
"""Below this deviation of 1 a dimension says nothing of an image."""

HELD = 0.99
"""The share of the variance that the principal directions hold."""

CONTRASTED = 2048
"""Pairs at most that the contrastive loss is computed on."""

_EPSILON = 1e-7  # RankMe's, for float32
_BLOCK = 512  # rows of a matrix of pairs at a time: 40 MiB beside 10,000 images


@dataclasses.dataclass(frozen=True)
class Numbers:
    """The statistics of the representations of N images; each has a function below.

    Attributes:
        size: D.
        rank_me: Effective rank, in [1, min(N, D)]; 0 where all is 0.
        principal: See `principal_directions`.
        alignment: In [0, 4].
        uniformity: In [-8, 0]; lower is more uniform.
        spread: Mean of the deviations, in [0, 1].
        dead: How many dimensions deviate by less than `DEAD`.
        positive_cosine: Mean, of two views of an image.
        negative_cosine: Mean, of views of two images.
        contrastive_loss: NT-Xent of `contrasted` pairs.
        chance_loss: What NT-Xent is where all cosines are equal.
        below_chance: The second less the first. It may be negative where a run did not
            train at this temperature: cosines that differ, but not as they should.
        contrasted: Pairs that the loss was computed on.
        spectrum: Singular values, falling, (min(N, D),).
        deviations: Standard deviation of each dimension of the directions, times
            sqrt(D), falling, (D,): 1 for directions that point everywhere.
        positive_shares: Shares of the positives' cosines between `EDGES`.
        negative_shares: Of the negatives'.
    """

    size: int
    rank_me: float
    principal: int
    alignment: float
    uniformity: float
    spread: float
    dead: int
    positive_cosine: float
    negative_cosine: float
    contrastive_loss: float
    chance_loss: float
    below_chance: float
    contrasted: int
    spectrum: np.ndarray
    deviations: np.ndarray
    positive_shares: np.ndarray
    negative_shares: np.ndarray

    __repr__ = brief

    def scalars(self) -> dict[str, float | int]:
        """The fields that are one number each."""
        fields = dataclasses.fields(self)
        values = {field.name: getattr(self, field.name) for field in fields}
        return {k: v for k, v in values.items() if not isinstance(v, np.ndarray)}


def measure(
    features: np.ndarray,
    view_1: np.ndarray,
    view_2: np.ndarray,
    *,
    temperature: float,
) -> Numbers:
    """Computes all statistics of the representations of N images.

    Args:
        features: Representations of the images, (N, D), finite.
        view_1: Those of a view of each image, (N, D).
        view_2: Those of another view of each image.
        temperature: Of the contrastive loss.
    """
    spectrum = singular_values(features)
    deviation = deviations(features)
    first, second = directions(view_1), directions(view_2)
    positives = (first * second).sum(axis=1)
    negative_cosine, negative_shares = negatives(first, second)
    few = view_1[:CONTRASTED], view_2[:CONTRASTED]
    loss = contrastive_loss(*few, temperature=temperature)
    contrasted = len(few[0])
    chance = chance_loss(contrasted)
    return Numbers(
        size=features.shape[1],
        rank_me=rank_me(spectrum),
        principal=principal_directions(features),
        alignment=alignment(view_1, view_2),
        uniformity=uniformity(features),
        spread=float(deviation.mean()),
        dead=int((deviation < DEAD).sum()),
        positive_cosine=float(positives.mean()),
        negative_cosine=negative_cosine,
        contrastive_loss=loss,
        chance_loss=chance,
        below_chance=chance - loss,
        contrasted=contrasted,
        spectrum=spectrum,
        deviations=np.sort(deviation)[::-1],
        positive_shares=_counts(positives) / len(positives),
        negative_shares=negative_shares,
    )


def directions(features: np.ndarray) -> np.ndarray:
    """The L2-normalised vectors, float64; a vector of zeros stays one."""
    return unit_vectors(np.asarray(features, np.float64))


def singular_values(features: np.ndarray) -> np.ndarray:
    """Singular values of (N, D), falling, (min(N, D),) float64.

    They are the roots of the eigenvalues of the smaller Gram matrix, many times cheaper
    than an SVD. That squares the condition number: values below 1e-8 of the largest are
    lost in float64's rounding, as they are in that of float32 features.
    """
    features = np.asarray(features, np.float64)
    rows, columns = features.shape
    gram = features.T @ features if columns <= rows else features @ features.T
    return np.sqrt(np.maximum(np.linalg.eigvalsh(gram)[::-1], 0))


def rank_me(spectrum: np.ndarray) -> float:
    """The effective rank: exp of the entropy of the singular values' shares.

    It compares runs of one method on one data set, and the same N; another method, or
    an untrained network, may have a higher rank and less use.

    Args:
        spectrum: `singular_values` of features (N, D), not centred.

    Returns:
        From 1 to min(N, D), up to the paper's epsilon; 0 where all features are 0.

    Reference: Garrido et al. 2023, "RankMe: assessing the downstream performance of
        pretrained self-supervised representations by their rank", equations 1 and 2.
    """
    total = spectrum.sum()
    if total == 0:
        return 0.0
    shares = spectrum / total + _EPSILON
    return float(np.exp(-(shares * np.log(shares)).sum()))


def alignment(view_1: np.ndarray, view_2: np.ndarray) -> float:
    """Mean squared distance of the directions of two views of an image.

    Args:
        view_1: (N, D).
        view_2: (N, D), row by row of the same images.

    Reference: Wang and Isola 2020, "Understanding contrastive representation learning
        through alignment and uniformity on the hypersphere", section 4.1, alpha = 2.
    """
    difference = directions(view_1) - directions(view_2)
    return float((difference**2).sum(axis=1).mean())


def uniformity(features: np.ndarray) -> float:
    """Log of the mean of exp(-2 d^2) over all pairs of two images, d their distance.

    Args:
        features: (N, D), N of 2 or more. A block of rows is held against the rest at a
            time, so that memory grows with N and not with its square.

    Reference: Wang and Isola 2020, section 4.1, t = 2.
    """
    vectors = directions(features)
    total, count = 0.0, len(vectors)
    for start in range(0, count, _BLOCK):
        # Squared distances of unit vectors. One of zeros is at 1 from those.
        cosines = vectors[start : start + _BLOCK] @ vectors[start:].T
        lengths = (vectors[start:] ** 2).sum(axis=1)
        squared = lengths[: len(cosines), None] + lengths - 2 * cosines
        potential = np.exp(-2 * np.maximum(squared, 0))
        total += np.triu(potential, k=1).sum()
    return float(np.log(total / (count * (count - 1) / 2)))


def deviations(features: np.ndarray) -> np.ndarray:
    """Standard deviation of each dimension of the directions, times sqrt(D), (D,).

    Their mean is the spread that the training loop logs of a batch: near 1 where the
    directions point everywhere, 0 where all are equal.

    Reference: Chen and He 2021, "Exploring simple Siamese representation learning",
        section 4.1.
    """
    vectors = directions(features)
    return vectors.std(axis=0) * np.sqrt(vectors.shape[1])


def principal_directions(features: np.ndarray) -> int:
    """How many principal directions of the directions hold `HELD` of their variance.

    Neither the share that all images have in common, large after a pooled ReLU, nor
    faint noise counts.

    Args:
        features: (N, D).

    Returns:
        From 1 to min(N - 1, D); 0 where there is no variance.
    """
    vectors = directions(features)
    variances = singular_values(vectors - vectors.mean(axis=0)) ** 2
    held = np.cumsum(variances)
    if held[-1] == 0:
        return 0
    return int(np.searchsorted(held, HELD * held[-1])) + 1


def negatives(first: np.ndarray, second: np.ndarray) -> tuple[float, np.ndarray]:
    """Cosines between a first view of an image and the second view of another.

    Args:
        first: Directions, (N, D).
        second: Directions, (N, D), row by row of the same images.

    Returns:
        Their mean over all N (N - 1), and their shares between `EDGES`.
    """
    total, counts = 0.0, np.zeros(len(EDGES) - 1, np.int64)
    for start in range(0, len(first), _BLOCK):
        cosines = first[start : start + _BLOCK] @ second.T
        own = np.arange(len(cosines))
        other = np.ones(cosines.shape, bool)
        other[own, start + own] = False
        total += cosines[other].sum()
        counts += _counts(cosines[other])
    pairs = len(first) * (len(first) - 1)
    return float(total / pairs), counts / pairs


def _counts(cosines: np.ndarray) -> np.ndarray:
    """Cosines between `EDGES`; rounding may take one a little beyond 1."""
    return np.histogram(np.clip(cosines, -1, 1), EDGES)[0]


def contrastive_loss(
    view_1: np.ndarray, view_2: np.ndarray, *, temperature: float
) -> float:
    """NT-Xent, the mean over the 2N views: each is to find its partner among 2N - 1.

    Args:
        view_1: (N, D).
        view_2: (N, D), row by row of the same images.
        temperature: Above 0.

    Reference: Chen et al. 2020, "A simple framework for contrastive learning of visual
        representations", equation 1.
    """
    vectors = directions(np.concatenate([view_1, view_2]))
    total, count = 0.0, len(vectors)
    for start in range(0, count, _BLOCK):
        logits = vectors[start : start + _BLOCK] @ vectors.T / temperature
        own = np.arange(len(logits))
        partners = logits[own, (start + own + count // 2) % count]
        logits[own, start + own] = -np.inf
        largest = logits.max(axis=1)
        sums = np.exp(logits - largest[:, None]).sum(axis=1)
        total += (largest + np.log(sums) - partners).sum()
    return float(total / count)


def chance_loss(pairs: int) -> float:
    """NT-Xent of N pairs where every view is as near as any other: ln(2N - 1)."""
    return float(np.log(2 * pairs - 1))
