"""matplotlib's figures as SVG in a page: small, in its colours and under its policy.

The page's policy forbids styles that stand in an element, so each becomes an attribute
of SVG's own; the colours become variables of page.css, which differ in the dark.
"""

import io
import re
from xml.etree import ElementTree

import markupsafe
import matplotlib

from selfsup_tf.evaluation.plotting import COLOURS, HAIR, INK, SHADE, SOFT
from selfsup_tf.evaluation.protocol import Chart

_COLOURS = {
    INK: "ink",
    SOFT: "soft",
    HAIR: "grid",
    SHADE: "shade",
    "#000000": "ink",
    **{colour.lower(): f"c{n}" for n, colour in enumerate(COLOURS)},
}
_SETTINGS = {
    "svg.fonttype": "none",  # text is text
    "svg.hashsalt": "report",  # the same figure gives the same names
    "path.simplify_threshold": 1.0,  # pixels: a log of a million steps has 30 kB
}
_NATURAL, _WIDE = 340, 430
"""Pixels from which a chart has a row of its own, and scrolls where that is short."""


class Drawings:
    """Makes charts part of one page, in which no two things have the same name."""

    def __init__(self) -> None:
        self._count = 0

    def svg(self, chart: Chart) -> markupsafe.Markup:
        """The <svg> element of a chart, without its title, which the page shows."""
        figure = chart.figure
        if len(figure.axes) == 1:
            figure.axes[0].set_title("", loc="left")
        written = io.BytesIO()
        with matplotlib.rc_context(_SETTINGS):
            figure.savefig(written, format="svg", transparent=True)
        root = ElementTree.fromstring(written.getvalue())
        self._count += 1
        _clean(root, f"d{self._count}-")
        width, height = (float(v) for v in root.get("viewBox").split()[2:])
        root.attrib = {
            "viewBox": root.get("viewBox"),
            "class": "drawing",
            "role": "img",
            "aria-label": chart.label or chart.title,
        }
        if width > _NATURAL:
            root.attrib |= {"width": f"{width:.0f}", "height": f"{height:.0f}"}
            root.attrib["class"] += " natural" + (" wide" if width > _WIDE else "")
        text = ElementTree.tostring(root, "unicode", short_empty_elements=False)
        return markupsafe.Markup(text)


def _clean(root: ElementTree.Element, prefix: str) -> None:
    """Leaves what a browser needs, in elements and attributes that HTML knows."""
    used = set(re.findall(r"#([^\s\"')]+)", ElementTree.tostring(root, "unicode")))
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("metadata", "style"):
                parent.remove(child)
    for element in list(root.iter()):
        element.tag = element.tag.rpartition("}")[2]
        if element.tag not in ("text", "tspan"):
            element.text = None
        element.tail = None
        name = element.attrib.pop("id", "")
        values = {key.rpartition("}")[2]: v for key, v in element.attrib.items()}
        values |= _attributes(values.pop("style", ""), element.tag)
        if name in used:
            values["id"] = prefix + name
        elif name.startswith("title:"):
            title = ElementTree.SubElement(element, "title")
            title.text = name.removeprefix("title:")
        if values.get("transform", "").startswith("rotate(-0 "):
            del values["transform"]
        element.attrib = {k: _short(k, v, prefix) for k, v in values.items()}


def _attributes(style: str, tag: str) -> dict[str, str]:
    """A style as SVG's own attributes; the page chooses the font."""
    values = {}
    for item in filter(None, map(str.strip, style.split(";"))):
        key, _, value = (part.strip() for part in item.partition(":"))
        if key == "font":  # weight, size and family in one
            values["font-size"] = re.search(r"[\d.]+px", value)[0]
            if re.search(r"\b(bold|[6-9]00)\b", value):
                values["font-weight"] = "bold"
        elif key in ("fill", "stroke") and value == "#ffffff" and tag != "text":
            values[key] = "var(--card)"
        elif key in ("fill", "stroke") and value in _COLOURS:
            values[key] = f"var(--{_COLOURS[value]})"
        elif key != "font-family":
            values[key] = value
    return values


def _short(key: str, value: str, prefix: str) -> str:
    """An attribute with names of this page, and numbers to a hundredth of a pixel."""
    if key == "href" and value.startswith("#"):
        return f"#{prefix}{value[1:]}"
    if "url(#" in value:
        return value.replace("url(#", f"url(#{prefix}")
    if key in ("d", "x", "y", "width", "height"):
        value = re.sub(r"\d+\.\d{3,}", lambda m: f"{float(m[0]):.2f}", value)
        return re.sub(r"\s*\n\s*|(?<=[A-Za-z]) (?=[-\d])", "", value)
    return value
