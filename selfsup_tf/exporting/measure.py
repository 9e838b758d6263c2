"""Measures an artefact in its own runtime against the encoder's answers.

Legend: N images, S height and width of the encoder's input, D length of the
representation h, C classes.
"""

import pathlib
import tempfile
from typing import Any

import numpy as np
import tensorflow as tf

from selfsup_tf.evaluation.vectors import unit_vectors
from selfsup_tf.exporting.format import Artefact, Threshold, possible_calls
from selfsup_tf.exporting.parity import Parity, agreement, compare
from selfsup_tf.exporting.proof import Proof
from selfsup_tf.exporting.reference import Reference, classifier_accuracy, fit_judge
from selfsup_tf.exporting.runtime import ParityError, run, write_inputs


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
    threshold = threshold or artefact.format.threshold
    calls = artefact.format.calls(artefact.class_names is not None)
    calls = possible_calls(calls, proof.held_out.views.shape[-1])
    with tempfile.TemporaryDirectory(dir=work) as scratch:
        inputs = pathlib.Path(scratch) if work is None else work
        jobs = [(c.signature, _write_inputs(c.inputs, proof, inputs)) for c in calls]
        represent = [c for c in calls if "representation" in c.outputs]
        native = [c.signature for c in represent if c.inputs == "views"][:1]
        if proof.bank is not None and native:
            bank = write_inputs(inputs / "bank.npy", proof.bank.views)
            jobs.append((native[0], bank))
        outputs, measurements = run(artefact, jobs, pathlib.Path(scratch))
    judge = None
    if len(jobs) > len(calls):
        bank = _output(artefact, outputs[-1], "representation")
        if np.isfinite(bank).all():
            # The encoder's penalty, so that its choice makes no difference.
            judge = fit_judge(bank, proof, reference.accuracy.inverse_penalty)
    rows = []
    for call, received in zip(calls, outputs, strict=False):
        fields = {
            "artefact": artefact.path.name,
            "format": artefact.format.word,
            "signature": call.signature,
            "precision": artefact.format.precision,
            "threshold": threshold.cosine,
            "num_images": len(proof.images),
            "size_bytes": artefact.size_bytes,
            **measurements[call.signature],
        }
        own = reference
        if call.inputs != "views":  # but whole images, of which some may be shrunk
            own = reference.of_images or reference
        for output in call.outputs:
            values = _output(artefact, received, output)
            if output == "probabilities":
                expected = own.probabilities
                judged = _classifier_fields(
                    artefact, values, expected, proof, threshold
                )
            else:
                expected = own.representations
                if artefact.options.l2_normalize:
                    expected = unit_vectors(expected)
                judged = _accuracy_fields(values, judge, own, threshold)
            judged |= compare(expected, values)
            rows.append(Parity(output=output, **fields, **judged))
    return rows


def _write_inputs(kind: str, proof: Proof, folder: pathlib.Path) -> pathlib.Path:
    """The file of a proof's inputs of a kind, see `Call.inputs`."""
    views = proof.held_out.views
    if kind == "views":
        return write_inputs(folder / "views.npy", views)
    pairs = zip(proof.images, views, strict=True)
    pngs = (tf.io.encode_png(image).numpy() for image in proof.images)  # lossless
    items = {
        "images": proof.images,
        # Floats of the encoder's own size are taken for views, so views they are.
        "floats": (view if i.shape == view.shape else i for i, view in pairs),
        "files": (np.frombuffer(png, np.uint8) for png in pngs),
    }
    return write_inputs(folder / f"{kind}.npz", items[kind])


def _output(artefact, outputs: dict[str, np.ndarray], name: str) -> np.ndarray:
    if name not in outputs:
        raise ParityError(
            f"expected {artefact.path.name} to give an output {name}; received "
            f"{', '.join(outputs)}. Nothing was exported."
        )
    return outputs[name]


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
