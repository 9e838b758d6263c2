"""The head of the page: what the run is, whether it is healthy, how good it is."""

import datetime
from typing import Any

from selfsup_tf.evaluation.chart_values import is_number
from selfsup_tf.evaluation.report.axes import Axis
from selfsup_tf.evaluation.report.gather import RunFiles
from selfsup_tf.evaluation.report.markup import Html, element
from selfsup_tf.evaluation.report.metrics import Metric
from selfsup_tf.evaluation.report.numbers import (
    percent,
    percent_interval,
    plain,
    points,
)
from selfsup_tf.evaluation.report.verdicts import badge

_METHODS = {"simclr": "SimCLR", "byol": "BYOL"}
_CARDS = ("linear", "knn", "finetune", "retrieval", "accuracy", "robustness")
_MOST_CARDS = 5


def header(run: RunFiles, metrics: list[Metric]) -> Html:
    """Name, recipe, verdict and the numbers that count."""
    health = run.health.values.get("verdict") if run.health else None
    return element(
        "header",
        element("p", "Encoder report", class_="over"),
        element("h1", run.name),
        element("p", headline(run.config), class_="what"),
        element("p", badge(health), element("span", when(run), class_="when")),
        _cards(run, metrics),
        _staleness(run),
        class_="top",
    )


def headline(config: dict[str, Any]) -> str:
    """Method, data, encoder and length in one line."""
    if not config:
        return "An encoder without a config.json: how it was trained is not recorded."
    encoder = config.get("encoder") or {}
    name = str(encoder.get("name", "an encoder"))
    if encoder.get("width", 1.0) != 1.0:
        name += f" × {plain(encoder['width'])}"
    length = f"{plain(config['epochs'])} epochs" if config.get("epochs") else ""
    length = length or f"{config.get('steps')} steps"
    size = config.get("image_size")
    return " · ".join(
        [
            f"{method_name(config)} on {config.get('data')}",
            f"{name}, {size} px",
            f"{length}, batch {config.get('batch_size')}",
        ]
    )


def method_name(config: dict[str, Any]) -> str:
    """The method as its authors write it, where we know."""
    name = str(config.get("method", "a method"))
    return _METHODS.get(name, name)


def when(run: RunFiles) -> str:
    """How far the run has come, and when."""
    last = run.records[-1] if run.records else {}
    if not is_number(last.get("epoch")):
        return "no training log"
    words = f"epoch {last['epoch']:.4g}, step {last.get('step')}"
    if run.written is not None:
        moment = datetime.datetime.fromtimestamp(run.written, datetime.timezone.utc)
        words += f" · {moment:%d %B %Y, %H:%M} UTC"
    return words


def _cards(run: RunFiles, metrics: list[Metric]) -> Html | None:
    cards = []
    for protocol in _CARDS:
        # The plain result of a protocol, not that of another encoder or data set.
        found = [m for m in metrics if m.main and m.protocol == protocol]
        found.sort(key=lambda m: (m.stale, m.result != protocol, m.result))
        if found and found[0].value is not None:
            cards.append(_card(found[0]))
    del cards[_MOST_CARDS - 1 :]
    health = run.health.values.get("representation") if run.health else None
    if health and is_number(health.get("rank_me")):
        size = health.get("size")
        cards.append(
            element(
                "li",
                element("p", "RankMe", class_="name"),
                _big(f"{health['rank_me']:.1f}", f"of {size}"),
                element("p", "directions that h uses", class_="small"),
            )
        )
    return element("ul", cards, class_="cards") if cards else None


def _card(metric: Metric) -> Html:
    lines = []
    if metric.interval:
        lines.append(f"95\u00a0%: {percent_interval(metric.interval)}")
    if metric.gain is not None:
        other = f"{metric.baseline_name} {percent(metric.baseline)}"
        lines.append(f"{other}, gain {points(metric.gain)}")
    if metric.stale:
        lines.append("of an earlier state of the encoder")
    return element(
        "li",
        element("p", metric.title, class_="name"),
        _big(percent(metric.value), metric.name),
        track(metric),
        [element("p", line, class_="small") for line in lines],
    )


def _big(number: str, unit: str) -> Html:
    return element("p", number, " ", element("span", unit, class_="unit"), class_="big")


def track(metric: Metric) -> Html:
    """The number, its interval and its baseline on a line from 0 to 100 %."""
    axis = Axis(0, 1, 4, 156)
    parts = [element("path", class_="rail", d="M4 9H156")]
    if metric.baseline is not None:
        x = axis.place(metric.baseline)
        parts.append(element("circle", class_="hollow", cx=x, cy=9, r=3.5))
    if metric.interval:
        low, high = (axis.place(v) for v in metric.interval)
        parts.append(element("path", class_="reach", d=f"M{low} 9H{high}"))
    if metric.value is not None:
        x = axis.place(metric.value)
        parts.append(element("circle", class_="full", cx=x, cy=9, r=4))
    words = f"{percent(metric.value)} on a line from 0 to 100 %"
    if metric.baseline is not None:
        words += f", {metric.baseline_name} {percent(metric.baseline)}"
    return element(
        "svg", parts, viewBox="0 0 160 18", class_="track", role="img", aria_label=words
    )


def _staleness(run: RunFiles) -> Html | None:
    stale = [r.path.name for r in (*run.results, run.map) if r and r.stale]
    lines = []
    if stale:
        verb = "was" if len(stale) == 1 else "were"
        lines.append(
            f"{', '.join(stale)} {verb} made from an earlier state of the encoder: the "
            "run has gone on training since. Run those again to compare like with like."
        )
    if run.outrun:
        lines.append(
            "encoder.keras is newer than every result below; they may be of an "
            "earlier state of it."
        )
    if not lines:
        return None
    return element("div", [element("p", line) for line in lines], class_="note")
