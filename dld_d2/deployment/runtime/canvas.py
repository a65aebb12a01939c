"""Parts of an image laid side by side, for an engine that takes long to begin."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np

__all__ = ["lay_out", "part_of"]

_GAP = 32  # pixels, between parts and around all of them
_WIDER = 1.3  # than high: rows fill up better


def lay_out(parts: Sequence[np.ndarray]) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Put pictures into rows on a canvas, the highest first.

    Args:
        parts: (h, w, 3) uint8 each, at least one.

    Returns:
        (H, W, 3) uint8, gray between the parts; and where each part's upper left corner is, x, y.
    """
    sizes = [part.shape[:2] for part in parts]
    area = sum((height + _GAP) * (width + _GAP) for height, width in sizes)
    limit = max(sqrt(_WIDER * area), max(width for _, width in sizes) + _GAP)
    places: list[tuple[int, int]] = [(0, 0)] * len(parts)
    x, y, row, right = _GAP, _GAP, 0, 0
    for index in sorted(range(len(parts)), key=lambda i: (-sizes[i][0], i)):
        height, width = sizes[index]
        if row and x + width > limit + _GAP:
            x, y, row = _GAP, y + row + _GAP, 0
        places[index] = (x, y)
        row = max(row, height)
        x += width + _GAP
        right = max(right, x)
    canvas = np.full((y + row + _GAP, right, 3), 127, dtype=np.uint8)
    for part, (left, top) in zip(parts, places, strict=True):
        canvas[top : top + part.shape[0], left : left + part.shape[1]] = part
    return canvas, places


def part_of(
    polygon: np.ndarray,
    places: Sequence[tuple[int, int]],
    sizes: Sequence[tuple[int, int]],
) -> int | None:
    """The part in which the middle of a word lies; None if it lies between them.

    Args:
        polygon: (K, 2) in pixels of the canvas.
        places: as `lay_out` gives them.
        sizes: height and width of each part.
    """
    x, y = np.asarray(polygon).mean(axis=0)
    for index, ((left, top), (height, width)) in enumerate(zip(places, sizes, strict=True)):
        if left <= x < left + width and top <= y < top + height:
            return index
    return None
