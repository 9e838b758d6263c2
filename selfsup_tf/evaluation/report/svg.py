"""Line charts as inline SVG: small, in the colours of the page, their text is text.

A chart is drawn 300 units wide, which is what a phone leaves for it, so that its
letters are as large there as they are meant to be.
"""

import dataclasses
from collections.abc import Iterable, Sequence

from selfsup_tf.evaluation.chart_values import COLOURS, DASHES, Curve
from selfsup_tf.evaluation.report.axes import Axis, span, thinned
from selfsup_tf.evaluation.report.markup import Html, element
from selfsup_tf.evaluation.report.numbers import compact

WIDTH, HEIGHT = 300, 172
LEFT, RIGHT, TOP, BOTTOM = 40, 9, 10, 32


def line_chart(
    curves: Sequence[Curve],
    *,
    label: str,
    x_label: str,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    log: bool = False,
    percent: bool = False,
    shade: tuple[float, str] | None = None,
    marks: Sequence[tuple[float, str, int]] = (),
    dots: bool = False,
    looks: Sequence[int] | None = None,
) -> Html:
    """Curves over a common axis.

    Args:
        curves: Each gets the next colour and dash.
        label: What the chart shows, for those who do not see it.
        x_label: What runs to the right.
        x_range: Where it begins and ends; None follows from the curves.
        y_range: Lowest and highest value shown; None follows from the curves.
        log: Whether the heights are logarithms.
        percent: Whether the values are shares, written as per cent.
        shade: The x that a shaded part at the left ends at, and its name.
        marks: Upright lines: x, words, and the look of the curve they belong to.
        dots: Whether each value has a dot.
        looks: Number of the look of each curve, where it isn't its place.
    """
    looks = looks or range(len(curves))
    ys = [y for curve in curves for y in curve.y if y is not None]
    low, high = x_range or _ends(curves)
    across = Axis(low, high if high > low else low + 1, LEFT, WIDTH - RIGHT)
    bottom, top = y_range or span(100 * y if percent else y for y in ys)
    up = Axis(bottom, top, HEIGHT - BOTTOM, TOP, log)
    if percent:
        curves = [
            dataclasses.replace(c, y=[None if y is None else 100 * y for y in c.y])
            for c in curves
        ]
    start = next(y for y in curves[0].y if y is not None)
    parts = [
        _shade(across, shade, low=up.place(start) < HEIGHT / 2) if shade else None,
        *_frame(across, up, x_label),
    ]
    for look, curve in zip(looks, curves, strict=True):
        parts += [_line(curve, across, up, look)]
        found = [(x, y) for x, y in zip(curve.x, curve.y, strict=True) if y is not None]
        shown = found if dots else found[:1] if len(found) == 1 else []
        parts += [
            element(
                "circle",
                class_=f"dot c{look}",
                cx=across.place(x),
                cy=up.place(y),
                r=2.6,
            )
            for x, y in shown
        ]
    for place, (x, words, look) in enumerate(marks):
        parts += _mark(across.place(x), words, look, place)
    return drawing(parts, label)


def area_chart(
    edges: Sequence[float],
    curves: Sequence[tuple[str, Sequence[float]]],
    *,
    label: str,
    x_label: str,
) -> Html:
    """Histograms with common bins as filled outlines, one over the other.

    Args:
        edges: B + 1 rising bounds of the bins.
        curves: (name, B heights), each in the next colour and dash.
        label: What the chart shows, for those who do not see it.
        x_label: What runs to the right.
    """
    across = Axis(edges[0], edges[-1], LEFT, WIDTH - RIGHT)
    highest = max((h for _, heights in curves for h in heights), default=0) or 1
    up = Axis(0, 1.06 * highest, HEIGHT - BOTTOM, TOP)
    parts = _frame(across, up, x_label, percent=True)
    for look, (_, heights) in enumerate(curves):
        steps = [f"M{across.place(edges[0])} {up.place(0)}"]
        for n, height in enumerate(heights):
            steps.append(f"V{up.place(height)}H{across.place(edges[n + 1])}")
        steps.append(f"V{up.place(0)}")
        parts.append(
            element(
                "path",
                class_=f"area c{look}",
                d="".join(steps),
                stroke_dasharray=dash(look),
            )
        )
    return drawing(parts, label)


def drawing(
    parts: Iterable[Html | None], label: str, width: int = WIDTH, height: int = HEIGHT
) -> Html:
    """The parts as one picture with a name."""
    return element(
        "svg",
        list(parts),
        viewBox=f"0 0 {width} {height}",
        role="img",
        aria_label=label,
        class_="drawing",
    )


def legend(names: Sequence[str], looks: Sequence[int] | None = None) -> Html:
    """The curves' names beside a piece of each line."""
    return element(
        "ul",
        [
            element("li", sample(look), " ", name)
            for look, name in zip(looks or range(len(names)), names, strict=True)
        ],
        class_="legend",
    )


def sample(look: int) -> Html:
    """A piece of the line with this look."""
    line = element(
        "path",
        class_=f"line c{look % len(COLOURS)}",
        d="M1 5H27",
        stroke_dasharray=dash(look),
    )
    return element(
        "svg", line, viewBox="0 0 28 10", class_="sample", aria_hidden="true"
    )


def dash(look: int) -> str | None:
    """The value of stroke-dasharray."""
    return " ".join(map(str, DASHES[look % len(DASHES)])) or None


def _ends(curves: Sequence[Curve]) -> tuple[float, float]:
    xs = [x for curve in curves for x in curve.x]
    return min(xs), max(xs)


def _frame(across: Axis, up: Axis, x_label: str, percent: bool = False) -> list[Html]:
    """Grid, ticks and the name of what runs to the right."""
    parts = []
    for value, words in up.ticks():
        y = up.place(value)
        words = compact(100 * value) if percent else words
        parts += [
            element("path", class_="grid", d=f"M{LEFT} {y}H{WIDTH - RIGHT}"),
            element("text", words, class_="tick end", x=LEFT - 6, y=y + 3.5),
        ]
    for value, words in across.ticks():
        x = across.place(value)
        parts.append(element("text", words, class_="tick mid", x=x, y=HEIGHT - 18))
    parts += [
        element("path", class_="axis", d=f"M{LEFT} {HEIGHT - BOTTOM}H{WIDTH - RIGHT}"),
        element("text", x_label, class_="tick end", x=WIDTH - RIGHT, y=HEIGHT - 4),
    ]
    return parts


def _shade(across: Axis, shade: tuple[float, str], *, low: bool) -> Html | None:
    """The shaded part; its name is low where the curve begins high."""
    end, words = shade
    if end <= across.low:
        return None
    right, height = across.place(end), HEIGHT - BOTTOM - TOP
    return element(
        "g",
        element(
            "rect", class_="shade", x=LEFT, y=TOP, width=right - LEFT, height=height
        ),
        element(
            "text",
            words,
            class_="tick halo",
            x=LEFT + 5,
            y=HEIGHT - BOTTOM - 6 if low else TOP + 11,
        ),
    )


def _mark(x: float, words: str, look: int, place: int) -> list[Html]:
    y = HEIGHT - BOTTOM - 8 - 14 * place
    left = x > (LEFT + WIDTH - RIGHT) / 2
    return [
        element(
            "path",
            class_=f"line thin c{look}",
            d=f"M{x} {TOP}V{HEIGHT - BOTTOM}",
            stroke_dasharray="2 3",
        ),
        element(
            "text",
            words,
            class_="tick strong halo" + (" end" if left else ""),
            x=x - 5 if left else x + 5,
            y=y,
        ),
    ]


def _line(curve: Curve, across: Axis, up: Axis, look: int) -> Html:
    steps, drawing_on = [], False
    for x, y in thinned(list(zip(curve.x, curve.y, strict=True))):
        if y is None:
            drawing_on = False
            continue
        steps.append(f"{'L' if drawing_on else 'M'}{across.place(x)} {up.place(y)}")
        drawing_on = True
    return element(
        "path",
        class_=f"line c{look % len(COLOURS)}",
        d="".join(steps),
        stroke_dasharray=dash(look),
    )
