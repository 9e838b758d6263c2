"""How long the programs take to start: to the first step, to the first answer.

    python benchmarks/start.py
    python benchmarks/start.py --against=../older_checkout

Each measurement is a process of its own, on the built-in shapes: what importing
TensorFlow takes, which is the least; a run of a single step, with its evaluation and
its files; `eval.py knn` of that run, and once more, when the features are kept. CPU is
what all cores spent together, which other programs on the machine disturb less. With
--against, the same of another checkout of this repository, in turns.
"""

import argparse
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

_HERE = pathlib.Path(__file__).resolve().parents[1]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", type=pathlib.Path, help="another checkout")
    return parser.parse_args()


def _seconds(checkout: pathlib.Path, command: list[str]) -> tuple[float, float]:
    """Seconds on the clock and seconds of CPU."""
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    spent, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, *command],
        cwd=checkout,
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    seconds = time.perf_counter() - start
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = now.ru_utime + now.ru_stime - spent.ru_utime - spent.ru_stime
    return seconds, cpu


def _measure(checkout: pathlib.Path) -> dict[str, tuple[float, float]]:
    with tempfile.TemporaryDirectory() as temporary:
        run = f"--run_dir={temporary}/run"
        one_step = ["simclr", "shapes", "--epochs=None", "--steps=1"]
        commands = {
            "import tensorflow": ["-c", "import tensorflow"],
            "train.py, one step": ["train.py", *one_step, run],
            "eval.py knn": ["eval.py", "knn", run],
            "eval.py knn, features kept": ["eval.py", "knn", run],
        }
        return {name: _seconds(checkout, line) for name, line in commands.items()}


def main() -> None:
    """Prints the medians."""
    arguments = _arguments()
    checkouts = [_HERE]
    if arguments.against:
        checkouts.append(arguments.against.resolve())
    rounds = [[_measure(each) for each in checkouts] for _ in range(arguments.rounds)]
    print(f"{os.cpu_count()} CPU cores, median of {arguments.rounds} rounds\n")
    heads = ["s", "CPU s"] + ["other s", "other CPU s", "CPU ratio"] * (
        len(checkouts) - 1
    )
    print(f"{'':<28}" + "".join(f"{head:>13}" for head in heads))
    for name in rounds[0][0]:
        cells = []
        for number in range(len(checkouts)):
            found = [each[number][name] for each in rounds]
            cells += [statistics.median(values) for values in zip(*found, strict=True)]
        if len(checkouts) > 1:
            ratios = [each[0][name][1] / each[1][name][1] for each in rounds]
            cells.append(statistics.median(ratios))
        print(f"{name:<28}" + "".join(f"{cell:13.2f}" for cell in cells))


if __name__ == "__main__":
    main()
