"""The numbers of every protocol in one form, so that one table can hold them."""

import dataclasses
import math
from typing import Any

from selfsup_tf.evaluation.report.gather import Result, reading

TITLES = {
    "knn": "k-NN",
    "linear": "Linear probe",
    "finetune": "Fine-tuning",
    "accuracy": "Classifier",
    "retrieval": "Retrieval",
    "robustness": "Robustness",
    "transfer": "Transfer",
}

_GAIN = "gain_interval_points"


@dataclasses.dataclass(frozen=True)
class Metric:
    """One number that an encoder got, and what it is compared with.

    All are shares in [0, 1] unless they say points.

    Attributes:
        result: eval/NAME.json's NAME.
        protocol: knn, linear, ...
        title: What was done, such as "Linear probe (sgd)".
        name: Of the number, such as "top-1".
        value: The encoder's.
        interval: Its 95 % interval, or None.
        baseline: What it is compared with, or None.
        baseline_name: What that is of, such as "untrained".
        gain: Difference in points, or None.
        gain_interval: Its 95 % interval in points, or None.
        data: What it was judged on.
        main: Whether it is the protocol's one number.
        stale: As `Result.stale`.
    """

    result: str
    protocol: str
    title: str
    name: str
    value: float | None
    interval: tuple[float, float] | None
    baseline: float | None
    baseline_name: str
    gain: float | None
    gain_interval: tuple[float, float] | None
    data: str
    main: bool
    stale: bool


def metrics_of(result: Result) -> list[Metric]:
    """The numbers of a result; none of a protocol that has no such numbers.

    Raises:
        InputError: The file is not of its protocol's form.
    """
    with reading(result.path):
        if result.protocol == "transfer":
            return _transfer(result)
        return _metrics(result, result.values, result.protocol, title_of(result))


def title_of(result: Result) -> str:
    """What was done, in words, with what sets it apart from its like."""
    title = TITLES.get(result.protocol, result.protocol)
    name = result.name.removeprefix(result.protocol).strip("_")
    if result.protocol == "transfer":
        title += f" to {result.values['data']}"
        name = name.removeprefix(result.values["data"]).strip("_")
    parts = name.split("_")
    if result.protocol == "finetune":
        title += f", {100 * result.values['fraction']:g} % of labels"
        parts = [part for part in parts if not part.startswith("fraction=")]
    extra = ", ".join(part.replace("=", " ") for part in parts if part)
    return f"{title} ({extra})" if extra else title


def classification(result: Result) -> list[tuple[str, dict[str, Any]]]:
    """Titles and numbers of the classifications in a result, with a confusion."""
    with reading(result.path):
        parts = [(title_of(result), trained_of(result.values, result.protocol))]
        if result.protocol == "transfer":
            parts = [
                (f"{title_of(result)}: {TITLES[way]}", result.values[way]["trained"])
                for way in ("knn", "linear")
                if result.values.get(way)
            ]
        return [(title, part) for title, part in parts if part.get("confusion")]


def trained_of(values: dict[str, Any], protocol: str) -> dict[str, Any]:
    """The encoder's own numbers; a classifier's once stood at the top of its file."""
    if protocol == "accuracy" and "trained" not in values:
        return values
    return values.get("trained") or {}


def _transfer(result):
    metrics = []
    for way in ("knn", "linear"):
        if result.values.get(way):
            title = f"{title_of(result)}: {TITLES[way]}"
            metrics += _metrics(result, result.values[way], way, title)
    return metrics


def _metrics(result, values, protocol, title):
    trained = trained_of(values, protocol)
    name, others = "untrained", values.get("untrained")
    if protocol == "finetune":
        name, others = "from scratch", values.get("from_scratch")
    found = _numbers(trained, protocol)
    theirs = {key: _share(v) for key, v, _ in _numbers(others or {}, protocol)}
    test = values.get("test") or {}
    data = f"{test['size']:,} of {test['name']}" if test else ""
    metrics = []
    for place, (key, value, interval) in enumerate(found):
        value, baseline = _share(value), theirs.get(key)
        gain = None if None in (value, baseline) else 100 * (value - baseline)
        metrics.append(
            Metric(
                result=result.name,
                protocol=protocol,
                title=title,
                name=key,
                value=value,
                interval=_bounds(interval),
                baseline=baseline,
                baseline_name=name,
                gain=gain,
                # The paired interval is of the protocol's one number alone.
                gain_interval=None if place else _bounds(values.get(_GAIN)),
                data=data,
                main=place == 0,
                stale=result.stale,
            )
        )
    return metrics


def _share(value: Any) -> float | None:
    """A number of a file; what is not finite has not been measured."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return float(value)


def _bounds(values: Any) -> tuple[float, float] | None:
    low, high = map(_share, values or (None, None))
    return None if None in (low, high) else (low, high)


def _numbers(trained, protocol):
    """(name, value, interval) of a protocol's numbers, the one that counts first."""
    if not trained:
        return []
    if protocol == "retrieval":
        intervals = trained.get("recall_at_intervals") or {}
        mean = trained["mean_average_precision"]
        numbers = [("mAP", mean, trained.get("mean_average_precision_interval"))]
        return numbers + [
            (f"R@{k}", value, intervals.get(k))
            for k, value in trained["recall_at"].items()
        ]
    if protocol == "robustness":
        names = (("mean_top_1", "mean top-1"), ("clean_top_1", "clean top-1"))
        return [(n, trained[k], trained.get(f"{k}_interval")) for k, n in names]
    if "top_1" not in trained:
        return []
    numbers = [("top-1", trained["top_1"], trained.get("top_1_interval"))]
    if trained.get("top_5") is not None:
        numbers.append(("top-5", trained["top_5"], trained.get("top_5_interval")))
    return numbers
