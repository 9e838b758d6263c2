"""Keeps the curves of a recipe's runs in the method's package, for later reports.

    python -m selfsup_tf.evaluation.keep_curves RECIPE RUN_DIRECTORY RUN_DIRECTORY ...

The runs are finished ones of the recipe as it stands, of a seed each; `expected` reads
what this writes.
"""

import argparse
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from selfsup_tf.commands import spelled
from selfsup_tf.errors import check
from selfsup_tf.evaluation.expected import (
    LEAST_RUNS,
    WINDOW,
    comparable,
    curve_folders,
    treated,
    windows,
)
from selfsup_tf.files import write_atomically
from selfsup_tf.methods import find_method
from selfsup_tf.run import RunDirectory

_OPERATION = {
    f"train/{name}"
    for name in ("images_per_second", "data_wait", "skipped_steps", "loss_scale",
                 "learning_rate", "lost_images")
}  # fmt: skip


def collect(recipe: str, runs: Sequence[RunDirectory]) -> dict[str, Any]:
    """The curves of finished runs of one recipe, as plain values.

    Args:
        recipe: Its name.
        runs: `LEAST_RUNS` or more that differ in their seed.

    Raises:
        InputError: The runs are too few, not finished, or not of one recipe.
    """
    check(
        len(runs) >= LEAST_RUNS,
        f"{LEAST_RUNS} runs or more of a recipe, of other seeds",
        f"{len(runs)}",
        f"Train them: {spelled('train')} METHOD RECIPE --seed=1 --run_dir=DIRECTORY",
    )
    configs = [run.read_config() or {} for run in runs]
    logs = [run.read_log() for run in runs]
    first = comparable(configs[0])
    for run, config in zip(runs, configs, strict=True):
        theirs = comparable(config)
        differing = [k for k in first | theirs if first.get(k) != theirs.get(k)]
        check(
            config and not differing,
            f"runs of one recipe, as {runs[0].path} is",
            f"{run.path}, which differs in {', '.join(differing) or 'its config.json'}",
            "Leave it out, or train it with another --seed alone.",
        )
    seeds = [config.get("seed") for config in configs]
    check(len(set(seeds)) == len(seeds), "a run for each seed", seeds, "Leave one out.")
    planned = [_steps(config, log) for config, log in zip(configs, logs, strict=True)]
    come = [log[-1].get("step", 0) if log else 0 for log in logs]
    check(
        come == planned,
        f"finished runs, of {max(planned)} steps",
        f"runs that have come to step {', '.join(map(str, come))}",
        "Run the same commands again; they go on where they were stopped.",
    )
    end = logs[0][-1]["epoch"]
    window = max(WINDOW, end / 100, *(_longest_record(log) for log in logs))
    count = max(1, int(end / window + 1e-3))
    names = [
        name
        for name in dict.fromkeys(key for record in logs[0] for key in record)
        if "/" in name and name not in _OPERATION
    ]
    curves = {
        name: [windows(log, name, window, count) for log in logs] for name in names
    }
    origin = {key: logs[0][0].get(key) for key in ("hardware", "versions")}
    return {
        "name": f"{configs[0]['method']} {recipe}",
        "seeds": seeds,
        "made_on": origin,
        "config": configs[0],
        "variables": treated(logs[0]),
        "window": window,
        "curves": {
            name: [[_rounded(v) for v in values] for values in curve]
            for name, curve in curves.items()
        },
    }


def _steps(config: dict[str, Any], log: list[dict[str, Any]]) -> int:
    """How many steps a run is to have, -1 where its log doesn't say."""
    first = log[0] if log else {}
    images, size = first.get("images"), first.get("batch_size")
    if config.get("steps"):
        return config["steps"]
    if not (images and size and config.get("epochs")):
        return -1
    return max(1, round(config["epochs"] * (images // size)))


def _longest_record(log: list[dict[str, Any]]) -> float:
    """Epochs between two records of training."""
    epochs = [0.0, *(r["epoch"] for r in log if "train/loss" in r)]
    return float(np.diff(epochs).max(initial=0.0))


def _rounded(value: float) -> float | None:
    return float(f"{value:.5g}") if np.isfinite(value) else None


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the curves of a recipe's runs to a file of the method's package."""
    parser = argparse.ArgumentParser(
        prog="python -m selfsup_tf.evaluation.keep_curves",
        description="Keeps the curves of a recipe's runs for the reports of others.",
    )
    parser.add_argument("recipe", help="name of the recipe, such as cifar10_cpu")
    parser.add_argument("runs", nargs="+", help="directories of its runs, a seed each")
    parser.add_argument(
        "--out", help="the file; left out, curves/RECIPE.json of the method's package"
    )
    given = parser.parse_args(arguments)
    values = collect(given.recipe, [RunDirectory(run) for run in given.runs])
    package = find_method(values["config"].get("method", ""))
    package.recipe(given.recipe)  # which is refused where there is none
    (folder, *_) = curve_folders(package.name)
    out = pathlib.Path(given.out or folder / f"{given.recipe}.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    lines = (f"{json.dumps(key)}: {json.dumps(v)}" for key, v in values.items())
    write_atomically(out, "{\n" + ",\n".join(lines) + "\n}\n")
    print(f"Curves of {len(given.runs)} runs of {values['name']}: {out}")


if __name__ == "__main__":
    main()
