"""Checks that the parts of a config share; each raises InputError."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from selfsup_tf.errors import check

Interval = tuple[float, float]


def check_probability(name: str, value: float) -> None:
    """Raises InputError unless the value lies in [0, 1]."""
    expected = f"{name} to be a probability in [0, 1]"
    check(0 <= value <= 1, expected, value, "Give it a value between 0 and 1.")


def check_positive(name: str, value: float) -> None:
    """Raises InputError unless the value is above 0 and finite."""
    expected = f"{name} above 0 and finite"
    check(0 < value < math.inf, expected, value, "Give it a positive value.")


def check_widths(name: str, widths: Sequence[int]) -> None:
    """Raises InputError unless these are the sizes of one or more layers."""
    check(
        len(widths) > 0 and min(widths) > 0,
        f"{name} to be the sizes of one or more layers",
        widths,
        f"For example: --{name} 512 128",
    )


def check_not_negative(name: str, value: float) -> None:
    """Raises InputError unless the value is 0 or more and finite."""
    expected = f"{name} of 0 or more and finite"
    check(0 <= value < math.inf, expected, value, "Give it 0 or more.")


def check_taus(base: float, final: float) -> None:
    """Raises InputError unless a target's decay can go from one to the other."""
    check_probability("base_tau", base)
    check_probability("final_tau", final)
    check(
        base <= final,
        "a final_tau of base_tau or more",
        f"base_tau={base:g}, final_tau={final:g}",
        "Give both the same value for a tau that stays.",
    )


def check_interval(name: str, value: Interval, low: float, high: float) -> None:
    """Raises InputError unless the value is two rising numbers in [low, high]."""
    check(
        low <= value[0] <= value[1] <= high,
        f"{name} to be two rising numbers within [{low}, {high}]",
        value,
        f"Give {name} its lower and its upper bound, in this order.",
    )


def check_heeded(recipe: Any, said: Any, prefix: str = "") -> None:
    """Raises InputError where a flag was given that has no effect.

    Args:
        recipe: A config, or a part of one, whose fields nobody has asked for.
        said: The same with what somebody asked for; its `unheeded` says what changes
            nothing.
        prefix: What the flags of its fields begin with, such as "view_1.".
    """
    for name, wanted in said.unheeded().items():
        one, other = getattr(said, name), getattr(recipe, name)
        if dataclasses.is_dataclass(one):
            fields = (field.name for field in dataclasses.fields(one))
            changed = (f for f in fields if getattr(one, f) != getattr(other, f))
            name = f"{name}.{next(changed, '')}"
        check(
            one == other or not one,  # as off as what it belongs to
            f"--{prefix}{name} {wanted}",
            "it where it has no effect",
            "Leave it out, or set the other, too.",
        )


def check_defaults(config: Any, group: str, options: dict[str, tuple]) -> None:
    """Raises InputError where an option differs from a default that alone applies.

    Args:
        config: A part of a config; its `name` says what the options have to fit.
        group: Under which the part's flags are found, such as "encoder".
        options: The names that take other values of an option, by the option.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    # All at once: a recipe may have set several that another name lacks.
    moved = [
        option
        for option, names in options.items()
        if config.name not in names and getattr(config, option) != defaults[option]
    ]
    flags = " ".join(f"--{group}.{option}={defaults[option]}" for option in moved)
    names = dict.fromkeys(name for option in moved for name in options[option])
    check(
        not moved,
        f"{flags} for the {group} {config.name}",
        ", ".join(str(getattr(config, option)) for option in moved),
        f"Only {', '.join(names)} take other values: choose one of them with "
        f"--{group}.name, or give {flags}.",
    )
