"""Figures that a notebook shows where one is the last expression of a cell."""

import io

import matplotlib.figure

_DPI = 80  # on a screen


class Figure(matplotlib.figure.Figure):
    """matplotlib's figure, shown by a notebook whether or not pyplot is loaded.

    Made without pyplot, no window system or global state is touched.
    """

    def _repr_png_(self) -> bytes:
        png = io.BytesIO()
        self.savefig(png, format="png", dpi=_DPI)
        return png.getvalue()
