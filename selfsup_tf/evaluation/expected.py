"""What the curves of a healthy run of a recipe look like, and where a run leaves them.

A method's package keeps the curves of runs of a recipe, of several seeds, in
NAME_tf/curves/RECIPE.json. The report draws the band that they make behind the curves
of a run, and names what lies outside. They are written by

    python -m selfsup_tf.evaluation.expected RECIPE RUN_DIRECTORY RUN_DIRECTORY ...

Nothing here needs TensorFlow.

Legend: S runs, W windows of a run, each of `WINDOW` epochs.
"""

import argparse
import dataclasses
import importlib.util
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from selfsup_tf.config import Config
from selfsup_tf.config.stored import by_flag, upgraded
from selfsup_tf.errors import check
from selfsup_tf.evaluation.plotting import is_number
from selfsup_tf.files import read_object, write_atomically
from selfsup_tf.run import RunDirectory

WINDOW = 0.5
"""Epochs whose records are averaged; a run of over 50 epochs has 100 windows."""

LEVEL = 1e-4
"""The share of healthy windows that lie outside of a band by chance."""

_NEIGHBOURS = 2  # windows on either side, whose deviations are taken as one
_FREE = {f.name for f in dataclasses.fields(Config) if f.metadata} | {"seed"}
_SAME = ("method", "data", "split", "image_size")
_OPERATION = {
    f"train/{name}"
    for name in ("images_per_second", "data_wait", "skipped_steps", "loss_scale",
                 "learning_rate", "tau", "lost_images")
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Expected:
    """The curves of healthy runs of a recipe.

    Attributes:
        name: Of the method and the recipe, "simclr shapes".
        config: Of the runs, a config.json.
        variables: How many variables are treated how by the optimizer.
        window: Epochs that a window has.
        curves: By log name, the mean of each window of each run, (S, W); NaN where
            nothing was logged.
    """

    name: str
    config: dict[str, Any]
    variables: dict[str, int]
    window: float
    curves: dict[str, np.ndarray]

    @property
    def runs(self) -> int:
        """S."""
        return len(next(iter(self.curves.values())))

    def band(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Between what a further healthy run's windows lie, (W,) each, but for `LEVEL`.

        It is the prediction interval of Student's t of one more run, the deviations of
        neighbouring windows being pooled.
        """
        import scipy.stats

        values = self.curves[name]
        mean = values.mean(axis=0)
        squares = ((values - mean) ** 2).sum(axis=0)
        low, high = np.full((2, len(mean)), np.nan)
        for i in np.flatnonzero(np.isfinite(mean)):
            near = squares[max(0, i - _NEIGHBOURS) : i + _NEIGHBOURS + 1]
            near = near[np.isfinite(near)]
            freedom = len(near) * (self.runs - 1)
            spread = np.sqrt(near.sum() / freedom * (1 + 1 / self.runs))
            width = scipy.stats.t.ppf(1 - LEVEL / 2, freedom) * spread
            low[i], high[i] = mean[i] - width, mean[i] + width
        return low, high

    def differences(self, config: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        """What a run's config.json has otherwise: (there, here) by flag."""
        there, here = _comparable(self.config), _comparable(config)
        return {
            key: (there.get(key), here.get(key))
            for key in sorted(there.keys() | here.keys())
            if there.get(key) != here.get(key)
        }

    def departures(self, records: Sequence[Mapping[str, Any]]) -> list[str]:
        """Sentences that say where a run leaves the band; none of a healthy one.

        Args:
            records: Of a log.jsonl, as far as the run has come.
        """
        said = []
        treated = _treated(records)
        if treated and treated != self.variables:
            words = (_listed(self.variables), _listed(treated))
            said.append("Its optimizer has {} variables, this run's {}.".format(*words))
        for name in self.curves:
            values = _windows(records, name, self.window, self.curves[name].shape[1])
            low, high = self.band(name)
            outside = np.flatnonzero((values < low) | (values > high))
            if not len(outside):
                continue
            first = outside[0]
            seen = int(np.isfinite(values + low).sum())
            said.append(
                f"{name} is {values[first]:.4g} in epochs {first * self.window:g} to "
                f"{(first + 1) * self.window:g}, where theirs lies between "
                f"{low[first]:.4g} and {high[first]:.4g}; {len(outside)} of {seen} "
                "such stretches are outside."
            )
        return said


def find_expected(config: Mapping[str, Any]) -> Expected | None:
    """The curves that a run is to be seen beside, those of the recipe nearest to it.

    Args:
        config: A config.json.

    Returns:
        None where the run's method keeps none of these data.
    """
    config = upgraded(dict(config)) if config else {}
    found = [
        expected
        for expected in map(read_expected, _files(str(config.get("method"))))
        if all(expected.config.get(key) == config.get(key) for key in _SAME)
    ]
    return min(found, key=lambda e: len(e.differences(config)), default=None)


def read_expected(path: pathlib.Path) -> Expected:
    """Reads what `collect` has given.

    Raises:
        InputError: The file is no JSON object.
    """
    values = read_object(path)
    curves = {k: np.array(v, float) for k, v in values["curves"].items()}
    names = ("name", "config", "variables", "window")
    return Expected(**{name: values[name] for name in names}, curves=curves)


def collect(recipe: str, runs: Sequence[RunDirectory]) -> dict[str, Any]:
    """The curves of finished runs of one recipe, as plain values.

    Args:
        recipe: Its name.
        runs: Two or more that differ in their seed.

    Raises:
        InputError: The runs are fewer, not finished, or not of one recipe.
    """
    check(
        len(runs) >= 2,
        "two runs or more of a recipe, of other seeds",
        f"{len(runs)}",
        "Train them: python train.py METHOD RECIPE --seed=1 --run_dir=DIRECTORY",
    )
    configs = [run.read_config() or {} for run in runs]
    logs = [run.read_log() for run in runs]
    first = _comparable(configs[0])
    for run, config in zip(runs, configs, strict=True):
        theirs = _comparable(config)
        differing = [k for k in first | theirs if first.get(k) != theirs.get(k)]
        check(
            config and not differing,
            f"runs of one recipe, as {runs[0].path} is",
            f"{run.path}, which differs in {', '.join(differing) or 'its config.json'}",
            "Leave it out, or train it with another --seed alone.",
        )
    seeds = [config.get("seed") for config in configs]
    check(len(set(seeds)) == len(seeds), "a run for each seed", seeds, "Leave one out.")
    ends = [log[-1].get("epoch", 0) if log else 0 for log in logs]
    check(
        min(ends) == max(ends) > 0,
        "finished runs",
        f"runs that have come to epoch {', '.join(f'{end:g}' for end in ends)}",
        "Run the same commands again; they go on where they were stopped.",
    )
    window = max(WINDOW, ends[0] / 100)
    count = int(np.ceil(ends[0] / window - 1e-9))
    names = [
        name
        for name in dict.fromkeys(key for record in logs[0] for key in record)
        if "/" in name and name not in _OPERATION
    ]
    curves = {
        name: [_windows(log, name, window, count) for log in logs] for name in names
    }
    origin = {key: logs[0][0].get(key) for key in ("hardware", "versions")}
    return {
        "name": f"{configs[0]['method']} {recipe}",
        "seeds": seeds,
        "made_on": origin,
        "config": configs[0],
        "variables": _treated(logs[0]),
        "window": window,
        "curves": {
            name: [[_rounded(v) for v in values] for values in curve]
            for name, curve in curves.items()
        },
    }


def _files(method: str) -> list[pathlib.Path]:
    """The curves that the package of a method keeps."""
    if not method.isidentifier():
        return []
    package = importlib.util.find_spec(f"{method}_tf")
    places = package.submodule_search_locations if package else None
    folders = [pathlib.Path(place, "curves") for place in places or ()]
    return sorted(file for folder in folders for file in folder.glob("*.json"))


def _comparable(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that decide what a run learns, by flag."""
    flat = by_flag(upgraded(dict(config)))
    return {key: value for key, value in flat.items() if key not in _FREE}


def _windows(
    records: Sequence[Mapping[str, Any]], name: str, window: float, count: int
) -> np.ndarray:
    """The mean of a value over each of so many windows, (W,); NaN where it has none."""
    sums, numbers = np.zeros(count), np.zeros(count)
    for record in records:
        if is_number(record.get(name)) and is_number(record.get("epoch")):
            # A record tells of the steps before it.
            place = int(np.ceil(record["epoch"] / window - 1e-6)) - 1
            if 0 <= place < count:
                sums[place] += record[name]
                numbers[place] += 1
    return np.divide(sums, numbers, out=np.full(count, np.nan), where=numbers > 0)


def _treated(records: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many variables are treated how, as a log's first record says."""
    found = records[0].get("variables") if records else None
    return {k: len(v) for k, v in found.items()} if isinstance(found, dict) else {}


def _listed(treated: Mapping[str, int]) -> str:
    return " and ".join(f"{count} {kind}" for kind, count in treated.items())


def _rounded(value: float) -> float | None:
    return float(f"{value:.5g}") if np.isfinite(value) else None


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the curves of a recipe's runs to a file of the method's package."""
    parser = argparse.ArgumentParser(
        prog="python -m selfsup_tf.evaluation.expected",
        description="Keeps the curves of a recipe's runs for the reports of others.",
    )
    parser.add_argument("recipe", help="name of the recipe, such as cifar10_cpu")
    parser.add_argument("runs", nargs="+", help="directories of its runs, a seed each")
    parser.add_argument(
        "--out", help="the file; left out, METHOD_tf/curves/RECIPE.json"
    )
    given = parser.parse_args(arguments)
    values = collect(given.recipe, [RunDirectory(run) for run in given.runs])
    method = values["config"]["method"]
    out = pathlib.Path(given.out or f"{method}_tf/curves/{given.recipe}.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    lines = (f"{json.dumps(key)}: {json.dumps(v)}" for key, v in values.items())
    write_atomically(out, "{\n" + ",\n".join(lines) + "\n}\n")
    print(f"Curves of {len(given.runs)} runs of {values['name']}: {out}")


if __name__ == "__main__":
    main()
