"""What the probes share: calls of signatures, their latency, the process's memory.

    python litert_probe.py encoder_int8.tflite
        --embed serving_default views.npy embeddings.npz --threads=4

`views.npy` holds N inputs, first axis N; an `.npz` with arrays "0", "1", ... holds
inputs of different shapes, an array of one axis being a file's bytes. The results go to
`embeddings.npz`, an array for each output. The last line on the standard output is
JSON: what was called, how long a call takes, what memory the process needed.

It needs Python and NumPy.
"""

import argparse
import dataclasses
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

PACKAGE = "selfsup_tf"
WARM_UP = 5
MIN_RUNS = 10
MOST_PIXELS = 2**24
"""Of a call with several images; a server of ours takes four times as many."""
MEGABYTE = 1e6


@dataclasses.dataclass(frozen=True)
class Signature:
    """One way of calling a model.

    Attributes:
        prepare: From a list of inputs to what `call` takes; not part of the latency.
        call: From that to {output name: array (N, ...)}.
        batch: Inputs a call takes; None where that is free.
        inputs: {name: {"dtype", "shape", and "scale" and "zero_point" of integers}};
            None stands for a free axis.
        outputs: The same of the outputs as the file has them. `call` gives float32.
    """

    prepare: Callable[[list[np.ndarray]], Any]
    call: Callable[[Any], dict[str, np.ndarray]]
    batch: int | None
    inputs: dict[str, Any]
    outputs: dict[str, Any]


def main(load: Callable[[str, int], dict[str, Signature]], runtime: str) -> None:
    """Runs a probe from its command line.

    Args:
        load: From the artefact's path and the number of threads to its signatures.
        runtime: Name and version of what runs it.
    """
    forbid_package()
    parser = argparse.ArgumentParser(description=f"Runs a model in {runtime}.")
    parser.add_argument("model")
    parser.add_argument(
        "--embed", nargs=3, action="append", default=[],
        metavar=("SIGNATURE", "INPUTS", "OUTPUTS"),
    )  # fmt: skip
    parser.add_argument("--threads", type=int, default=0, help="0: one for each core")
    parser.add_argument("--batch", type=int, default=32, help="inputs of a call")
    parser.add_argument("--runs", type=int, default=200, help="calls timed, at most")
    parser.add_argument("--seconds", type=float, default=3.0, help="likewise")
    parser.add_argument(
        "--measure_only", action="store_true", help="time calls, write no outputs"
    )
    flags = parser.parse_args()

    threads = flags.threads or count_cores()
    imported = memory_megabytes()
    signatures = load(flags.model, threads)
    found = {}
    for name, inputs, _ in flags.embed:
        if name not in signatures:
            sys.exit(f"no signature {name}; there are: {', '.join(signatures)}")
        if name not in found:
            (one,) = read(inputs, 1)
            found[name] = measure(signatures[name], one, flags.runs, flags.seconds)
    # Before the large batches, so that it is the memory of one input at a time.
    needed = memory_megabytes()
    if not flags.measure_only:
        for name, inputs, outputs in flags.embed:
            embeddings = embed(signatures[name], read(inputs), flags.batch)
            np.savez(outputs, **embeddings)
    report = {
        "runtime": runtime,
        "threads": threads,
        "peak_memory_mb": needed["peak"],
        "model_memory_mb": needed["peak"] and needed["peak"] - imported["now"],
        "signatures": found,
    }
    print(f"\n{json.dumps(report)}", flush=True)


def forbid_package() -> None:
    """From here on, importing the package that wrote the artefact is an ImportError.

    An artefact has to do without it, though it may lie beside the runtime.
    """
    if PACKAGE in sys.modules:
        sys.exit(f"expected a probe without {PACKAGE}; it has been imported")
    sys.modules[PACKAGE] = None


def read(path: str, count: int | None = None) -> Sequence[np.ndarray]:
    """The first `count` inputs of a file, or all; an .npy stays on the disk."""
    if path.endswith(".npz"):
        with np.load(path) as arrays:
            return [arrays[str(n)] for n in range(count or len(arrays.files))]
    return np.load(path, mmap_mode="r")[:count]


def measure(
    signature: Signature, one: np.ndarray, runs: int, seconds: float
) -> dict[str, Any]:
    """Median latency of a call with one input, or as many as the signature's batch."""
    prepared = signature.prepare([one] * (signature.batch or 1))
    for _ in range(WARM_UP):
        signature.call(prepared)
    times, start = [], time.perf_counter()
    while len(times) < runs:
        before = time.perf_counter()
        signature.call(prepared)
        times.append(time.perf_counter() - before)
        if len(times) >= MIN_RUNS and time.perf_counter() - start > seconds:
            break
    return {
        "latency_ms": 1000 * statistics.median(times),
        "latency_runs": len(times),
        "batch": signature.batch,
        "inputs": signature.inputs,
        "outputs": signature.outputs,
    }


def embed(
    signature: Signature, inputs: Sequence[np.ndarray], batch: int
) -> dict[str, np.ndarray]:
    """The outputs of all inputs, in their order, each (N, ...)."""
    found = []
    most = None if signature.batch else MOST_PIXELS
    for items in batches(inputs, signature.batch or batch, most):
        missing = (signature.batch or 0) - len(items)
        outputs = signature.call(signature.prepare(items + items[-1:] * missing))
        found.append({name: h[: len(items)] for name, h in outputs.items()})
    return {name: np.concatenate([h[name] for h in found]) for name in found[0]}


def batches(
    inputs: Sequence[np.ndarray], size: int, most: int | None = None
) -> Iterator[list[np.ndarray]]:
    """Consecutive inputs of one shape, or files of any length, `size` or fewer.

    Of images, (H, W, C), no more than have `most` pixels, each counted as a square of
    its longer side; one alone may have any number.
    """
    items = []
    for item in inputs:
        is_file = item.ndim == 1
        fits = is_file or not items or item.shape == items[0].shape
        pixels = 0 if is_file or most is None else max(item.shape[:2]) ** 2
        full = len(items) == size or (len(items) + 1) * pixels > (most or 0) > 0
        if items and (full or not fits):
            yield items
            items = []
        items.append(item)
    if items:
        yield items


def count_cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_megabytes() -> dict[str, float | None]:
    """What this process holds in RAM now, and held at most; None where not told.

    Not `ru_maxrss` on Linux, which a process inherits from the one that started it.
    """
    try:
        with open("/proc/self/status") as file:
            lines = dict(line.split(":", 1) for line in file if ":" in line)
        kilobytes = {name: int(lines[name].split()[0]) for name in ("VmRSS", "VmHWM")}
        return {
            "now": kilobytes["VmRSS"] * 1024 / MEGABYTE,
            "peak": kilobytes["VmHWM"] * 1024 / MEGABYTE,
        }
    except (OSError, KeyError):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return {"now": None, "peak": None}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak *= 1 if sys.platform == "darwin" else 1024
    return {"now": peak / MEGABYTE, "peak": peak / MEGABYTE}
