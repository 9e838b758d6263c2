"""Runs an artefact where it will run: in its own runtime, in a process of its own.

That process is one of the programs in `probes`, which import nothing of this package
and can't: an artefact that needed it would be of no use elsewhere.
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from selfsup_tf.errors import InputError
from selfsup_tf.exporting.format import PROBES, Artefact

TIMEOUT = 3600.0  # seconds; a probe takes seconds to minutes


class ParityError(RuntimeError):
    """An artefact does not give the representations of its encoder."""


def run(
    artefact: Artefact,
    jobs: Sequence[tuple[str, pathlib.Path]],
    work: pathlib.Path,
    *,
    timeout: float = TIMEOUT,
) -> tuple[list[dict[str, np.ndarray]], dict[str, dict[str, Any]]]:
    """Embeds and measures in the artefact's runtime, on the CPU.

    Args:
        artefact: What is run.
        jobs: Signatures, and the file of inputs that each is called with, see
            `write_inputs`; the first of each signature is what its latency is measured
            with.
        work: Directory for the outputs, which are removed again.
        timeout: Seconds that a process may take.

    Returns:
        The outputs of each job, {name: (N, ...)}; and of each signature what `Parity`
        says of its latency, memory, runtime, batch, inputs and outputs.

    Raises:
        ParityError: The artefact can't be run.
        InputError: Its runtime can't be imported.
    """
    files = [work / f"outputs_{n}.npz" for n in range(len(jobs))]
    flags = []
    for (signature, inputs), file in zip(jobs, files, strict=True):
        flags += ["--embed", signature, str(inputs.absolute()), str(file.absolute())]
    one = _probe(artefact, [*flags, "--threads=1", "--measure_only"], timeout)
    every = _probe(artefact, flags, timeout)
    outputs = []
    for file in files:
        with np.load(file) as arrays:
            outputs.append(dict(arrays))
        file.unlink()
    measurements = {}
    for name, found in every["signatures"].items():
        batch = found["batch"]
        measurements[name] = {
            "latency_ms_one_core": one["signatures"][name]["latency_ms"] / (batch or 1),
            "latency_ms_all_cores": found["latency_ms"] / (batch or 1),
            "num_cores": every["threads"],
            "peak_memory_mb": one["peak_memory_mb"],
            "model_memory_mb": one["model_memory_mb"],
            "runtime": every["runtime"],
            "batch": "any" if batch is None else str(batch),
            "inputs": found["inputs"],
            "outputs": found["outputs"],
        }
    return outputs, measurements


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


def _probe(artefact: Artefact, flags: list[str], timeout: float) -> dict[str, Any]:
    """The report of a probe on the artefact."""
    program = artefact.format.probe
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
                timeout=timeout,
            )
    except subprocess.TimeoutExpired as error:
        raise ParityError(
            f"expected {artefact.path.name} to answer in its runtime within "
            f"{timeout:.0f} s; it did not. Nothing was exported."
        ) from error
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    if re.match(r"(ModuleNotFound|Import)Error\b", last) and "selfsup_tf" not in last:
        raise InputError(
            f"a Python that imports the runtime of {artefact.path.name} "
            f"({program.stem})",
            f"{last} from {sys.executable}",
            "That is a matter of this installation and says nothing of the file; "
            "install the package into the Python that runs the export.",
        )
    how = f"exit status {done.returncode}"
    if done.returncode < 0:
        how = signal.Signals(-done.returncode).name
    raise ParityError(
        f"expected {artefact.path.name} to run in its runtime ({program.stem}); it "
        f"ended with {': '.join(filter(None, (how, last)))}. Nothing was exported."
    )


def _environment() -> dict[str, str]:
    """That of this process, with the same packages in another working directory.

    The runtime may lie on PYTHONPATH or in the user's own site-packages, where a Python
    has no virtual environment. `probing`, which probes share, is found from any folder.
    """
    folders = [str(PROBES)]
    if given := os.environ.get("PYTHONPATH"):
        folders += map(os.path.abspath, given.split(os.pathsep))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
