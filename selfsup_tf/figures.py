"""Figures, which a notebook shows as the last expression of a cell; their colours."""

import io

import matplotlib.figure

# Okabe and Ito 2008, "Color universal design": told apart by the colour-blind. The
# palest are last; every use has a shape, a dash or a word beside the colour, too.
COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#8C8C8C",
    "#F0E442",
)
_DPI = 80  # on a screen


class Figure(matplotlib.figure.Figure):
    """matplotlib's figure, shown by a notebook whether or not pyplot is loaded.

    Made without pyplot, no window system or global state is touched.
    """

    def _repr_png_(self) -> bytes:
        png = io.BytesIO()
        self.savefig(png, format="png", dpi=_DPI)
        return png.getvalue()
