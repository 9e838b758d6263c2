"""What one GPU does in one sitting: images a second, then CIFAR-10 and its k-NN.

    python benchmarks/gpu.py --data_dir=~/tensorflow_datasets --output=gpu
    python benchmarks/gpu.py --recipe=shapes --epochs=1 --steps=2 --output=small

First a few steps of the recipe in each of the ways that are to be compared: views drawn
on the host and on the device, the step as TensorFlow's kernels and compiled by XLA.
Then the recipe for --epochs, as the fastest of them, as long as --minutes last: the
same command again goes on. A table is printed, then `eval.py knn` runs; all of it is
written to OUTPUT/gpu.json with the versions and the device: the file to send.
"""

import argparse
import json
import pathlib
import signal
import statistics
import subprocess
import sys
import time

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_WAYS = {
    "views on the host": [],
    "views on the device": ["--augment_on=device"],
    "views on the device, XLA": ["--augment_on=device", "--jit_compile=True"],
}
_SPARED = 90  # seconds of the sitting for k-NN


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="cifar10", help="of simclr")
    parser.add_argument("--data_dir", help="where TFDS keeps its data")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--steps", type=int, default=60, help="of each way")
    parser.add_argument("--precision", default="mixed_bfloat16")
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("gpu"))
    return parser.parse_args()


def _run(program: str, *flags: str, seconds: float | None = None) -> bool:
    """Whether a program came to its end; it is asked to stop after so many seconds."""
    command = [sys.executable, str(_ROOT / program), *flags]
    print("$", " ".join(command[1:]), flush=True)
    process = subprocess.Popen(command)
    try:
        return process.wait(timeout=seconds) == 0
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:  # within a compilation it hears nothing
            process.kill()
        return False


def _log(run: pathlib.Path) -> list[dict]:
    path = run / "log.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def _speed(run: pathlib.Path) -> dict:
    """Medians over the calls after the first, which compiles."""
    records = [r for r in _log(run) if "train/images_per_second" in r][1:]
    return {
        name: statistics.median(r[f"train/{name}"] for r in records)
        for name in ("images_per_second", "data_wait")
        if all(f"train/{name}" in r for r in records) and records
    }


def _environment() -> dict:
    import keras
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    names = [each.get("device_name", "GPU") for each in details] or ["CPU"]
    versions = {"tensorflow": tf.__version__, "keras": keras.__version__}
    return {"devices": names, **versions, "python": sys.version.split()[0]}


def main() -> None:
    """Measures, trains as long as there is time, judges, prints and writes."""
    flags = _arguments()
    end = time.monotonic() + 60 * flags.minutes
    flags.output.mkdir(parents=True, exist_ok=True)
    common = ["simclr", flags.recipe, f"--precision={flags.precision}"]
    if flags.data_dir:
        common.append(f"--data_dir={flags.data_dir}")
    report = {"command": sys.argv[1:], "environment": _environment(), "ways": {}}
    if (flags.output / "gpu.json").exists():
        known = json.loads((flags.output / "gpu.json").read_text())
        if known["command"] == report["command"]:
            ways = known["ways"].items()
            report["ways"] = {k: w for k, w in ways if "images_per_second" in w}

    for number, (name, way) in enumerate(_WAYS.items()):
        if name in report["ways"]:
            continue
        run = flags.output / f"way_{number}"
        begun = time.monotonic()
        steps = ["--epochs=None", f"--steps={flags.steps}", "--held_out=0"]
        calls = f"--steps_per_call={max(flags.steps // 6, 1)}"
        steps += [calls, "--optimizer.warmup_epochs=0", f"--run_dir={run}"]
        ended = _run("train.py", *common, *way, *steps, seconds=180)
        seconds = round(time.monotonic() - begun, 1)
        report["ways"][name] = {"ended": ended, "seconds": seconds, **_speed(run)}
        _write(flags.output, report)

    run = flags.output / "run"
    speeds = {n: w.get("images_per_second", 0) for n, w in report["ways"].items()}
    fastest = max(speeds, key=speeds.get)
    if not speeds[fastest]:
        sys.exit("None of the ways came to its end; the reasons are above.")
    report["trained"] = {"as": fastest, "epochs": flags.epochs}
    left = end - time.monotonic() - _SPARED
    whole = left > 0 and _run(
        "train.py",
        *common,
        *_WAYS[fastest],
        f"--epochs={flags.epochs}",
        f"--checkpoint_epochs={max(flags.epochs // 20, 1)}",
        f"--run_dir={run}",
        seconds=left,
    )
    records = [r for r in _log(run) if "epoch" in r]
    report["trained"] |= {"whole": whole, **_speed(run)}
    report["trained"]["reached_epoch"] = records[-1]["epoch"] if records else 0
    _print(report)
    if whole and _run("eval.py", "knn", f"--run_dir={run}"):
        report["knn"] = json.loads((run / "eval" / "knn.json").read_text())["rows"]
    _write(flags.output, report)
    if not whole:
        print("Not at its end: the same command goes on from the last checkpoint.")


def _write(output: pathlib.Path, report: dict) -> None:
    (output / "gpu.json").write_text(json.dumps(report, indent=1))


def _print(report: dict) -> None:
    print(f"\n{', '.join(report['environment']['devices'])}\n")
    print(f"{'':<28}{'images/s':>10}{'waiting':>9}{'s in all':>10}")
    for name, way in report["ways"].items():
        rate = way.get("images_per_second")
        if rate is None:
            print(f"{name:<28}{'-':>10}")
            continue
        wait = f"{way['data_wait']:.0%}" if "data_wait" in way else "-"
        print(f"{name:<28}{rate:>10,.0f}{wait:>9}{way['seconds']:>10}")
    trained = report["trained"]
    print(f"\nepoch {trained['reached_epoch']:g} of {trained['epochs']}", end="")
    print(f", {trained['as']}")


if __name__ == "__main__":
    main()
