"""What the cells of Text Perceptron's maps mean."""

from __future__ import annotations

from typing import NamedTuple

__all__ = [
    "BACKGROUND",
    "BOUNDARY",
    "CENTRE",
    "HEAD",
    "OFFSET_UNIT",
    "RULES",
    "STRIDE",
    "TAIL",
    "TargetRule",
]

STRIDE = 4
"""Pixels of the input per cell."""

OFFSET_UNIT = 32.0
"""Pixels of the input in a unit of the offsets."""

BACKGROUND, CENTRE, HEAD, TAIL, BOUNDARY = range(5)


class TargetRule(NamedTuple):
    """How words are drawn.

    Attributes:
        at: where in its cell the point lies that stands for it, in pixels.
        on_cells: whether lines are a whole number of cells wide and ends at least one cell long, so
            that hardly any falls between cells. Else they are what they are on the input's pixels,
            with integer vertices and outlines that count, as OpenCV draws them.
    """

    at: float
    on_cells: bool


RULES = {"cells": TargetRule(STRIDE / 2, True), "pixels": TargetRule(0.0, False)}
"""By the names of MODEL.TEXT_PERCEPTRON.TARGETS."""
