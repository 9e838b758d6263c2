"""What the signatures of an artefact are called with to be measured."""

import dataclasses
import pathlib
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from selfsup_tf.exporting.artefact import Artefact
from selfsup_tf.exporting.images import Proof


@dataclasses.dataclass(frozen=True)
class Job:
    """Inputs for a signature.

    Attributes:
        signature: What is called with them.
        inputs: Their file, see `write_inputs`.
    """

    signature: str
    inputs: pathlib.Path


def make_jobs(artefact: Artefact, proof: Proof, work: pathlib.Path) -> list[Job]:
    """What each signature of an artefact is called with to be measured.

    One signature, that which takes views, gets the images of the bank after its own.

    Args:
        artefact: What is called.
        proof: The images.
        work: A directory for the files of inputs; those that are there are taken for
            this proof's.
    """
    native, jobs = "serving_default", []
    if artefact.format == "saved_model":
        native, jobs = "raw", _jobs_of_any_size(artefact, proof, work)
    jobs.append(Job(native, write_inputs(work / "views.npy", proof.views)))
    if proof.bank_views is not None:
        jobs.append(Job(native, write_inputs(work / "bank.npy", proof.bank_views)))
    return jobs


def _jobs_of_any_size(
    artefact: Artefact, proof: Proof, work: pathlib.Path
) -> list[Job]:
    pngs = (tf.io.encode_png(image).numpy() for image in proof.images)  # lossless
    files = write_inputs(
        work / "files.npz", (np.frombuffer(png, np.uint8) for png in pngs)
    )
    images = write_inputs(work / "images.npz", proof.images)
    # Floats of the encoder's own size are taken for views, so views they are.
    pairs = zip(proof.images, proof.views, strict=True)
    floats = write_inputs(
        work / "floats.npz", (v if i.shape == v.shape else i for i, v in pairs)
    )
    jobs = [
        Job("serving_default", images),
        Job("serve_float", floats),
        Job("serve_bytes", files),
    ]
    if artefact.class_names is not None:
        jobs += [Job("classify", images), Job("classify_bytes", files)]
    return jobs


def write_inputs(path: pathlib.Path, items: Iterable[np.ndarray]) -> pathlib.Path:
    """Writes inputs for a probe, unless the file is there.

    Args:
        path: Ends with .npy for an array (N, ...), with .npz for arrays of different
            shapes; an array of one axis, uint8, is the contents of a file.
        items: The inputs; looked at only where they are written.
    """
    if path.exists():
        return path
    if path.suffix == ".npy":
        np.save(path, items)
    else:
        np.savez(path, **{str(n): item for n, item in enumerate(items)})
    return path
