"""How close an artefact is to its encoder, measured in the artefact's own runtime.

Legend: N images, S height and width of the encoder's input, D length of the
representation h, C classes.
"""

import dataclasses
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

from selfsup_tf.evaluation.vectors import unit_vectors
from selfsup_tf.exporting.artefact import Artefact
from selfsup_tf.exporting.images import Proof
from selfsup_tf.exporting.jobs import make_jobs
from selfsup_tf.exporting.reference import (
    Accuracy,
    Reference,
    classifier_accuracy,
    fit_judge,
)
from selfsup_tf.exporting.runtimes import Measurement, ParityError, run
from selfsup_tf.exporting.thresholds import THRESHOLDS, Threshold

# Two classes whose probabilities differ by less are decided by the last bits.
NEAR_TIE = 0.05

__all__ = ["Parity", "ParityError", "compare", "measure", "require_parity"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parity:
    """How close one output of one signature of an artefact comes to the encoder.

    Accuracies are None where the proof has no labels, or of outputs that have none.

    Attributes:
        artefact: Name of the file or directory.
        format: Of `FORMATS`.
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

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return dataclasses.asdict(self)


def measure(
    artefact: Artefact,
    reference: Reference,
    proof: Proof,
    threshold: Threshold | None = None,
    *,
    work: pathlib.Path | None = None,
) -> list[Parity]:
    """Runs an artefact in its own runtime, on the CPU, and compares it.

    Args:
        artefact: What is measured.
        reference: The encoder's answers to the same images.
        proof: The images.
        threshold: None for that of the format.
        work: A directory for the inputs, which are written there once for all
            artefacts of one proof. None: a temporary one.

    Returns:
        One for each output of each signature.

    Raises:
        ParityError: It can't be run, or lacks a signature.
        InputError: Its runtime is not installed.
    """
    threshold = threshold or THRESHOLDS[artefact.format]
    with tempfile.TemporaryDirectory(dir=work) as scratch:
        inputs = pathlib.Path(scratch) if work is None else work
        jobs = make_jobs(artefact, proof, inputs)
        outputs, measurements = run(artefact, jobs, pathlib.Path(scratch))
    found = {}
    for job, of_job in zip(jobs, outputs, strict=True):
        found.setdefault(job.signature, []).append(of_job)
    judge = None
    for _, of_bank in (values for values in found.values() if len(values) == 2):
        judge = _judge(_output(artefact, of_bank, "representation"), reference, proof)
    rows = []
    for signature, (outputs, *_) in found.items():
        fields = {
            "artefact": artefact.path.name,
            "format": artefact.format,
            "signature": signature,
            "precision": artefact.precision,
            "threshold": threshold.cosine,
            "num_images": len(proof.views),
            "size_bytes": artefact.size_bytes,
            **_runtime_fields(measurements[signature]),
        }
        own = _reference_of(artefact, signature, reference)
        for output in _expected_outputs(artefact, signature):
            received = _output(artefact, outputs, output)
            if output == "probabilities":
                expected = own.probabilities
                values = _classifier_fields(
                    artefact, received, expected, proof, threshold
                )
            else:
                expected = _expected_representations(artefact, own)
                values = _accuracy_fields(received, judge, own, threshold)
            values |= compare(expected, received)
            rows.append(Parity(output=output, **fields, **values))
    return rows


def require_parity(parity: Parity) -> None:
    """Raises ParityError where a threshold is not met."""
    what = f"{parity.artefact} ({parity.signature})"
    if not parity.cosine_mean >= parity.threshold:
        raise ParityError(
            f"expected {what} to give the encoder's {parity.output}, mean cosine "
            f"{parity.threshold} or more; received mean {parity.cosine_mean:.6f}, "
            f"least {parity.cosine_min:.6f}, largest difference "
            f"{parity.max_difference:.4g} on {parity.num_images} images. "
            f"{_advice(parity)} Nothing was exported."
        )
    _require_agreement(parity, what)
    if parity.knn_loss is None or parity.knn_loss_limit is None:
        return
    if parity.knn_loss > max(parity.knn_loss_limit, 2 * parity.knn_loss_error):
        raise ParityError(
            f"expected {what} to lose {parity.knn_loss_limit:g} points of k-NN "
            f"accuracy or fewer; received {parity.knn_loss:.2f} (standard error "
            f"{parity.knn_loss_error:.2f}), {100 * parity.knn_top_1:.2f} % on "
            f"{parity.num_images} images. {_advice(parity)} Nothing was exported."
        )


def _require_agreement(parity: Parity, what: str) -> None:
    if parity.agreement is None or parity.agreement_threshold is None:
        return
    others = round((1 - parity.agreement) * parity.num_images)
    # Of a few images, one whose two best classes are all but equal decides nothing.
    if parity.agreement < parity.agreement_threshold and others > 1:
        raise ParityError(
            f"expected {what} to give {100 * parity.agreement_threshold:g} % of the "
            f"images or more the class that the encoder's classifier gives them; "
            f"received {100 * parity.agreement:.2f} %: another class for {others} of "
            f"{parity.num_images} images. {_advice(parity)} --min_agreement takes "
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


def _expected_outputs(artefact: Artefact, signature: str) -> tuple[str, ...]:
    if signature.startswith("classify"):
        return ("probabilities",)
    if artefact.format == "saved_model" or artefact.class_names is None:
        return ("representation",)
    return ("representation", "probabilities")


def _output(
    artefact: Artefact, outputs: dict[str, np.ndarray], name: str
) -> np.ndarray:
    if name not in outputs:
        raise ParityError(
            f"expected {artefact.path.name} to give an output {name}; received "
            f"{', '.join(outputs)}. Nothing was exported."
        )
    return outputs[name]


def _reference_of(
    artefact: Artefact, signature: str, reference: Reference
) -> Reference:
    """The encoder's answers to what the signature gets: views, or whole images."""
    takes_images = artefact.format == "saved_model" and signature != "raw"
    return (takes_images and reference.of_images) or reference


def _expected_representations(artefact: Artefact, reference: Reference) -> np.ndarray:
    h = reference.representations
    if not artefact.options.l2_normalize or artefact.format == "saved_model":
        return h
    return unit_vectors(h)


def _runtime_fields(measured: Measurement) -> dict[str, Any]:
    fields = dataclasses.asdict(measured)
    batch = fields.pop("batch")
    return {**fields, "batch": "any" if batch is None else str(batch)}


def _judge(bank, reference, proof) -> Callable[[np.ndarray], Accuracy] | None:
    """What reads labels by an artefact's own bank; None of a broken one."""
    if not np.isfinite(bank).all():
        return None
    # The encoder's penalty, so that its choice makes no difference between them.
    return fit_judge(bank, proof, reference.accuracy.inverse_penalty)


def _accuracy_fields(received, judge, reference, threshold) -> dict[str, Any]:
    if judge is None or not np.isfinite(received).all():
        return {}
    accuracy = judge(received)
    lost = reference.accuracy.knn_hits.astype(np.float64) - accuracy.knn_hits
    return {
        "knn_top_1": accuracy.knn_top_1,
        "linear_top_1": accuracy.linear_top_1,
        "knn_loss": float(100 * lost.mean()),
        "knn_loss_error": float(100 * lost.std(ddof=1) / np.sqrt(len(lost))),
        "knn_loss_limit": threshold.knn_loss,
    }


def _classifier_fields(
    artefact, received, expected, proof, threshold
) -> dict[str, Any]:
    if received.shape != expected.shape:
        return {}
    return {
        "classifier_top_1": classifier_accuracy(received, proof, artefact.class_names),
        "agreement": agreement(expected, received),
        "agreement_threshold": threshold.agreement,
    }


def _advice(parity: Parity) -> str:
    if parity.precision in ("int8", "uint8", "int16x8"):
        return (
            "Calibrate on more images, and on such as the encoder was trained on; "
            "leave the layers that lose most in float (--keep_float); or take float16."
        )
    if parity.precision == "dynamic":
        return "Export float16, or int8 with calibration images."
    return (
        "The conversion does not compute what the encoder does; please report it with "
        "the encoder's layers."
    )
