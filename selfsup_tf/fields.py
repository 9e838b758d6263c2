"""Fields of dataclasses: are the values of the declared types, and from plain values.

JSON knows neither tuples nor Literals, and Python checks no annotation.
"""

import dataclasses
import math
import types
import typing
from typing import Any, Literal

from selfsup_tf.errors import check, nearest


def check_fields(config: Any) -> None:
    """Raises InputError unless every field of a dataclass has a value of its type.

    Belongs into `__post_init__`. Lists are made tuples, so that a frozen dataclass can
    be hashed.
    """
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        converted = _convert(hints[field.name], value, field.name)
        if converted != value:
            object.__setattr__(config, field.name, converted)


def from_dict(config_class: type, values: dict[str, Any], where: str = "") -> Any:
    """A dataclass, and those in it, from what JSON made of `dataclasses.asdict`.

    Unknown keys are refused, missing ones are defaults.
    """
    hints = typing.get_type_hints(config_class)
    fields = {f.name: hints[f.name] for f in dataclasses.fields(config_class)}
    arguments = {}
    for key, value in values.items():
        check(
            key in fields,
            f"a field of {config_class.__name__}",
            repr(where + key),
            nearest(key, fields),
        )
        arguments[key] = _convert(fields[key], value, where + key)
    return config_class(**arguments)


def _convert(hint: Any, value: Any, where: str) -> Any:
    if hint is Any:
        if isinstance(value, list | tuple):
            return tuple(_convert(Any, v, where) for v in value)
        return value
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return from_dict(hint, value, where + ".")
    origin, members = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in members:
            return None
        (hint,) = [m for m in members if m is not type(None)]
        return _convert(hint, value, where)
    if origin is tuple and isinstance(value, list | tuple):
        if members[-1] is Ellipsis:
            members = members[:1] * len(value)
        check(
            len(value) == len(members),
            f"{where} to be {len(members)} values",
            value,
            "Give as many.",
        )
        return tuple(_convert(m, v, where) for m, v in zip(members, value, strict=True))
    if origin is Literal:
        allowed = ", ".join(map(str, members))
        check(value in members, f"{where} to be one of {allowed}", value, "Choose one.")
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    kind = origin or hint
    check(
        isinstance(value, kind) and not (kind is not bool and isinstance(value, bool)),
        f"{where} to be of type {getattr(hint, '__name__', hint)}",
        repr(value),
        f"Give {where} a value of that type.",
    )
    return value


def is_number(value: Any) -> bool:
    """Whether it is a finite number, as a JSON file may hold it."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
    )
