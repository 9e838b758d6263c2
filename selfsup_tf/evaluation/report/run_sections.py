"""How a run went: what it was made on, its curves, and what it saw."""

import collections
from typing import Any

from selfsup_tf.evaluation.chart_values import (
    Panel,
    is_number,
    training_panels,
    warmup,
)
from selfsup_tf.evaluation.report.gather import RunFiles
from selfsup_tf.evaluation.report.markup import Html, element
from selfsup_tf.evaluation.report.numbers import compact, percent, plain
from selfsup_tf.evaluation.report.parts import (
    absent,
    chart,
    charts,
    definitions,
    picture,
    section,
)
from selfsup_tf.evaluation.report.pictures import Pictures
from selfsup_tf.evaluation.report.svg import line_chart

_NAMED = ("loss", "learning_rate")  # the charts that say what is shaded


def hardware_section(run: RunFiles) -> Html:
    """What the run was made on and with."""
    first = run.records[0] if run.records else {}
    groups = []
    for key, title in (("hardware", "Hardware"), ("versions", "Versions")):
        found = first.get(key)
        if isinstance(found, dict) and found:
            pairs = [(n.replace("_", " "), _devices(v)) for n, v in found.items()]
            content = definitions(pairs)
        elif found:
            content = element("p", plain(found))
        else:
            content = element("p", "Not recorded.", class_="absent")
        groups.append(element("div", element("h3", title), content, class_="group"))
    images = first.get("images")
    if is_number(images):
        skipped = first.get("skipped") or []
        pairs = [("images learned from", f"{images:,}"), ("unreadable", len(skipped))]
        groups.append(
            element("div", element("h3", "Data"), definitions(pairs), class_="group")
        )
    return section(
        "hardware", "Hardware and versions", element("div", groups, class_="groups")
    )


def _devices(value: Any) -> str:
    """A value; of a list of devices how many there are of each kind."""
    if not (isinstance(value, list) and all(isinstance(v, dict) for v in value)):
        return plain(value)
    kinds = collections.Counter(
        " ".join(str(v[k]) for k in ("type", "model") if v.get(k)) for v in value
    )
    return ", ".join(f"{n} × {k}" if n > 1 else k for k, n in kinds.items()) or "none"


def curves_section(run: RunFiles) -> Html:
    """What the log says over the epochs."""
    panels = training_panels(run.records)
    if not panels:
        line = element("p", "log.jsonl has no training records.", class_="absent")
        return section("curves", "Curves", line)
    end = warmup(run.config)
    last = max(x for p in panels for curve in p.curves for x in curve.x)
    schedule = (run.config.get("optimizer") or {}).get("schedule")
    lead = f"The shaded part is the warm-up, {end:g} epochs" if end else "No warm-up"
    lead += f"; the rate's schedule is {schedule}." if schedule else "."
    return section(
        "curves", "Curves", charts(*(_panel(p, end, last) for p in panels)), lead=lead
    )


def _panel(panel: Panel, end: float, last: float) -> Html:
    final = next(y for y in reversed(panel.curves[0].y) if y is not None)
    value = percent(final) if panel.percent else compact(final)
    names = [curve.name for curve in panel.curves]
    drawing = line_chart(
        panel.curves,
        label=f"{panel.title} over the epochs; at the end {names[0]} is {value}",
        x_label="epoch",
        x_range=(0, last),
        percent=panel.percent,
        shade=(end, "warm-up" if panel.key in _NAMED else "") if end else None,
    )
    return chart(
        panel.title + (", %" if panel.percent else ""),
        drawing,
        names=names,
        value=value,
        meaning=panel.meaning,
    )


def views_section(run: RunFiles, pictures: Pictures) -> Html:
    """What the network saw."""
    path = run.picture("views.png")
    if path is None:
        content = absent("No picture of the views yet.", "eval.py views", run.path)
    else:
        alt = "Images of the training set beside their augmented views"
        content = picture(path, alt, pictures)
    return section(
        "views",
        "Views",
        content,
        lead="Images, and what training makes of them. Two views of an image must stay "
        "the same thing to you, or they can't to the encoder.",
    )
