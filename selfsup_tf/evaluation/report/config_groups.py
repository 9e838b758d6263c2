"""The config of a run in groups, what differs from the package's defaults first."""

import dataclasses
from typing import Any

from selfsup_tf.config import Config, ViewConfig
from selfsup_tf.evaluation.report.numbers import plain

_METHODS = {"simclr": "SimCLR", "byol": "BYOL"}
Pairs = list[tuple[str, str]]


def method_name(config: dict[str, Any]) -> str:
    """The method as its authors write it, where we know."""
    name = str(config.get("method", "a method"))
    return _METHODS.get(name, name)


def config_groups(config: dict[str, Any]) -> list[tuple[str, Pairs, Pairs]]:
    """(title, what was set for this run, what is as the package has it) of each group.

    Args:
        config: A config.json.
    """
    fields = {f.name: f for f in dataclasses.fields(Config)}
    defaults = {name: _plain(f.default) for name, f in fields.items()}
    views = {f"view_{n}": view for n, view in enumerate(config.get("views") or (), 1)}
    defaults |= dict.fromkeys(views, _plain(ViewConfig()))
    nested = {name: v for name, v in config.items() if isinstance(v, dict)} | views
    flat = {n: v for n, v in config.items() if n not in nested and n != "views"}
    own = {name: v for name, v in flat.items() if name not in fields}
    operation = {n: v for n, v in flat.items() if n in fields and fields[n].metadata}
    general = {n: v for n, v in flat.items() if n not in own and n not in operation}
    equal: dict[str, list[str]] = {}
    for title, values in sorted(nested.items()):
        equal.setdefault(repr(values), []).append(title)
    groups = [
        (method_name(config), own, {}),
        ("Training", general, defaults),
        *(
            (" and ".join(titles).replace("_", " ").capitalize(), nested[titles[0]],
             defaults.get(titles[0]) or {})
            for titles in equal.values()
        ),
        ("How it was run", operation, defaults),
    ]  # fmt: skip
    return [_group(*group) for group in groups if group[1]]


def _plain(value: Any) -> Any:
    """A default as config.json would have it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {k: _plain(v) for k, v in dataclasses.asdict(value).items()}
    return list(map(_plain, value)) if isinstance(value, list | tuple) else value


def _group(
    title: str, values: dict[str, Any], defaults: dict[str, Any]
) -> tuple[str, Pairs, Pairs]:
    absent = object()
    differing, same = [], []
    for name, value in values.items():
        kept = same if value == defaults.get(name, absent) else differing
        kept.append((name, plain(value)))
    return title, differing, same
