"""A confusion matrix: a table of shaded cells, or shades alone for many classes."""

import base64
import io
from typing import Any

import numpy as np
import PIL.Image

from selfsup_tf.evaluation.chart_values import confused_pairs
from selfsup_tf.evaluation.report.markup import Html, element
from selfsup_tf.evaluation.report.numbers import percent
from selfsup_tf.evaluation.report.parts import scrolling, table

MOST_NUMBERS = 20
"""Classes up to which every cell has its number."""
_SHADES = 10
_WHITE, _BLUE = (255, 255, 255), (0, 60, 110)


def confusion_figure(title: str, trained: dict[str, Any]) -> Html:
    """The matrix and the pairs most often confused.

    Args:
        title: What made it.
        trained: Has "confusion" and "class_names".
    """
    counts = np.asarray(trained["confusion"], np.int64)
    names = [str(name) for name in trained["class_names"]]
    if counts.shape != (len(names), len(names)):
        raise ValueError(f"a confusion {counts.shape} of {len(names)} classes")
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    pairs = [
        [true, taken, percent(share), f"{count:,}"]
        for true, taken, count, share in confused_pairs(counts.tolist(), names)
    ]
    matrix = _cells if len(names) <= MOST_NUMBERS else _shades
    return element(
        "div",
        matrix(title, names, counts, shares),
        table(
            ["Class", "Taken for", "Share", "Images"],
            pairs,
            caption="Most often confused",
            numbers=(2, 3),
        )
        if pairs
        else None,
        class_="confusion",
    )


def _cells(
    title: str, names: list[str], counts: np.ndarray, shares: np.ndarray
) -> Html:
    head = element(
        "tr",
        element("th", element("small", "true ↓  taken for →"), scope="col"),
        [element("th", element("span", name), scope="col") for name in names],
    )
    rows = []
    for t, name in enumerate(names):
        cells = [
            element(
                "td",
                f"{100 * share:.0f}" if count else "",
                class_=f"s{round(_SHADES * share)}" + (" own" if p == t else ""),
                title=f"{name} taken for {names[p]}: {count:,} ({percent(share)})",
            )
            for p, (count, share) in enumerate(zip(counts[t], shares[t], strict=True))
        ]
        rows.append(element("tr", element("th", name, scope="row"), cells))
    caption = f"Confusion of {title}, per cent of each row"
    return scrolling(
        element(
            "table",
            element("caption", caption, class_="unseen"),
            element("thead", head),
            element("tbody", rows),
            class_="matrix",
        ),
        caption,
    )


def _shades(title: str, names: list[str], _: np.ndarray, shares: np.ndarray) -> Html:
    # The root lifts the rare confusions, which are what one looks for.
    light = 1 - np.sqrt(shares)[..., None]
    pixels = np.array(_WHITE) * light + np.array(_BLUE) * (1 - light)
    picture = PIL.Image.fromarray(pixels.round().astype(np.uint8))
    scale = max(1, 600 // len(names))
    side = scale * len(names)
    picture = picture.resize((side, side), PIL.Image.Resampling.NEAREST)
    written = io.BytesIO()
    picture.save(written, "PNG", optimize=True)
    uri = f"data:image/png;base64,{base64.b64encode(written.getvalue()).decode()}"
    alt = (
        f"Confusion of {title} over {len(names)} classes as shades, true classes "
        "downwards, predicted ones to the right; the table beside it has the largest"
    )
    return element(
        "figure",
        element("img", src=uri, alt=alt, width=side, height=side),
        element(
            "figcaption",
            f"True classes downwards, predicted ones to the right, from {names[0]} to "
            f"{names[-1]}. The darker the more, by the root of the share.",
            class_="meaning",
        ),
        class_="picture shades",
    )
