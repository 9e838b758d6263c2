"""What the curves of a healthy run of a recipe look like, and where a run leaves them.

A method's package keeps the curves of runs of a recipe, of several seeds, in
NAME_tf/curves/RECIPE.json. The report draws the band that they make behind the curves
of a run, and names what lies outside. `keep_curves` writes them. Nothing here needs
TensorFlow.

Legend: S runs, W windows of a run, each of `WINDOW` epochs.
"""

import dataclasses
import importlib.util
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from selfsup_tf.config import Config
from selfsup_tf.config.stored import by_flag, upgraded
from selfsup_tf.evaluation.plotting import is_number
from selfsup_tf.files import read_object

WINDOW = 0.5
"""Epochs whose records are averaged; a run of over 50 epochs has 100 windows."""

LEVEL = 1e-4
"""The share of healthy windows that lie outside of a band by chance."""

_NEIGHBOURS = 2  # windows on either side, whose deviations are taken as one
_FREEDOM = 6  # degrees, below which a band is so wide that it says nothing
_FREE = {f.name for f in dataclasses.fields(Config) if f.metadata} | {"seed"}
_SAME = ("method", "data", "split", "image_size")


@dataclasses.dataclass(frozen=True)
class Band:
    """Where a value of a healthy run lies.

    Attributes:
        places: Numbers of the windows that it is told of.
        x: Their middles, in epochs.
        low: The lower bounds.
        high: The upper bounds.
    """

    places: np.ndarray
    x: np.ndarray
    low: np.ndarray
    high: np.ndarray


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

    def band(self, name: str) -> Band | None:
        """Where the windows of one more healthy run lie, but for `LEVEL`.

        It is Student's prediction interval of one more run, the deviations of
        neighbouring windows taken together; None of what was logged too seldom for it.
        """
        import scipy.stats

        if name not in self.curves:
            return None
        values = self.curves[name]
        mean = values.mean(axis=0)
        places = np.flatnonzero(np.isfinite(mean))
        squares = ((values - mean) ** 2).sum(axis=0)[places]
        widths = []
        for i in range(len(places)):
            near = squares[max(0, i - _NEIGHBOURS) : i + _NEIGHBOURS + 1]
            freedom = len(near) * (self.runs - 1)
            if freedom < _FREEDOM:
                return None
            spread = np.sqrt(near.sum() / freedom * (1 + 1 / self.runs))
            widths.append(scipy.stats.t.ppf(1 - LEVEL / 2, freedom) * spread)
        low, high = mean[places] - widths, mean[places] + widths
        return Band(places, (places + 0.5) * self.window, low, high)

    def differences(self, config: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        """What a run's config.json has otherwise: (there, here) by flag."""
        there, here = comparable(self.config), comparable(config)
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
        here = treated(records)
        if here and here != self.variables:
            words = (_listed(self.variables), _listed(here))
            said.append("Its optimizer has {} variables, this run's {}.".format(*words))
        for name in self.curves:
            band = self.band(name)
            if band is None:
                continue
            values = windows(records, name, self.window, self.curves[name].shape[1])
            values = values[band.places]
            outside = np.flatnonzero((values < band.low) | (values > band.high))
            if not len(outside):
                continue
            first = outside[0]
            start = band.places[first] * self.window
            said.append(
                f"{name} is {values[first]:.4g} in epochs {start:g} to "
                f"{start + self.window:g}, where theirs lies between "
                f"{band.low[first]:.4g} and {band.high[first]:.4g}; outside are "
                f"{len(outside)} of {np.isfinite(values).sum()} such stretches."
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
    """Reads what `keep_curves` has written.

    Raises:
        InputError: The file is no JSON object.
    """
    values = read_object(path)
    curves = {k: np.array(v, float) for k, v in values["curves"].items()}
    names = ("name", "config", "variables", "window")
    return Expected(**{name: values[name] for name in names}, curves=curves)


def _files(method: str) -> list[pathlib.Path]:
    """The curves that the package of a method keeps."""
    if not method.isidentifier():
        return []
    package = importlib.util.find_spec(f"{method}_tf")
    places = package.submodule_search_locations if package else None
    folders = [pathlib.Path(place, "curves") for place in places or ()]
    return sorted(file for folder in folders for file in folder.glob("*.json"))


def comparable(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that decide what a run learns, by flag."""
    flat = by_flag(upgraded(dict(config)))
    return {key: value for key, value in flat.items() if key not in _FREE}


def windows(
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


def treated(records: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many variables are treated how, as a log's first record says."""
    found = records[0].get("variables") if records else None
    listed = isinstance(found, dict) and all(
        isinstance(v, list) for v in found.values()
    )
    return {kind: len(names) for kind, names in found.items()} if listed else {}


def _listed(treated: Mapping[str, int]) -> str:
    return " and ".join(f"{count} {kind}" for kind, count in treated.items())
