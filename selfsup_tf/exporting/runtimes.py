"""Runs an artefact where it will run: in its own runtime, in a process of its own.

That process is one of the programs in `probes`, which import nothing of this package
and can't: an artefact that needed it would be of no use elsewhere.
"""

import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from selfsup_tf.errors import InputError
from selfsup_tf.exporting.artefact import TFLITE, Artefact
from selfsup_tf.exporting.jobs import Job

PROBES = pathlib.Path(__file__).parent / "probes"
PROBE = {
    "saved_model": "saved_model_probe.py",
    **dict.fromkeys(TFLITE, "litert_probe.py"),
    "onnx": "onnx_probe.py",
}
TIMEOUT = 3600.0  # seconds; a probe takes seconds to minutes


class ParityError(RuntimeError):
    """An artefact does not give the representations of its encoder."""


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What a runtime tells of one signature.

    Attributes:
        latency_ms_one_core: Milliseconds for one input with one thread: the median of a
            call with one, after warm-up, or, where `batch` is fixed, of a call with so
            many divided by their number.
        latency_ms_all_cores: The same with a thread for each core.
        num_cores: How many those are.
        peak_memory_mb: What the process with one thread held at most, one call after
            the other, runtime included, in 10**6 bytes; None where the system does not
            tell.
        model_memory_mb: By how much that is more than the runtime alone.
        runtime: Its name and version.
        batch: Inputs a call takes; None where that is free.
        inputs: {name: {"dtype", "shape", "scale", "zero_point"}}, the latter two of
            quantised ones; None in a shape stands for a free axis.
        outputs: The same of the outputs.
    """

    latency_ms_one_core: float
    latency_ms_all_cores: float
    num_cores: int
    peak_memory_mb: float | None
    model_memory_mb: float | None
    runtime: str
    batch: int | None
    inputs: dict[str, Any]
    outputs: dict[str, Any]


def run(
    artefact: Artefact, jobs: Sequence[Job], work: pathlib.Path
) -> tuple[list[dict[str, np.ndarray]], dict[str, Measurement]]:
    """Embeds and measures in the artefact's runtime, on the CPU.

    Args:
        artefact: What is run.
        jobs: What with; the first of each signature is what its latency is measured
            with.
        work: Directory for the outputs, which are removed again.

    Returns:
        The outputs of each job, {name: (N, ...)}, and a measurement by signature.

    Raises:
        ParityError: The artefact can't be run.
        InputError: Its runtime can't be imported.
    """
    files = [work / f"outputs_{n}.npz" for n in range(len(jobs))]
    flags = []
    for job, file in zip(jobs, files, strict=True):
        inputs, file = job.inputs.absolute(), file.absolute()
        flags += ["--embed", job.signature, str(inputs), str(file)]
    one = _probe(artefact, [*flags, "--threads=1", "--measure_only"])
    every = _probe(artefact, flags)
    outputs = []
    for file in files:
        with np.load(file) as arrays:
            outputs.append(dict(arrays))
        file.unlink()
    measurements = {
        name: Measurement(
            latency_ms_one_core=one["signatures"][name]["latency_ms"]
            / (found["batch"] or 1),
            latency_ms_all_cores=found["latency_ms"] / (found["batch"] or 1),
            num_cores=every["threads"],
            peak_memory_mb=one["peak_memory_mb"],
            model_memory_mb=one["model_memory_mb"],
            runtime=every["runtime"],
            batch=found["batch"],
            inputs=found["inputs"],
            outputs=found["outputs"],
        )
        for name, found in every["signatures"].items()
    }
    return outputs, measurements


def _probe(artefact: Artefact, flags: list[str]) -> dict[str, Any]:
    """What a probe reports of the artefact."""
    program = PROBES / PROBE[artefact.format]
    command = [sys.executable, str(program), str(artefact.path.absolute()), *flags]
    try:
        with tempfile.TemporaryDirectory() as nowhere:
            done = subprocess.run(
                command,
                cwd=nowhere,
                env=_environment(),
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIMEOUT,
            )
    except subprocess.TimeoutExpired as error:
        raise ParityError(
            f"expected {artefact.path.name} to answer in its runtime within "
            f"{TIMEOUT:.0f} s; it did not. Nothing was exported."
        ) from error
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    last = _last_line(done)
    if re.match(r"(ModuleNotFound|Import)Error\b", last) and "selfsup_tf" not in last:
        raise InputError(
            f"a Python that imports the runtime of {artefact.path.name} "
            f"({program.stem})",
            f"{last} from {sys.executable}",
            "That is a matter of this installation and says nothing of the file; "
            "install the package into the Python that runs the export.",
        )
    raise ParityError(
        f"expected {artefact.path.name} to run in its runtime ({program.stem}); it "
        f"ended with {_reason(done)}. Nothing was exported."
    )


def _environment() -> dict[str, str]:
    """That of this process, with the same packages in another working directory.

    The runtime may lie on PYTHONPATH or in the user's own site-packages, where a Python
    has no virtual environment.
    """
    variables = dict(os.environ)
    # It would hide the folder of the probe, where the module that they share lies.
    variables.pop("PYTHONSAFEPATH", None)
    if variables.get("PYTHONPATH"):
        folders = variables["PYTHONPATH"].split(os.pathsep)
        variables["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, folders))
    return variables


def _last_line(done: subprocess.CompletedProcess) -> str:
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _reason(done: subprocess.CompletedProcess) -> str:
    last = f": {_last_line(done)}" if _last_line(done) else ""
    if done.returncode < 0:
        return f"{signal.Signals(-done.returncode).name}{last}"
    return f"exit status {done.returncode}{last}"
