"""What the curves of a healthy run of a recipe look like, and where a run leaves them.

A method's package keeps the curves of runs of a recipe, of several seeds, in
NAME_tf/curves/RECIPE.json. The report draws the band that they make behind the curves
of a run, and names what lies outside. `keep_curves` writes them. Nothing here needs
TensorFlow.

Legend: S runs, W windows of a run, each of `WINDOW` epochs.
"""

import dataclasses
import importlib.util
import logging
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from selfsup_tf.config import FROM_PYTHON, Config
from selfsup_tf.config.run_config import operational_fields
from selfsup_tf.config.stored import by_flag
from selfsup_tf.errors import InputError
from selfsup_tf.fields import is_number
from selfsup_tf.files import read_object

logger = logging.getLogger("selfsup_tf")

WINDOW = 0.5
"""Epochs whose records are averaged; a run of over 50 epochs has 100 windows."""

LEVEL = 0.002
"""The share of healthy runs that are outside of a band at a given place by chance."""

LEAST_RUNS = 4
"""With fewer a band is so wide that it says nothing."""

_SHARE, _COSINE, _RANK = (0.0, 1.0), (-1.0, 1.0), (1.0, np.inf)
_POSSIBLE = {
    "eval/knn_top_1": _SHARE,
    "train/contrast_top_1": _SHARE,
    "train/representation_std": _SHARE,
    "health/spread": _SHARE,
    "health/rank_me": _RANK,
    "health/projection_rank_me": _RANK,
    "health/positive_cosine": _COSINE,
    "health/negative_cosine": _COSINE,
    "health/alignment": (0.0, 4.0),
    "health/uniformity": (-np.inf, 0.0),
}
"""Beyond which no value lies, whatever Student's distribution says of a few runs."""

_NEIGHBOURS = 2  # windows on either side, whose deviations are taken as one
_ROUNDED = 1e-4  # of a value, as five digits of it are kept
_FREE = operational_fields(Config) | {"seed"}
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

        It is Student's prediction interval of one more run, of S - 1 degrees of
        freedom: the deviation is that of neighbouring windows together, but a run that
        is high in one of them is high in all, so they count as one. None of a value
        that was not logged.
        """
        import scipy.stats

        values = self.curves.get(name, np.zeros((0, 0)))
        mean = values.mean(axis=0) if values.size else np.zeros(0)
        places = np.flatnonzero(np.isfinite(mean))
        if not len(places):
            return None
        variance = values.var(axis=0, ddof=1)[places]
        near = [
            variance[max(0, i - _NEIGHBOURS) : i + _NEIGHBOURS + 1].mean()
            for i in range(len(places))
        ]
        mean = mean[places]
        quantile = scipy.stats.t.ppf(1 - LEVEL / 2, self.runs - 1)
        width = quantile * np.sqrt(np.array(near) * (1 + 1 / self.runs))
        width += _ROUNDED * np.abs(mean)
        possible = _POSSIBLE.get(name, (-np.inf, np.inf))
        low, high = (np.clip(mean + w, *possible) for w in (-width, width))
        return Band(places, (places + 0.5) * self.window, low, high)

    def differences(self, config: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        """What a run's config.json has otherwise: (there, here) by flag.

        A field that only one of them has is younger than the other, and left out.
        """
        there, here = comparable(self.config), comparable(config)
        return {
            key: (there[key], here[key])
            for key in sorted(there.keys() & here.keys())
            if there[key] != here[key]
        }

    def compared(self, records: Sequence[Mapping[str, Any]]) -> int:
        """How many windows of a log there is a band for."""
        found = 0
        for name, curve in self.curves.items():
            if band := self.band(name):
                values = windows(records, name, self.window, curve.shape[1])
                found += int(np.isfinite(values[band.places]).sum())
        return found

    def departures(self, records: Sequence[Mapping[str, Any]]) -> list[str]:
        """Sentences that say where a run leaves the band; none of a healthy one.

        Args:
            records: Of a log.jsonl, as far as the run has come.
        """
        said = []
        here = treated(records)
        if here and self.variables and here != self.variables:
            said.append(
                f"The optimizer of {self.name} has {_listed(self.variables)} variables,"
                f" this run's {_listed(here)}."
            )
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

    A file that can't be read is named and passed over.

    Args:
        config: A config.json.

    Returns:
        None where the run's method keeps none of these data.
    """
    config = config or {}
    if config.get("data") == FROM_PYTHON:
        return None
    found = []
    for path in curve_files(str(config.get("method"))):
        try:
            expected = read_expected(path)
        except InputError as error:
            logger.warning("%s", error)
            continue
        if all(expected.config.get(key) == config.get(key) for key in _SAME):
            found.append(expected)
    return min(found, key=lambda e: len(e.differences(config)), default=None)


def read_expected(path: pathlib.Path) -> Expected:
    """Reads what `keep_curves` has written.

    Raises:
        InputError: The file holds something else.
    """
    values = read_object(path)
    try:
        curves = {k: np.array(v, float) for k, v in values["curves"].items()}
        shapes = {curve.shape for curve in curves.values()}
        ((runs, _),) = shapes
        if runs < LEAST_RUNS or not isinstance(values["config"], dict):
            raise ValueError(f"{runs} runs")
        names = ("name", "config", "variables", "window")
        return Expected(**{name: values[name] for name in names}, curves=curves)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"curves of {LEAST_RUNS} runs or more in {path}",
            f"{type(error).__name__}: {error}",
            "Write it anew: python -m selfsup_tf.evaluation.keep_curves",
        ) from error


def curve_folders(method: str) -> list[pathlib.Path]:
    """Where the package of a method keeps curves, whether there are any or not."""
    if not method.isidentifier():
        return []
    package = importlib.util.find_spec(f"{method}_tf")
    places = package.submodule_search_locations if package else None
    return [pathlib.Path(place, "curves") for place in places or ()]


def curve_files(method: str) -> list[pathlib.Path]:
    """The curves that the package of a method keeps."""
    return sorted(
        file for folder in curve_folders(method) for file in folder.glob("*.json")
    )


def comparable(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that decide what a run learns, by flag."""
    flat = by_flag(config)
    return {key: value for key, value in flat.items() if key not in _FREE}


def windows(
    records: Sequence[Mapping[str, Any]], name: str, window: float, count: int
) -> np.ndarray:
    """The mean of a value over each of so many windows, (W,); NaN where it has none.

    What training logs is the mean over the steps since the record before, and is
    weighed by how much of them lies in a window; a window that records, each no longer
    than one, do not cover has none. Other values belong to the place where they were
    measured, in a window that the run has come to the end of.
    """
    near = 1e-3 * window  # an epoch is logged to four places
    sums, weights = np.zeros(count), np.zeros(count)
    trained = name.startswith("train/")
    start = 0.0
    for record in records:
        end, value = record.get("epoch"), record.get(name)
        if not is_number(end) or end <= 0:
            continue
        if is_number(value) and not trained:
            place = int(np.ceil((end - near) / window)) - 1
            if 0 <= place < count:
                sums[place] += value
                weights[place] += 1
        elif is_number(value) and end - start <= window + near:
            first = int((start + near) / window)
            for place in range(first, min(count, first + 3)):
                shared = min(end, (place + 1) * window) - max(start, place * window)
                if shared > 0:
                    sums[place] += shared * value
                    weights[place] += shared
        start = max(start, end) if "train/loss" in record else start
    means = np.divide(sums, weights, out=np.full(count, np.nan), where=weights > 0)
    ends = (np.arange(count) + 1) * window
    whole = weights >= window - near if trained else ends <= start + near
    return np.where(whole, means, np.nan)


def treated(records: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many variables are treated how, as a log's first record says."""
    found = records[0].get("variables") if records else None
    listed = isinstance(found, dict) and all(
        isinstance(v, list) for v in found.values()
    )
    return {kind: len(names) for kind, names in found.items()} if listed else {}


def _listed(treated: Mapping[str, int]) -> str:
    return " and ".join(f"{count} {kind}" for kind, count in treated.items())
