"""How close an artefact is to its encoder: the numbers, the thresholds, the table.

Legend: N images, D length of the representation h, C classes.
"""

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from selfsup_tf.exporting.reference import Reference
from selfsup_tf.exporting.runtime import ParityError

_COLUMNS = (
    "artefact", "cosine", "least", "max diff", "k-NN %", "linear %", "class. %",
    "agree %", "ms/image, 1 core", "ms/image, {} cores", "MB", "MB RAM",
)  # fmt: skip
# Two classes whose probabilities differ by less are decided by the last bits.
NEAR_TIE = 0.05


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parity:
    """How close one output of one signature of an artefact comes to the encoder.

    Accuracies are None where the proof has no labels, or of outputs that have none.

    Attributes:
        artefact: Name of the file or directory.
        format: The word of its format.
        signature: What was called.
        output: representation, or probabilities of a classifier.
        precision: What it computes in.
        cosine_mean: Mean cosine of its outputs with the encoder's.
        cosine_min: The least.
        max_difference: Largest absolute difference of two components.
        threshold: Least mean cosine that is accepted.
        num_images: Images compared.
        batch: any, or how many images a call takes where that is fixed.
        size_bytes: The artefact's size.
        knn_top_1: k-NN accuracy with its own representations of bank and images, in
            [0, 1].
        linear_top_1: The same of a linear classifier.
        knn_loss: Points of k-NN accuracy that it loses to the encoder.
        knn_loss_error: Standard error of that, of the differences image by image.
        knn_loss_limit: Points it may lose, see `Threshold`.
        classifier_top_1: Accuracy of its probabilities.
        agreement: Share of images that get the encoder's class from them, or one that
            the encoder finds as probable, but for `NEAR_TIE`.
        agreement_threshold: Least share that is accepted, see `Threshold`.
        latency_ms_one_core: For one image with one thread: the median of a call with
            one, or of a call with `batch` of them, divided by that.
        latency_ms_all_cores: The same with a thread for each core.
        num_cores: How many those are.
        peak_memory_mb: What the process held at most, image by image or, where that is
            fixed, batch by batch, in 10**6 bytes.
        model_memory_mb: By how much that is more than the runtime alone.
        runtime: What ran it, with its version.
        inputs: {name: {"dtype", "shape", "scale", "zero_point"}} of the signature.
        outputs: The same of all its outputs.
    """

    artefact: str
    format: str
    signature: str
    output: str
    precision: str
    cosine_mean: float
    cosine_min: float
    max_difference: float
    threshold: float
    num_images: int
    batch: str
    size_bytes: int
    knn_top_1: float | None = None
    linear_top_1: float | None = None
    knn_loss: float | None = None
    knn_loss_error: float | None = None
    knn_loss_limit: float | None = None
    classifier_top_1: float | None = None
    agreement: float | None = None
    agreement_threshold: float | None = None
    latency_ms_one_core: float
    latency_ms_all_cores: float
    num_cores: int
    peak_memory_mb: float | None
    model_memory_mb: float | None
    runtime: str
    inputs: dict[str, Any]
    outputs: dict[str, Any]

    def __repr__(self) -> str:
        return (
            f"<Parity of {self.artefact}, {self.signature}, {self.output}: cosine "
            f"{self.cosine_mean:.5f} on {self.num_images} images>"
        )


def require_parity(parity: Parity, advice: str = "") -> None:
    """Raises ParityError where a threshold is not met.

    Args:
        parity: What was measured.
        advice: What helps, see `Format.advice`.
    """
    p = parity
    others = round((1 - (p.agreement or 0)) * p.num_images)
    if not p.cosine_mean >= p.threshold:
        expected = f"give the encoder's {p.output}, mean cosine {p.threshold} or more"
        received = (
            f"mean {p.cosine_mean:.6f}, least {p.cosine_min:.6f}, largest difference "
            f"{p.max_difference:.4g} on {p.num_images} images"
        )
    # What may be chance is no reason: of a few images, those whose two best classes are
    # nearly equal.
    elif _is_below(p.agreement, _surely_below(p)) and others > 1:
        expected = (
            f"give {100 * p.agreement_threshold:g} % of the images or more the class "
            "that the encoder's classifier gives them"
        )
        received = (
            f"{100 * p.agreement:.2f} %: another class for {others} of {p.num_images} "
            "images"
        )
        advice += " --min_agreement takes another limit."
    # What may be chance is no reason.
    elif _is_below(p.knn_loss_limit, p.knn_loss) and p.knn_loss > 2 * p.knn_loss_error:
        expected = f"lose {p.knn_loss_limit:g} points of k-NN accuracy or fewer"
        received = (
            f"{p.knn_loss:.2f} (standard error {p.knn_loss_error:.2f}), "
            f"{100 * p.knn_top_1:.2f} % on {p.num_images} images"
        )
    else:
        return
    raise ParityError(
        f"expected {p.artefact} ({p.signature}) to {expected}; received {received}. "
        f"{advice} Nothing was exported."
    )


def _surely_below(p: Parity) -> float | None:
    """The least share that is accepted, less two standard errors of it."""
    limit = p.agreement_threshold
    if limit is None:
        return None
    return limit - 2 * (limit * (1 - limit) / p.num_images) ** 0.5


def _is_below(value: float | None, limit: float | None) -> bool:
    return None not in (value, limit) and value < limit


def compare(expected: np.ndarray, received: np.ndarray) -> dict[str, float]:
    """Cosines (mean, least) and largest difference of two arrays (N, D).

    Two vectors of length 0 agree (cosine 1); one beside a longer one does not (0).
    NaN or infinity, or another shape, agrees with nothing: cosine -infinity, which no
    threshold accepts.
    """
    if expected.shape != received.shape or not np.isfinite(received).all():
        nothing = -np.inf
        return {
            "cosine_mean": nothing, "cosine_min": nothing, "max_difference": np.inf
        }  # fmt: skip
    a, b = expected.astype(np.float64), received.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    product = lengths[0] * lengths[1]
    cosine = (a * b).sum(axis=1) / np.where(product > 0, product, 1)
    cosine = np.where((lengths[0] == 0) & (lengths[1] == 0), 1.0, cosine)
    return {
        "cosine_mean": float(cosine.mean()),
        "cosine_min": float(cosine.min()),
        "max_difference": float(np.abs(a - b).max()),
    }


def agreement(expected: np.ndarray, received: np.ndarray) -> float:
    """Share of rows whose received class is the expected one, or as good as that.

    Args:
        expected: Probabilities, (N, C), of the encoder's classifier.
        received: Those of an artefact.
    """
    chosen = np.take_along_axis(expected, received.argmax(1)[:, None], axis=1)[:, 0]
    return float((chosen >= expected.max(axis=1) - NEAR_TIE).mean())


def format_table(parities: Sequence[Parity], reference: Reference) -> str:
    """A Markdown table that can be read as it is.

    A column without any number is left out. The first row is the encoder; "class. %"
    is the accuracy of a classifier, "agree %" the images that get the class of the
    encoder's or one as probable to within .05, "MB RAM" the peak of a process that
    embeds image by image (batch by batch where the file fixes one), its runtime
    included.
    """
    accuracy = reference.accuracy
    of_encoder = {
        "artefact": "the encoder",
        "k-NN %": _percent(accuracy and accuracy.knn_top_1),
        "linear %": _percent(accuracy and accuracy.linear_top_1),
        "class. %": _percent(reference.classifier_top_1),
    }
    signatures = collections.defaultdict(set)
    for parity in parities:
        signatures[parity.artefact].add(parity.signature)
    rows = [of_encoder]
    rows += [_row(p, len(signatures[p.artefact]) > 1) for p in parities]
    kept = [name for name in _COLUMNS if any(row.get(name) for row in rows)]
    table = [[row.get(name) or "—" for name in kept] for row in rows]
    cores = parities[0].num_cores if parities else 0
    table.insert(0, [name.format(cores) for name in kept])
    width, *widths = (max(map(len, cells)) for cells in zip(*table, strict=True))
    table.insert(1, ["-" * width, *("-" * (others - 1) + ":" for others in widths)])
    return "\n".join(
        f"| {' | '.join([what.ljust(width), *map(str.rjust, cells, widths)])} |"
        for what, *cells in table
    )


def _row(p: Parity, one_of_several: bool) -> dict[str, str]:
    """A row; of an artefact with several signatures, each has its name there."""
    what = p.artefact
    if one_of_several:
        what += f" {p.signature}"
    elif p.output != "representation":
        what += f" {p.output}"
    cells = (
        what,
        f"{p.cosine_mean:.5f}",
        f"{p.cosine_min:.5f}",
        f"{p.max_difference:.2g}",
        _percent(p.knn_top_1),
        _percent(p.linear_top_1),
        _percent(p.classifier_top_1),
        _percent(p.agreement),
        f"{p.latency_ms_one_core:.3g}",
        f"{p.latency_ms_all_cores:.3g}",
        f"{p.size_bytes / 1e6:.2f}",
        "" if p.peak_memory_mb is None else f"{p.peak_memory_mb:.0f}",
    )
    return dict(zip(_COLUMNS, cells, strict=True))


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f}"
