"""Plots of pages, as SVG."""

from __future__ import annotations

import io

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

__all__ = ["STYLE", "WIDTH", "svg"]

# Small enough that letters stay readable on a telephone, where a figure is 350 pixels wide.
WIDTH = 5.2
"""Of a plot, in inches."""

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.hashsalt": "dld_d2",
}
"""For `plt.rc_context`."""


def svg(figure: plt.Figure) -> bytes:
    """The file, the same each time; the figure is closed."""
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    plt.close(figure)
    return stream.getvalue()
