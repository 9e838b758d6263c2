"""What the sections of the page are built of: sections, tables, charts, pictures."""

import pathlib
import shlex
from collections.abc import Sequence
from typing import Any

from selfsup_tf.evaluation.report.markup import Html, element
from selfsup_tf.evaluation.report.pictures import Pictures
from selfsup_tf.evaluation.report.svg import legend


def section(identity: str, title: str, *children: Any, lead: Any = None) -> Html:
    """A section with its heading and a sentence on how to read it."""
    return element(
        "section",
        element("h2", title),
        element("p", lead, class_="lead") if lead else None,
        *children,
        id=identity,
    )


def absent(what: str, program: str, run_dir: pathlib.Path, flags: str = "") -> Html:
    """One calm line where something is not there, with the command that makes it."""
    command = f"python {program} --run_dir={shlex.quote(str(run_dir))}{flags}"
    return element(
        "p", f"{what} ", element("code", command), " makes it.", class_="absent"
    )


def table(
    head: Sequence[Any],
    rows: Sequence[Sequence[Any]],
    *,
    caption: str,
    numbers: Sequence[int] = (),
    class_: str = "",
) -> Html:
    """A table that scrolls within its own box where it is too wide.

    Args:
        head: Headings of the columns.
        rows: Cells, the first of each is the row's heading.
        caption: What the table shows.
        numbers: Columns that are set to the right.
        class_: For the style.
    """

    def cells(kind: str, values: Sequence[Any], scope: str) -> list[Html]:
        return [
            element(
                "th" if n == 0 or kind == "head" else "td",
                value,
                class_="number" if n in numbers else None,
                scope=scope if n == 0 or kind == "head" else None,
            )
            for n, value in enumerate(values)
        ]

    return scrolling(
        element(
            "table",
            element("caption", element("span", caption)),
            element("thead", element("tr", cells("head", head, "col"))),
            element(
                "tbody", [element("tr", cells("body", row, "row")) for row in rows]
            ),
            class_=class_ or None,
        ),
        caption,
    )


def scrolling(content: Html, label: str) -> Html:
    """A box that scrolls sideways, also by the keyboard, so that the page does not."""
    return element(
        "div", content, class_="scroll", tabindex="0", role="region", aria_label=label
    )


def chart(
    title: str,
    drawing: Html,
    *,
    names: Sequence[str] = (),
    looks: Sequence[int] | None = None,
    value: Any = None,
    meaning: str = "",
) -> Html:
    """A chart with its title, its latest value, its legend and how to read it."""
    return element(
        "figure",
        element(
            "figcaption",
            element("span", title, class_="title"),
            element("span", value, class_="value") if value is not None else None,
        ),
        drawing,
        legend(names, looks) if len(names) > 1 else None,
        element("p", meaning, class_="meaning") if meaning else None,
        class_="chart",
    )


def charts(*figures: Html | None) -> Html:
    """Charts side by side, as many as there is room for."""
    return element("div", *figures, class_="charts")


def picture(path: pathlib.Path, alt: str, pictures: Pictures) -> Html:
    """A picture of the run directory."""
    return element("figure", pictures.image(path, alt), class_="picture")


def fold(summary: Any, *children: Any, open_: bool = False) -> Html:
    """What is shown when it is asked for."""
    return element(
        "details", element("summary", summary), *children, open=open_ or None
    )


def definitions(pairs: Sequence[tuple[Any, Any]], class_: str = "") -> Html:
    """Names and values."""
    return element(
        "dl",
        [
            element("div", element("dt", name), element("dd", value))
            for name, value in pairs
        ],
        class_=class_ or None,
    )


def tag(text: str, kind: str) -> Html:
    """A short remark beside a number."""
    return element("span", text, class_=f"tag {kind}")
