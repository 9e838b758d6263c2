"""HTML made of elements. What is not an element is text and is escaped.

So nothing that a file says, a class called `<script>` or a folder called `"`, can
become markup: there is no other way to put it on the page.
"""

import html
import json
from collections.abc import Iterable
from typing import Any

_VOID = ("br", "hr", "img", "input", "link", "meta")


class Html(str):
    """Text that is markup already. Only this module makes it of other text."""

    __slots__ = ()


def element(name: str, *children: Any, **attributes: Any) -> Html:
    """One element with what it contains.

    Args:
        name: Such as "p" or "svg".
        *children: Elements, text, numbers, sequences of these; None is nothing.
        **attributes: `class_` is class, `data_n` is data-n. None and False leave an
            attribute out, True gives its bare name.
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{join(children)}</{name}>")


def join(children: Iterable[Any]) -> Html:
    """Elements and texts one after the other."""
    return Html("".join(_child(child) for child in children))


def data_block(identity: str, values: Any) -> Html:
    """Values for a script to read, in an element that no browser runs."""
    text = json.dumps(values, separators=(",", ":"), allow_nan=False)
    # Inside <script> nothing is unescaped, so that what could end it is written in
    # JSON's own way.
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Html(f'<script type="application/json" id="{identity}">{text}</script>')


def _child(child: Any) -> str:
    if child is None:
        return ""
    if isinstance(child, Html):
        return child
    if isinstance(child, str):
        return html.escape(child)
    if isinstance(child, int | float):
        return html.escape(str(child))
    return join(child)


def _attribute(key: str, value: Any) -> str:
    if value is None or value is False:
        return ""
    key = key.rstrip("_").replace("_", "-")
    return f" {key}" if value is True else f' {key}="{html.escape(str(value))}"'
