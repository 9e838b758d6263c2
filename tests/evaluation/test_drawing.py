"""Charts on the page: SVG that its policy allows, in its colours, with own names."""

import re
from xml.etree import ElementTree

import matplotlib.figure
import numpy as np
import planted_run
import pytest

from selfsup_tf.evaluation import charts, plotting
from selfsup_tf.evaluation.plotting import COLOURS, Curve
from selfsup_tf.evaluation.protocol import Chart
from selfsup_tf.evaluation.report.drawing import Drawings


def drawn(figure, **said):
    return Drawings().svg(Chart("A title", figure, **said))


def line_figure(values):
    figure = plotting.new_figure()
    axes = plotting.add_axes(figure, "A title", "x", "y")
    plotting.draw_lines(axes, [Curve("a", tuple(range(len(values))), tuple(values))])
    return figure


def test_a_chart_is_text_and_attributes_in_the_colours_of_the_page():
    svg = drawn(charts.draw_spectrum(planted_run.health(41.0)), label="<a> & b")
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img" and root.get("aria-label") == "<a> & b"
    words = [element.text for element in root.iter("text")]
    assert "representation h" in words and "RankMe of h: 41.0" in words
    assert "Spectrum" not in words  # the page has the title
    assert "10⁻¹" in words
    assert not re.search(r"style=|<style|font-family|xlink|metadata", svg)
    colours = set(re.findall(r'(?:stroke|fill)="(.*?)"', svg))
    assert {"var(--c0)", "var(--c1)", "var(--ink)", "var(--soft)"} <= colours
    assert not {colour.lower() for colour in COLOURS} & colours


def test_no_two_charts_of_a_page_share_a_name():
    drawings = Drawings()
    health = planted_run.health(41.0)
    pages = [drawings.svg(Chart("a", charts.draw_histograms(health))) for _ in "ab"]
    first, second = (set(re.findall(r' id="(.*?)"', svg)) for svg in pages)
    assert first and not first & second
    for svg, names in zip(pages, (first, second), strict=True):
        assert set(re.findall(r"url\(#(.*?)\)|href=\"#(.*?)\"", svg)[0]) & names


def test_what_a_cell_means_is_told_to_the_pointer():
    svg = drawn(charts.draw_confusion([[6, 3], [0, 10]], ("<a>", "b")))
    titles = [title.text for title in ElementTree.fromstring(svg).iter("title")]
    assert "<a> taken for b: 3 (33.3 %)" in titles and len(titles) == 3


@pytest.mark.parametrize(("count", "looks"), [(5, ""), (12, "natural"), (30, "wide")])
def test_a_large_chart_keeps_its_size(count, looks):
    names = [f"class {n}" for n in range(count)]
    svg = drawn(charts.draw_confusion(np.eye(count, dtype=int), names))
    root = ElementTree.fromstring(svg)
    assert set(looks.split()) <= set(root.get("class").split())
    assert (root.get("width") is not None) == bool(looks)


def test_a_spike_is_seen_in_a_long_log_and_a_long_log_is_small():
    values = list(5 + 0.05 * np.random.default_rng(0).standard_normal(200_000))
    values[123_456] = 9.0
    svg = drawn(line_figure(values))
    assert len(svg) < 60_000
    path = max(re.findall(r' d="(M.*?)"', svg), key=len)
    heights = [float(y) for _, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", path)]
    typical = np.median(heights)
    assert sum(height < typical / 3 for height in heights) in range(1, 4)


@pytest.mark.parametrize("values", [[2.0], [0.0, 0.0], [1.0, None, 2.0], [None]])
def test_few_values_are_drawn(values):
    svg = drawn(line_figure(values))
    assert "nan" not in svg and "inf" not in svg


def test_a_figure_of_anybody_is_drawn():
    figure = matplotlib.figure.Figure()
    axes = figure.subplots(1, 2)
    axes[0].imshow(np.eye(3))
    axes[1].scatter([1, 2], [3, 4], c=["#123456", "#abcdef"])
    axes[1].set_title("kept", weight="bold")
    svg = drawn(figure)
    assert "data:image/png;base64," in svg and "#123456" in svg
    assert re.search(r"<text [^>]*font-weight[^>]*>kept</text>", svg)
