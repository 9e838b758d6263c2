"""The config of a run, what differs from the package's defaults first."""

import dataclasses
from typing import Any

from selfsup_tf.config import Config, ViewConfig
from selfsup_tf.evaluation.report.gather import RunFiles
from selfsup_tf.evaluation.report.header import method_name
from selfsup_tf.evaluation.report.markup import Html, element
from selfsup_tf.evaluation.report.numbers import plain
from selfsup_tf.evaluation.report.parts import definitions, fold, section


def config_section(run: RunFiles) -> Html:
    """The config in groups, what differs from the package's defaults first."""
    if not run.config:
        return section(
            "config", "Config", element("p", "Not recorded.", class_="absent")
        )
    groups = [_group(*group) for group in _groups(run.config)]
    return section(
        "config",
        "Config",
        element("div", groups, class_="groups"),
        lead="What was set for this run. What is as the package has it by default is "
        "folded away.",
    )


def _groups(config: dict[str, Any]) -> list[tuple[str, dict, dict]]:
    """(title, values, defaults) of each group."""
    fields = {f.name: f for f in dataclasses.fields(Config)}
    defaults = {
        name: dataclasses.asdict(f.default)
        if dataclasses.is_dataclass(f.default)
        else f.default
        for name, f in fields.items()
    }
    nested = {name: v for name, v in config.items() if isinstance(v, dict)}
    flat = {name: v for name, v in config.items() if name not in nested}
    own = {name: v for name, v in flat.items() if name not in fields}
    operation = {
        name: v for name, v in flat.items() if name in fields and fields[name].metadata
    }
    general = {n: v for n, v in flat.items() if n not in own and n not in operation}
    view = dataclasses.asdict(ViewConfig())
    defaults |= {name: view for name in nested if name.startswith("view_")}
    if nested.get("view_1") == nested.get("view_2") and "view_1" in nested:
        nested["view_1 and view_2"] = nested.pop("view_1")
        del nested["view_2"]
        defaults["view_1 and view_2"] = defaults["view_1"]
    groups = [
        (method_name(config), own, {}),
        ("Training", general, defaults),
        *(
            (name.replace("_", " ").capitalize(), values, defaults.get(name, {}))
            for name, values in sorted(nested.items())
        ),
        ("How it was run", operation, defaults),
    ]
    return [group for group in groups if group[1]]


def _group(title: str, values: dict[str, Any], defaults: dict[str, Any]) -> Html:
    absent_one = object()
    differing, same = [], []
    for name, value in values.items():
        default = defaults.get(name, absent_one)
        default = list(default) if isinstance(default, tuple) else default
        (same if value == default else differing).append((name, plain(value)))
    folded = None
    if same:
        count = (
            f"{len(same)} at their defaults" if len(same) > 1 else "1 at its default"
        )
        folded = fold(count, definitions(same, "quiet"))
    return element(
        "div",
        element("h3", title),
        definitions(differing) if differing else None,
        folded,
        class_="group",
    )
