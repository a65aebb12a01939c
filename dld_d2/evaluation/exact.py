"""Areas of intersections as fractions, for the rare pairs that rounding could decide.

Vertices are whole pixels, so that every area here is a rational number, and a comparison with a
threshold has one answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise

import numpy as np

# From (x0, y0) up to (x1, y1), y0 < y1, and which ring it belongs to.
_Edge = tuple[int, int, int, int, int]


def intersection_area(first: np.ndarray, second: np.ndarray) -> Fraction:
    """Area that lies in the even-odd interiors of two rings.

    The plane is cut into horizontal slabs, at every vertex and every crossing of two edges, so that
    no edges cross within a slab: what lies in both rings there are trapezoids.

    Args:
        first, second: (K, 2), K >= 3, whole numbers. They may cross, touch or retrace themselves.

    Returns:
        Square pixels.
    """
    bottom = int(max(first[:, 1].min(), second[:, 1].min()))
    top = int(min(first[:, 1].max(), second[:, 1].max()))
    edges = [edge for edge in _edges(first, second) if edge[1] < top and edge[3] > bottom]
    levels: set[Fraction | int] = {bottom, top}
    levels.update(y for edge in edges for y in (edge[1], edge[3]) if bottom < y < top)
    levels.update(y for y in _crossing_levels(edges) if bottom < y < top)

    waiting = sorted(edges, key=lambda edge: edge[1], reverse=True)
    active: list[_Edge] = []
    area = Fraction(0)
    for low, high in pairwise(sorted(levels)):
        active = [edge for edge in active if edge[3] > low]
        while waiting and waiting[-1][1] <= low:
            active.append(waiting.pop())
        area += (high - low) * _width_inside_both(active, Fraction(low + high) / 2)
    return area


def _edges(first: np.ndarray, second: np.ndarray) -> Iterator[_Edge]:
    """All edges but the horizontal ones, which bound no trapezoid at a side."""
    for ring, points in enumerate((first, second)):
        vertices = [(int(x), int(y)) for x, y in points.tolist()]
        for (x0, y0), (x1, y1) in zip(vertices, [*vertices[1:], vertices[0]], strict=True):
            if y0 < y1:
                yield x0, y0, x1, y1, ring
            elif y1 < y0:
                yield x1, y1, x0, y0, ring


def _crossing_levels(edges: list[_Edge]) -> Iterator[Fraction]:
    """The y of every point in which two edges cross (or touch, which cuts a slab in vain)."""
    if not edges:
        return
    x0, y0, x1, y1, _ = np.array(edges, dtype=np.int64).T
    left, right = np.minimum(x0, x1), np.maximum(x0, x1)
    for index, (ax, ay, bx, by, _) in enumerate(edges):
        rest = slice(index + 1, None)
        near = (left[rest] <= max(ax, bx)) & (right[rest] >= min(ax, bx))
        near &= (y0[rest] < by) & (y1[rest] > ay)
        for other in (np.flatnonzero(near) + index + 1).tolist():
            cx, cy, dx, dy, _ = edges[other]
            turn = (bx - ax) * (dy - cy) - (by - ay) * (dx - cx)
            if turn:  # else parallel
                along = (cx - ax) * (dy - cy) - (cy - ay) * (dx - cx)
                y = ay + Fraction(along * (by - ay), turn)
                if max(ay, cy) < y < min(by, dy):
                    yield y


def _width_inside_both(active: list[_Edge], level: Fraction) -> Fraction:
    """Length of the part of a horizontal line that lies inside both rings."""
    hits = sorted(
        (x0 + (level - y0) * Fraction(x1 - x0, y1 - y0), ring) for x0, y0, x1, y1, ring in active
    )
    inside = [False, False]
    width = Fraction(0)
    for (x, ring), (following, _) in pairwise(hits):
        inside[ring] = not inside[ring]
        if all(inside):
            width += following - x
    return width
