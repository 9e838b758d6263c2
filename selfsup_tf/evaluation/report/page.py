"""The page itself: one file that asks nobody for anything."""

import base64
import hashlib
import importlib.resources
import pathlib
import string
from collections.abc import Callable, Sequence

from selfsup_tf.errors import InputError
from selfsup_tf.evaluation.report.markup import Html, element
from selfsup_tf.evaluation.report.pictures import LIMIT, STEPS, Pictures
from selfsup_tf.files import write_atomically


def render(title: str, body: Html, contents: Sequence[tuple[str, str]]) -> str:
    """The whole page.

    Its policy lets the browser load nothing and run and style by nothing but what
    stands here: script and style are named by their hashes.

    Args:
        title: For the window.
        body: The sections.
        contents: The (identity, title) of each, for the navigation.
    """
    style, script = _file("page.css"), _file("page.js")
    navigation = element(
        "nav",
        element(
            "ul",
            [
                element("li", element("a", name, href=f"#{identity}"))
                for identity, name in contents
            ],
        ),
        aria_label="Contents",
    )
    return string.Template(_file("page.html")).substitute(
        title=element("title", title),
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        navigation=navigation,
        body=body,
    )


def write_fitting(path: pathlib.Path, make: Callable[[Pictures], str]) -> pathlib.Path:
    """Writes the page with pictures as good as the limit of its size allows.

    Args:
        path: The file to write.
        make: The page, for a way of putting pictures on it.

    Raises:
        InputError: Even with the smallest pictures it is too large.
    """
    for step in range(len(STEPS)):
        page = make(Pictures(step))
        size = len(page.encode())
        if size <= LIMIT:
            write_atomically(path, page)
            return path
    raise InputError(
        f"a report of {LIMIT / 1e6:.0f} MB at most",
        f"{size / 1e6:.1f} MB, with its pictures as small as they can be read",
        "Make the map of fewer images: python eval.py map --count=500",
    )


def _file(name: str) -> str:
    return importlib.resources.files(__package__).joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
