"""The charts of an advice: accuracy over labels, and over size."""

from collections.abc import Mapping, Sequence

import matplotlib.figure

from selfsup_tf.evaluation import plotting
from selfsup_tf.evaluation.plotting import COLOURS


def draw_learning_curves(
    curves: Mapping[str, Sequence[tuple[int, float]]],
) -> matplotlib.figure.Figure:
    """Accuracy over the number of labelled images.

    Args:
        curves: By encoder, (images, accuracy in [0, 1]), rising in the first.
    """
    figure = plotting.new_figure(height=3.1)
    axes = plotting.add_axes(figure, "Learning curve", "labelled images", "k-NN, %")
    lines = [
        plotting.Curve(name, *map(tuple, zip(*curve, strict=True)))
        for name, curve in curves.items()
    ]
    plotting.draw_lines(axes, lines, percent=True)
    axes.set_xscale("log", base=2)
    counts = sorted({x for line in lines for x in line.x})
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    return figure


def draw_accuracy_over_size(
    places: Mapping[str, tuple[float, float]], x_label: str, y_label: str
) -> matplotlib.figure.Figure:
    """Encoders in the plane of what they weigh and how good they are.

    Args:
        places: By encoder, its size and its share in [0, 1].
        x_label: What the size is.
        y_label: What the share is.
    """
    figure = plotting.new_figure(height=3.1)
    axes = plotting.add_axes(figure, "Size", x_label, y_label)
    for n, (name, (size, share)) in enumerate(places.items()):
        axes.plot(
            [size],
            [100 * share],
            linestyle="none",
            marker=plotting.MARKERS[n % len(plotting.MARKERS)],
            markersize=8,
            color=COLOURS[n % len(COLOURS)],
            label=plotting.short(name),
        )
    # Room for whole markers, the largest encoder's too.
    axes.set_xlim(0, 1.12 * max(size for size, _ in places.values()))
    axes.margins(y=0.12)
    plotting.add_legend(figure, axes)
    return figure
