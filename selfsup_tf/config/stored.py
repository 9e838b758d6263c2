"""Configs as plain values: written, read back, compared."""

import dataclasses
import json
import pathlib
from typing import Any, TypeVar

from selfsup_tf.config.run_config import Config, operational_fields
from selfsup_tf.config.view import ViewConfig
from selfsup_tf.errors import InputError, check
from selfsup_tf.fields import from_dict

_KINDS = {
    **dict.fromkeys(("method", "data"), str),
    **dict.fromkeys(("encoder", "optimizer"), dict),
    **dict.fromkeys(("data_dir", "split"), str | None),
    "views": list,
}
"""What is read of a stored config before its method is known."""

AnyConfig = TypeVar("AnyConfig", bound=Config)


def to_dict(config: Config) -> dict[str, Any]:
    """The config as plain values, with the method's name under "method"."""
    return {"method": config.method, **dataclasses.asdict(config)}


def read_config(config_class: type[AnyConfig], stored: dict[str, Any]) -> AnyConfig:
    """The inverse of `to_dict`; a field that is not there has its default.

    Raises:
        InputError: A field is unknown or not of its type.
    """
    return from_dict(
        config_class, {key: v for key, v in stored.items() if key != "method"}
    )


def check_stored(values: dict[str, Any], path: pathlib.Path, *, advice: str) -> None:
    """Raises InputError where a config.json holds what no run has written.

    Whether the values suit a method is seen by `read_config`, which knows which.

    Args:
        values: Its contents.
        path: The file, to be named.
        advice: What to do about it.
    """
    for name, kind in _KINDS.items():
        if name in values and not isinstance(values[name], kind):
            raise InputError(f"another {name} in {path}", repr(values[name]), advice)
    for view in values.get("views", ()):
        check(isinstance(view, dict), f"views in {path}", repr(view), advice)


def differences(config: Config, stored: dict[str, Any]) -> list[str]:
    """Lines naming the fields of `config` that differ from those of a stored run.

    Operational fields (where the data lie, how often to log) may differ and are left
    out. A field that is younger than the stored run had its default then.
    """
    free = operational_fields(config)
    then = dict(stored)
    younger = dataclasses.asdict(ViewConfig())
    views = then.get("views", map(dataclasses.asdict, type(config).views))
    then["views"] = [younger | view for view in views]
    for field in dataclasses.fields(config):
        if dataclasses.is_dataclass(field.default):
            younger = dataclasses.asdict(field.default)
            then[field.name] = younger | then.get(field.name, {})
        elif field.default is not dataclasses.MISSING:
            then.setdefault(field.name, field.default)
    if config.method != then.get("method"):
        return [f"method: {then.get('method')} there, {config.method} here"]
    return _differing(then, to_dict(config), free)


def worker_differences(theirs: dict[str, Any], mine: dict[str, Any]) -> list[str]:
    """Lines naming what differs between the configs of two workers of one run.

    Each is a `to_dict`. Only where the data lie may differ between machines.
    """
    return _differing(theirs, mine, {"data_dir"})


def _differing(then: dict[str, Any], now: dict[str, Any], free: set[str]) -> list[str]:
    then, now = by_flag(then), by_flag(now)
    return [
        f"{key}: {then.get(key, 'absent')} there, {now.get(key, 'absent')} here"
        for key in sorted(now.keys() | then.keys())
        if key not in free and now.get(key) != then.get(key)
    ]


def by_flag(values: dict[str, Any]) -> dict[str, Any]:
    """The values by their flags, as JSON has them: "optimizer.name", "view_1.blur"."""
    values = json.loads(json.dumps(values))
    views = {f"view_{i}": view for i, view in enumerate(values.pop("views", ()), 1)}
    flat = {}
    for key, value in (values | views).items():
        if isinstance(value, dict):
            flat |= {f"{key}.{name}": inner for name, inner in value.items()}
        else:
            flat[key] = value
    return flat
