"""The figures: what they show is what the files say, and it can be told apart."""

import math

import matplotlib.text
import numpy as np
import planted_run
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from selfsup_tf.errors import InputError
from selfsup_tf.evaluation import charts, curves
from selfsup_tf.evaluation.plotting import COLOURS
from selfsup_tf.files import save_figure


def texts(figure):
    """All words that a figure shows."""
    figure.canvas.draw()
    found = [t.get_text() for axes in figure.axes for t in axes.texts]
    for axes in figure.axes:
        found += [axes.get_title("left"), axes.get_xlabel(), axes.get_ylabel()]
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes)]
    return found + [t.get_text() for one in legends if one for t in one.get_texts()]


def test_every_cell_of_a_small_confusion_has_its_share_of_the_row():
    confusion = [[6, 3, 0], [0, 10, 0], [1, 1, 0]]
    (axes,) = charts.draw_confusion(confusion, ("a", "b", "c")).axes
    cells = {(0, 0): 2 / 3, (0, 1): 1 / 3, (1, 1): 1, (2, 0): 0.5, (2, 1): 0.5}
    written = {t.get_position()[::-1]: t.get_text() for t in axes.texts}
    assert written == {place: f"{100 * share:.0f}" for place, share in cells.items()}
    shades = {(round(p.get_y()), round(p.get_x())): p.get_alpha() for p in axes.patches}
    assert shades == pytest.approx(cells)


def test_a_large_confusion_lists_its_worst_pairs():
    names = [f"class {n}" for n in range(100)]
    confusion = np.eye(100, dtype=int) * 50
    confusion[3, 7] = 25  # a third of the row
    confusion[9, 2] = 5
    matrix, pairs = charts.draw_confusion(confusion.tolist(), names).axes
    assert [t.get_text() for t in pairs.texts] == [
        " 33 %  class 3 → class 7",
        "  9 %  class 9 → class 2",
    ]
    shades = matrix.images[0].get_array()[..., 3]
    assert shades[3, 7] == pytest.approx(math.sqrt(1 / 3)) and shades[7, 3] == 0


def test_pairs_are_sorted_by_the_share_of_their_class():
    confusion = [[90, 10, 0], [3, 3, 0], [0, 0, 0]]
    pairs = charts.confused_pairs(confusion, ("a", "b", "c"))
    assert pairs == [("b", "a", 3, 0.5), ("a", "b", 10, 0.1)]


def test_a_confusion_of_other_names_is_refused():
    with pytest.raises(InputError, match="2 x 2"):
        charts.draw_confusion([[1, 2, 3]] * 3, ("a", "b"))


def test_the_spectrum_has_both_curves_and_their_ranks():
    figure = charts.draw_spectrum(planted_run.health(41.0))
    (axes,) = figure.axes
    assert axes.get_yscale() == "log"
    assert {"RankMe of h: 41.0", "RankMe of z: 13.7"} <= set(texts(figure))
    h, z = (line for line in axes.lines if len(line.get_xdata()) > 2)
    falling = [math.exp(-n / 41) for n in range(128)]
    np.testing.assert_allclose(h.get_ydata(), falling, rtol=1e-6)
    assert h.get_color() != z.get_color() and h.get_linestyle() != z.get_linestyle()


def test_a_collapsed_spectrum_is_drawn():
    assert charts.relative_spectrum([0.0, 0.0]) == [1e-6, 1e-6]
    assert charts.relative_spectrum([2.0, 1.0, 0.0]) == [1.0, 0.5, 1e-6]
    health = planted_run.health(41.0)
    health["spectrum"] = {"representation": [3.0] + [0.0] * 9, "projection": None}
    charts.draw_spectrum(health).canvas.draw()


def test_the_histograms_show_both_kinds_of_pairs():
    health = planted_run.health(41.0)
    figure = charts.draw_histograms(health)
    assert len(figure.axes) == 2
    for steps in (patch for axes in figure.axes for patch in axes.patches):
        assert steps.get_data().values.sum() == pytest.approx(100)
    assert {"two views of an image", "two images"} <= set(texts(figure))
    health["histograms"]["projection"] = None
    assert len(charts.draw_histograms(health).axes) == 1


def test_the_curves_name_what_was_logged_and_shade_the_warmup():
    records = planted_run.log(0.61, 41.0, tau=True)
    panels = curves.training_panels(records)
    figure = curves.draw_panels(panels, planted_run.config(0.2))
    titles = [axes.get_title("left") for axes in figure.axes]
    assert (
        titles[:3] == ["Loss", "Online k-NN", "RankMe while training"]
        and "Tau" in titles
    )
    (shade,) = figure.axes[titles.index("Learning rate (cosine)")].patches
    assert (shade.get_x(), shade.get_width()) == (0, 0.5)
    assert " warm-up" in texts(figure)
    (knn,) = figure.axes[1].lines
    logged = [100 * r["eval/knn_top_1"] for r in records if "eval/knn_top_1" in r]
    np.testing.assert_allclose(knn.get_ydata(), logged)
    assert list(knn.get_xdata()) == [1, 2, 3]


def test_a_warm_up_that_goes_on_has_no_word_outside_of_the_chart():
    config = planted_run.config(0.2)
    config["optimizer"]["warmup_epochs"], config["epochs"] = 10, 100
    panels = curves.training_panels(planted_run.log(0.61, 41.0, tau=True))
    figure = curves.draw_panels(panels, config)
    assert " warm-up" not in texts(figure)
    assert all(axes.patches for axes in figure.axes)


@pytest.mark.parametrize("names", ["ab", ["a rather long name", "another one"]])
def test_the_title_of_a_small_confusion_is_whole(names):
    figure = charts.draw_confusion([[3, 1], [0, 2]], names)
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    left = figure.axes[0].get_title("left")
    title = next(
        t for t in figure.findobj(matplotlib.text.Text) if t.get_text() == left
    )
    assert title.get_window_extent(renderer).x1 <= figure.bbox.x1


def test_what_only_one_method_logs_is_drawn_and_gaps_stay_gaps():
    records = [{"step": 0}] + [
        {"step": n, "epoch": n / 4, "train/own_number": n, "train/loss": loss}
        for n, loss in ((1, 3.0), (2, math.nan), (3, 1.0))
    ]
    loss, own = curves.training_panels(records)
    assert (loss.key, loss.curves[0].y) == ("loss", (3.0, None, 1.0))
    assert (own.title, own.curves[0].y) == ("train/own number", (1, 2, 3))
    assert curves.training_panels(records[:1]) == []


def test_a_run_keeps_its_look_where_another_has_logged_nothing():
    (loss,) = curves.training_panels([{"epoch": 1, "train/loss": 2.0}])
    figure = curves.draw_runs({"A": None, "B": loss})
    assert figure.axes[0].lines[1].get_color() == COLOURS[1]
    assert "B" in texts(figure) and "A" not in texts(figure)


def test_robustness_begins_with_the_clean_image():
    values = planted_run.evaluation("robustness", planted_run.robustness(0.6)).details
    lines = charts.draw_robustness(values).axes[0].lines
    trained = [line for line in lines if line.get_alpha() == 1]
    assert len(trained) == 4 and len(lines) == 9  # and one for the legend
    blur = [60, *(100 * v for v in values["trained"]["top_1"]["blur"])]
    np.testing.assert_allclose(trained[0].get_ydata(), blur)
    assert len({(x.get_linestyle(), x.get_marker()) for x in trained}) == 4
    alone = charts.draw_robustness({"trained": values["trained"]})
    assert len(alone.axes[0].lines) == 4


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_a_figure_is_written_whole(tmp_path, suffix):
    figure = charts.draw_confusion([[1, 0], [0, 1]], ("$a", "b$"))
    path = save_figure(figure, tmp_path / "eval" / f"a.{suffix}")
    assert path.stat().st_size > 500
    assert [p.name for p in path.parent.iterdir()] == [f"a.{suffix}"]


def test_a_figure_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"before")

    class Broken:
        def savefig(self, beside, dpi):
            beside.write_bytes(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        save_figure(Broken(), path)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]
