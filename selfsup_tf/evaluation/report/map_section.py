"""The map of embeddings: a point for each image, which shows the image when asked."""

import io
from typing import Any

import numpy as np
import PIL.Image

from selfsup_tf.evaluation.chart_values import COLOURS, MARKERS
from selfsup_tf.evaluation.report.gather import Result, RunFiles, reading
from selfsup_tf.evaluation.report.markup import Html, data_block, element
from selfsup_tf.evaluation.report.parts import absent, fold, picture, section, tag
from selfsup_tf.evaluation.report.pictures import Pictures

WIDTH, MARGIN = 640, 16
METHODS = {"tsne": "t-SNE", "pca": "PCA"}
# In the order of MARKERS, around 0, about 5 units to every side.
_PATHS = {
    "o": "M-4.4 0A4.4 4.4 0 1 0 4.4 0A4.4 4.4 0 1 0-4.4 0Z",
    "s": "M-4-4H4V4H-4Z",
    "^": "M0-5L4.8 3.8H-4.8Z",
    "D": "M0-5.4L5.4 0L0 5.4L-5.4 0Z",
    "v": "M0 5L4.8-3.8H-4.8Z",
    "P": "M-1.8-5H1.8V-1.8H5V1.8H1.8V5H-1.8V1.8H-5V-1.8H-1.8Z",
    "X": "M-4.8-2.2L-2.2-4.8L0-2.4L2.2-4.8L4.8-2.2L2.4 0L4.8 2.2L2.2 4.8L0 2.4"
    "L-2.2 4.8L-4.8 2.2L-2.4 0Z",
    "h": "M0-5L4.3-2.5V2.5L0 5L-4.3 2.5V-2.5Z",
    "<": "M-5 0L3.8-4.8V4.8Z",
}


def map_section(run: RunFiles, pictures: Pictures) -> Html:
    """The map of `eval.py map`, its legend and the image under the pointer."""
    lead = (
        "Each point is an image; those that the encoder takes to be alike lie close "
        "together. Distances between far groups mean little."
    )
    sprite = run.picture("map_thumbnails.jpg")
    if run.map is None or sprite is None:
        line = absent("No map yet.", "eval.py map", run.path)
        return section("map", "Map", line, lead=lead)
    with reading(run.map.path):
        content = _content(run.map, pictures, sprite)
    still = run.picture("map.png")
    if still is not None:
        alt = "The map with thumbnails of the images at their places"
        content.append(
            fold("The map with images at their places", picture(still, alt, pictures))
        )
    return section("map", "Map", *content, lead=lead)


def _content(place: Result, pictures: Pictures, sprite: Any) -> list[Html]:
    values = place.values
    positions = np.asarray(values["positions"], float)
    count = len(values["indices"])
    labels, names = values.get("labels"), values.get("class_names")
    if positions.shape != (count, 2) or not np.isfinite(positions).all():
        raise ValueError(f"positions {positions.shape} of {count} images")
    if labels is not None and len(labels) != count:
        raise ValueError(f"{len(labels)} labels of {count} images")
    columns, side = int(values["columns"]), int(values["thumbnail"])
    rows = -(-count // columns)
    with PIL.Image.open(io.BytesIO(sprite.read_bytes())) as opened:
        if opened.size != (columns * side, rows * side):
            raise ValueError(f"a sprite of {opened.size} for {count} thumbnails")
    uri, _ = pictures.inline(sprite)
    places, height = _places(positions)
    present = sorted(set(labels)) if labels is not None else []
    named = [_name(names, label) for label in present]
    data = {
        "places": places.tolist(),
        "labels": labels,
        "names": {str(label): name for label, name in zip(present, named, strict=True)},
        "indices": values["indices"],
        "columns": columns,
        "thumbnail": side,
        "width": WIDTH,
        "height": height,
        "scale": _scale(count),
    }
    method = METHODS.get(values["method"], values["method"])
    words = f"{count:,} images of {values['source']} by {method}"
    size = (columns * side, rows * side)
    thumbnail = element(
        "svg",
        element("image", href=uri, width=size[0], height=size[1]),
        viewBox=f"0 0 {side} {side}",
        class_="thumb",
        aria_hidden="true",
    )
    tooltip = element(
        "div", thumbnail, element("p", class_="words"), class_="tooltip", hidden=True
    )
    box = element(
        "div",
        element("div", [_button(*b) for b in _BUTTONS], class_="zoom"),
        element(
            "div",
            _drawing(places, height, labels, present, words),
            tooltip,
            class_="map-box",
        ),
    )
    stale = tag("of an earlier state of the encoder", "stale") if place.stale else None
    return [
        element(
            "div",
            element("p", words, ". ", stale, class_="meaning"),
            element(
                "p",
                "Point at it, tap it, or use the arrow keys to see an image. A class "
                "of the legend hides and shows its points.",
                class_="meaning scripted",
            ),
            element("div", box, _legend(present, named), class_="map-row"),
            element("p", class_="unseen", aria_live="polite", id="map-said"),
            data_block("map-data", data),
            class_="map",
            id="embedding-map",
        )
    ]


_BUTTONS = (
    ("in", "+", "Closer"),
    ("out", "−", "Further"),
    ("all", "○", "The whole map"),
)


def _button(key: str, sign: str, words: str) -> Html:
    return element(
        "button", sign, type="button", data_zoom=key, aria_label=words, title=words
    )


def _name(names: Any, label: int) -> str:
    if label < 0:
        return "no class"
    return str(names[label]) if names else f"class {label}"


def _look(number: int) -> tuple[int, int]:
    """Colour and marker of the class that is `number` in the legend."""
    return number % len(COLOURS), number % len(MARKERS)


def _places(positions: np.ndarray) -> tuple[np.ndarray, int]:
    """Where the points lie on the drawing, and its height, no more than needed."""
    least = positions.min(axis=0)
    places = MARGIN + (positions - least) * (WIDTH - 2 * MARGIN)
    height = max(places[:, 1].max() + MARGIN, WIDTH / 3)
    return places.round(1), int(np.ceil(height))


def _scale(count: int) -> float:
    """Size of the markers: the more there are, the smaller."""
    return round(min(1.0, max(0.6, (500 / count) ** 0.5)), 3)


def _drawing(
    places: np.ndarray, height: int, labels: Any, present: list, words: str
) -> Html:
    number = {label: n for n, label in enumerate(present)}
    used = {0} | {_look(n)[1] for n in number.values()}
    shapes = [
        element("path", id=f"marker{m}", d=_PATHS[MARKERS[m]]) for m in sorted(used)
    ]
    points, scale = [], _scale(len(places))
    for n, (x, y) in enumerate(places.tolist()):
        colour, marker = _look(number[labels[n]] if labels is not None else 0)
        points.append(
            element(
                "use",
                href=f"#marker{marker}",
                class_=f"c{colour}",
                transform=f"translate({x:g} {y:g}) scale({scale:g})",
            )
        )
    return element(
        "svg",
        element("defs", shapes),
        element("g", points, class_="points"),
        element("circle", class_="ring", r=9, cx=-99, cy=-99, stroke_width=2),
        viewBox=f"0 0 {WIDTH} {height}",
        class_="map-drawing",
        role="application",
        aria_roledescription="map of images",
        aria_label=f"{words}. The arrow keys go from image to image.",
        tabindex="0",
    )


def _legend(present: list, named: list[str]) -> Html | None:
    if not present:
        return None
    items = []
    for n, (label, name) in enumerate(zip(present, named, strict=True)):
        colour, marker = _look(n)
        sign = element(
            "svg",
            element("use", href=f"#marker{marker}", class_=f"c{colour}"),
            viewBox="-7 -7 14 14",
            class_="sign",
            aria_hidden="true",
        )
        items.append(
            element(
                "li",
                element(
                    "button",
                    sign,
                    element("span", name),
                    type="button",
                    data_label=label,
                    aria_pressed="true",
                ),
            )
        )
    return element("ul", items, class_="classes", aria_label="Classes")
