"""Whether two processes train to the same bits, and one of them interrupted; the cost.

python benchmarks/determinism.py
python benchmarks/determinism.py --steps=12 simclr:float32

For each method and precision two pairs of processes, without and with
--deterministic=True: the first step whose loss differs between the two of a pair ("-":
none), whether all weights are the same in the end, and how much longer a step takes.
The second process of a pair is stopped halfway and resumed. Ends with status 1 where
the bits of a deterministic pair differ.
"""

import argparse
import dataclasses
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

BATCH_SIZE = 64
IMAGES = 2048


def train(method: str, precision: str, steps: int, deterministic: bool, halt: bool):
    """Trains on `shapes`; the losses, a hash of the weights, seconds a step."""
    import keras

    from selfsup_tf.config import EncoderConfig, OptimizerConfig, ViewConfig
    from selfsup_tf.data.sources import open_source
    from selfsup_tf.data.sources.shapes import make_shapes
    from selfsup_tf.methods import find_method
    from selfsup_tf.training import loop

    package = find_method(method)
    config = package.config_class(
        image_size=32,
        views=(ViewConfig(),) * 2,
        encoder=EncoderConfig(name="resnet18", width=1 / 8, stem="small_stride2"),
        optimizer=OptimizerConfig(learning_rate=0.5, warmup_epochs=0.0),
        batch_size=BATCH_SIZE,
        epochs=None,
        steps=steps,
        steps_per_call=1,
        precision=precision,
        checkpoint_epochs=steps / 2 * BATCH_SIZE / IMAGES,
        knn_epochs=(steps // 2 + 1) * BATCH_SIZE / IMAGES,
        deterministic=deterministic,
    )
    source = open_source(make_shapes("train", size=IMAGES)[0])

    def interrupt(networks: dict[str, keras.Model]):
        raise KeyboardInterrupt

    with tempfile.TemporaryDirectory() as run_dir:

        def run(monitor):
            return loop.train(
                package.load()(config),
                source,
                run_dir=run_dir,
                monitor=monitor,
                progress=False,
            )

        if halt:
            try:
                run(interrupt)
            except KeyboardInterrupt:
                keras.backend.clear_session()
        done = run(lambda networks: {})
    records = [record for record in done.log if "train/loss" in record]
    speeds = [record["train/images_per_second"] for record in records]
    weights = [variable.numpy().tobytes() for variable in done.encoder.variables]
    return {
        "losses": [record["train/loss"] for record in records],
        "weights": hashlib.sha256(b"".join(weights)).hexdigest(),
        "seconds": BATCH_SIZE / statistics.median(speeds),
    }


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two processes that were given the same, the second of them interrupted.

    Attributes:
        first_difference: The first step whose loss differs, or None.
        equal: Whether all bits are the same.
        seconds: Of a step, the median of the uninterrupted process.
    """

    first_difference: int | None
    equal: bool
    seconds: float


def compare(method: str, precision: str, steps: int, deterministic: bool) -> Pair:
    """Runs two processes, one after the other, the second interrupted halfway."""
    words = [method, precision, str(steps), str(deterministic)]
    runs = []
    for halt in (False, True):
        command = [sys.executable, __file__, "--process", *words, str(halt)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    whole, halted = runs
    losses = zip(whole["losses"], halted["losses"], strict=True)
    differing = [step for step, (a, b) in enumerate(losses, 1) if a != b]
    equal = not differing and whole["weights"] == halted["weights"]
    return Pair(next(iter(differing), None), equal, whole["seconds"])


def main() -> int:
    """Prints the table; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", help="METHOD:PRECISION")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--process", nargs=5, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.process:
        method, precision, steps, deterministic, halt = flags.process
        switches = [word == "True" for word in (deterministic, halt)]
        print(json.dumps(train(method, precision, int(steps), *switches)))
        return 0
    cases = flags.cases or [
        f"{method}:{precision}"
        for precision in ("float32", "float64")
        for method in ("simclr", "byol")
    ]
    print(f"Of {flags.steps} steps, {os.cpu_count()} cores; the first that differs.\n")
    print("| | precision | as it is | deterministic | weights | time of a step |")
    print("|---|---|---|---|---|---|")
    failed = False
    for case in cases:
        method, _, precision = case.partition(":")
        plain, exact = (
            compare(method, precision, flags.steps, deterministic)
            for deterministic in (False, True)
        )
        print(
            f"| {method} | {precision} | {plain.first_difference or '-'} | "
            f"{exact.first_difference or '-'} | "
            f"{'the same' if exact.equal else 'differ'} | "
            f"{exact.seconds / plain.seconds:.2f} |",
            flush=True,
        )
        failed |= not exact.equal
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
