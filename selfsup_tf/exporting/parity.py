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


def require_parity(parity: Parity, advice: str = "") -> None:
    """Raises ParityError where a threshold is not met.

    Args:
        parity: What was measured.
        advice: What helps, see `Format.advice`.
    """
    what = f"{parity.artefact} ({parity.signature})"
    if not parity.cosine_mean >= parity.threshold:
        raise ParityError(
            f"expected {what} to give the encoder's {parity.output}, mean cosine "
            f"{parity.threshold} or more; received mean {parity.cosine_mean:.6f}, "
            f"least {parity.cosine_min:.6f}, largest difference "
            f"{parity.max_difference:.4g} on {parity.num_images} images. "
            f"{advice} Nothing was exported."
        )
    _require_agreement(parity, what, advice)
    if parity.knn_loss is None or parity.knn_loss_limit is None:
        return
    if parity.knn_loss > max(parity.knn_loss_limit, 2 * parity.knn_loss_error):
        raise ParityError(
            f"expected {what} to lose {parity.knn_loss_limit:g} points of k-NN "
            f"accuracy or fewer; received {parity.knn_loss:.2f} (standard error "
            f"{parity.knn_loss_error:.2f}), {100 * parity.knn_top_1:.2f} % on "
            f"{parity.num_images} images. {advice} Nothing was exported."
        )


def _require_agreement(parity: Parity, what: str, advice: str) -> None:
    if parity.agreement is None or parity.agreement_threshold is None:
        return
    others = round((1 - parity.agreement) * parity.num_images)
    # Of a few images, one whose two best classes are all but equal decides nothing.
    if parity.agreement < parity.agreement_threshold and others > 1:
        raise ParityError(
            f"expected {what} to give {100 * parity.agreement_threshold:g} % of the "
            f"images or more the class that the encoder's classifier gives them; "
            f"received {100 * parity.agreement:.2f} %: another class for {others} of "
            f"{parity.num_images} images. {advice} --min_agreement takes "
            f"another limit. Nothing was exported."
        )


def compare(expected: np.ndarray, received: np.ndarray) -> dict[str, float]:
    """Cosines (mean, least) and largest difference of two arrays (N, D).

    Two vectors of length 0 agree (cosine 1); one beside a longer one does not (0).
    NaN or infinity, or another shape, agrees with nothing: cosine -1.
    """
    if expected.shape != received.shape or not np.isfinite(received).all():
        return {"cosine_mean": -1.0, "cosine_min": -1.0, "max_difference": np.inf}
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
    cores = parities[0].num_cores if parities else 0
    header = [name.format(cores) for name in _COLUMNS]
    signatures = collections.defaultdict(set)
    for parity in parities:
        signatures[parity.artefact].add(parity.signature)
    rows = [_encoder_row(reference)]
    rows += [_row(p, len(signatures[p.artefact]) > 1) for p in parities]
    kept = [n for n in range(len(header)) if n == 0 or any(row[n] for row in rows)]
    table = [[row[n] or "—" for n in kept] for row in rows]
    table.insert(0, [header[n] for n in kept])
    widths = [max(len(row[n]) for row in table) for n in range(len(kept))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    table.insert(1, rule)
    return "\n".join("| " + " | ".join(_padded(row, widths)) + " |" for row in table)


def _padded(cells: list[str], widths: list[int]) -> list[str]:
    first, *others = zip(cells, widths, strict=True)
    return [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]


def _encoder_row(reference: Reference) -> list[str]:
    accuracy = reference.accuracy
    return [
        "the encoder", "", "", "",
        _percent(accuracy and accuracy.knn_top_1),
        _percent(accuracy and accuracy.linear_top_1),
        _percent(reference.classifier_top_1), "", "", "", "", "",
    ]  # fmt: skip


def _row(p: Parity, one_of_several: bool) -> list[str]:
    """A row; of an artefact with several signatures, each has its name there."""
    what = p.artefact
    if one_of_several:
        what += f" {p.signature}"
    elif p.output != "representation":
        what += f" {p.output}"
    return [
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
    ]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f}"
