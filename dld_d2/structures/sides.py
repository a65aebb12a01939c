"""The upper and the lower side of a word, found from the vertices of its polygon."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["POINTS_PER_SIDE", "sides_of", "word_sides"]

POINTS_PER_SIDE = 7

# Text is vertical if its first side, as annotated, is shorter than the next by more than this.
_VERTICAL = 2.0


def word_sides(polygon: np.ndarray) -> np.ndarray:
    """As `sides_of`, for one polygon: (K, 2) -> (14, 2)."""
    return sides_of([polygon])[0]


def sides_of(polygons: Sequence[np.ndarray]) -> np.ndarray:
    """The sides of words as points, equidistant along each side.

    Polygons are taken to be in reading order: clockwise as one sees them, from the upper left of
    the word.

    - Four vertices are the word's corners from its top left. If the first edge is less than half as
      long as the last, the text is vertical: it starts at the second vertex, so that its long
      sides are the upper (right) and the lower (left) one.
    - Of more vertices, the two ends of the word are the edges whose neighbours are most nearly
      parallel: the interior angles at such an edge add up to 180 degrees. Of all two edges that
      share no vertex, those are the ends whose sums are off by the least together. The upper side
      leads from the first of them to the second, where the edge from the last vertex to the first
      comes before all others.
    - Of fewer, the sides are the long ones of the rectangle of the smallest area, read from left
      to right, and downwards if it is upright.

    Vertices that repeat the one before do not count.

    The order of polygons given counter-clockwise tells less. They are taken in reverse, from the
    same first vertex; four vertices are read along the more horizontal of their sides unless one
    is more than twice as long as the other; and what would then run from right to left, rather
    than up or down, is turned by 180 degrees. Words that stand on their heads, or are rotated by
    more than 45 degrees, may thus be read from the wrong end. Polygons that cross themselves give
    some points.

    Args:
        polygons: (K_i, 2) vertices (x, y), x to the right and y down, K_i >= 1.

    Returns:
        (N, 14, 2) float64: `POINTS_PER_SIDE` points of the upper side and as many of the lower,
        both in reading order, with the ends of the sides.
    """
    sides = np.zeros((len(polygons), 2 * POINTS_PER_SIDE, 2))
    numbers = np.array([len(polygon) for polygon in polygons], dtype=np.int64)
    for number in np.unique(numbers):
        rows = np.flatnonzero(numbers == number)
        vertices = np.array([polygons[i] for i in rows], dtype=np.float64)
        distinct = (vertices != np.roll(vertices, 1, axis=1)).any(axis=2).all(axis=1)
        sides[rows[distinct]] = _sides_of_distinct(vertices[distinct])
        for i in np.flatnonzero(~distinct):
            sides[rows[i]] = _sides_of_distinct(_without_repeats(vertices[i])[None])[0]
    return sides


def _without_repeats(vertices: np.ndarray) -> np.ndarray:
    """(K, 2) polygon without vertices that repeat the one before, or, at the end, the first."""
    new = (vertices[1:] != vertices[:-1]).any(axis=1)
    vertices = vertices[np.concatenate([[True], new])]
    closed = len(vertices) > 1 and (vertices[-1] == vertices[0]).all()
    return vertices[:-1] if closed else vertices


def _sides_of_distinct(vertices: np.ndarray) -> np.ndarray:
    """(N, K, 2) polygons without vertices that repeat the one before -> (N, 14, 2)."""
    if vertices.shape[1] > 4:
        return _sides_by_angles(vertices)
    if vertices.shape[1] == 4:
        return _sides_of_quadrilaterals(vertices)
    return _sides_of_rectangle(vertices)


def _sides_of_quadrilaterals(corners: np.ndarray) -> np.ndarray:
    """(N, 4, 2) -> (N, 14, 2)."""
    corners, reverse = _clockwise(corners)
    edges = np.roll(corners, -1, axis=1) - corners
    lengths = np.linalg.norm(edges, axis=2)
    first, last = lengths[:, 0], lengths[:, 3]
    slope = np.abs(edges[..., 1]) / np.maximum(lengths, 1e-300)
    flatter = (first <= _VERTICAL * last) & (slope[:, 3] < slope[:, 0])
    second = (last > _VERTICAL * first) | (reverse & flatter)
    corners = np.where(second[:, None, None], np.roll(corners, -1, axis=1), corners)
    # Corners are top left, top right, bottom right, bottom left.
    return _rightwards(_equidistant(corners[:, [[0, 1], [3, 2]]]), reverse)


def _sides_by_angles(vertices: np.ndarray) -> np.ndarray:
    """(N, K, 2), K > 4 -> (N, 14, 2)."""
    vertices, reverse = _clockwise(vertices)
    number = vertices.shape[1]
    after = np.roll(vertices, -1, axis=1) - vertices
    before = np.roll(after, 1, axis=1)
    turn = np.arctan2(_cross(before, after), (before * after).sum(axis=2))
    # Edge i leads from vertex i - 1 to vertex i. Rounding leaves ties to the order of vertices.
    off = np.round(np.abs(np.pi - turn - np.roll(turn, 1, axis=1)), 6)
    heads, tails = np.triu_indices(number, 2)
    apart = (heads > 0) | (tails < number - 1)  # the first and the last edge share a vertex
    heads, tails = heads[apart], tails[apart]
    best = np.argmin(off[:, heads] + off[:, tails], axis=1)
    head, tail = heads[best, None], tails[best, None]
    steps = np.arange(number)
    # Each side is padded by its last vertex.
    upper = np.minimum(head + steps, tail - 1)
    lower = np.maximum(head - 1 + number - steps, tail) % number
    lines = np.stack([upper, lower], axis=1)
    lines = vertices[np.arange(len(vertices))[:, None, None], lines]
    return _rightwards(_equidistant(lines), reverse)


def _sides_of_rectangle(vertices: np.ndarray) -> np.ndarray:
    """(N, K, 2), K = 1, 2 or 3 -> (N, 14, 2), the long sides of the smallest rectangle around."""
    edges = np.roll(vertices, -1, axis=1) - vertices
    longest = np.linalg.norm(edges, axis=2).argmax(axis=1)
    rows = np.arange(len(vertices))
    # The longest edge of a triangle is a side of the smallest rectangle, and a long one.
    start, way = vertices[rows, longest], edges[rows, longest]
    back = (way[:, 0] < 0) | ((way[:, 0] == 0) & (way[:, 1] < 0))
    start, way = np.where(back[:, None], start + way, start), np.where(back[:, None], -way, way)
    down = np.stack([-way[:, 1], way[:, 0]], axis=1)
    depth = ((vertices - start[:, None]) * down[:, None]).sum(axis=2)
    depth /= np.maximum((way**2).sum(axis=1), 1e-300)[:, None]
    upper = np.stack([start, start + way], axis=1)
    far = np.stack([depth.min(axis=1), depth.max(axis=1)], axis=1)
    return _equidistant(upper[:, None] + far[:, :, None, None] * down[:, None, None])


def _clockwise(polygons: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, K, 2) polygons, from the same first vertex, and (N,) bool, which were reversed."""
    offset = polygons - polygons[:, :1]
    reverse = _cross(offset, np.roll(offset, -1, axis=1)).sum(axis=1) < 0
    if not reverse.any():
        return polygons, reverse
    reversed_ = np.roll(polygons[:, ::-1], 1, axis=1)
    return np.where(reverse[:, None, None], reversed_, polygons), reverse


def _rightwards(sides: np.ndarray, which: np.ndarray) -> np.ndarray:
    """(N, 14, 2) sides; of `which`, (N,) bool, those that run to the left are turned round."""
    if not which.any():
        return sides
    upper, lower = sides[:, :POINTS_PER_SIDE], sides[:, POINTS_PER_SIDE:]
    way = upper[:, -1] - upper[:, 0] + lower[:, -1] - lower[:, 0]
    leftwards = which & (way[:, 0] < 0) & (np.abs(way[:, 1]) <= np.abs(way[:, 0]))
    return np.where(leftwards[:, None, None], sides[:, ::-1], sides)


def _equidistant(lines: np.ndarray) -> np.ndarray:
    """Points at equal distances along lines, the ends included: (N, 2, K, 2) -> (N, 14, 2)."""
    steps = np.diff(lines, axis=2)
    lengths = np.linalg.norm(steps, axis=3)
    stop = np.cumsum(lengths, axis=2)
    places = np.linspace(0, stop[..., -1], POINTS_PER_SIDE, axis=-1)
    # The first step that reaches so far; rounding must not lead beyond the last.
    step = (stop[..., None, :] < places[..., None]).sum(axis=3)
    step = np.minimum(step, lengths.shape[2] - 1)
    length = np.take_along_axis(lengths, step, axis=2)
    missing = np.take_along_axis(stop, step, axis=2) - places
    share = 1 - missing / np.where(length > 0, length, 1)
    start = np.take_along_axis(lines, step[..., None], axis=2)
    points = start + share[..., None] * np.take_along_axis(steps, step[..., None], axis=2)
    return points.reshape(len(lines), 2 * POINTS_PER_SIDE, 2)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
