"""In which order people read the words of an image: lines of words, from left to right and from top
to bottom.

Words are put into lines by what is next to what, each in its own direction, so that lines may be
slanted, bent, or in perspective. Lines one below the other make up blocks; blocks are read from top
to bottom, and from left to right where they stand side by side, as columns and signs do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

__all__ = ["reading_order"]

# All in units of the height of words or lines, the smaller of two.
_WORD_GAP = 1.5  # between words of a line, at most; wider ones are taken for a gap between columns
_WORD_OVERLAP = 0.5  # by which the next word of a line may reach back, since polygons are not exact
_OFFSET = 0.5  # of a word's start from the end of the one before, across the line
_LINE_GAP = 1.5  # between lines of a block

_HEIGHTS = 0.4  # of words of a line, and of lines of a block: the smaller by the larger, at least
_ELONGATED = 1.5  # length by height of words whose direction is their own; others take the page's
_BESIDE = 0.5  # share of the lower of two blocks that is beside the other
_BELOW = 0.1  # share of the narrower of two lines or blocks that is below the other


@dataclass(frozen=True)
class _Boxes:
    """Words with the directions of their text.

    Attributes:
        centre: (N, 2) float64, x and y in pixels.
        along: (N, 2), unit vectors in reading direction.
        length, height: (N,), in pixels; height at least 1e-6.
    """

    centre: np.ndarray
    along: np.ndarray
    length: np.ndarray
    height: np.ndarray


def reading_order(polygons: Sequence[np.ndarray]) -> list[list[int]]:
    """Lines of words.

    Args:
        polygons: (K, 2) each, in pixels. The image may be rotated by up to some 40 degrees. Words
            upright on the lines of others are lines of their own.

    Returns:
        Indices of the polygons, each once, line by line. A gap in a line that is wider than
        1.5 times its height begins another one.
    """
    if not len(polygons):
        return []
    boxes, angle = _boxes(polygons)
    lines = _chains(_next_words(boxes))
    # From here on the page stands upright.
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = [np.asarray(polygon, dtype=np.float64) @ turn for polygon in polygons]
    extents = np.array([[*p.min(axis=0), *p.max(axis=0)] for p in corners])
    height = np.array([np.median(boxes.height[line]) for line in lines])
    outline = np.array([_outline(extents[line]) for line in lines])
    blocks = _chains(_next_lines(outline, height))
    order = _order(np.array([_outline(outline[block]) for block in blocks]))
    return [lines[line] for block in order for line in blocks[block]]


def _boxes(polygons: Sequence[np.ndarray]) -> tuple[_Boxes, float]:
    """The words, and the slope of the page in radians: the median of what the words tell of it."""
    rectangles = [cv2.minAreaRect(np.asarray(p, dtype=np.float32)) for p in polygons]
    sides = np.array([size for _, size, _ in rectangles], dtype=np.float64)
    degrees = np.array([degrees for _, _, degrees in rectangles])
    # The direction of the longer side, between -90 and 90 degrees.
    angles = np.deg2rad((degrees + 90 * (sides[:, 0] < sides[:, 1]) + 90) % 180 - 90)
    long, short = sides.max(axis=1), np.maximum(sides.min(axis=1), 1e-6)
    tells = (long >= _ELONGATED * short) & (np.abs(angles) < np.pi / 4)
    page = _weighted_median(angles[tells], long[tells])
    away = np.abs((angles - page + np.pi / 2) % np.pi - np.pi / 2)
    own = (long >= _ELONGATED * short) & (away < np.pi / 4)
    angles = np.where(own, angles, page)
    along = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    across = np.stack([-np.sin(angles), np.cos(angles)], axis=1)
    length, height = np.empty(len(polygons)), np.empty(len(polygons))
    centre = np.empty((len(polygons), 2))
    for i, polygon in enumerate(polygons):
        axes = np.stack([along[i], across[i]])
        places = np.asarray(polygon, dtype=np.float64) @ axes.T
        low, high = places.min(axis=0), places.max(axis=0)
        centre[i] = (low + high) / 2 @ axes
        length[i], height[i] = high - low
    return _Boxes(centre, along, length, np.maximum(height, 1e-6)), page


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    """0 of no values."""
    if not len(values):
        return 0.0
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


def _next_words(words: _Boxes) -> list[int]:
    """For each word the next one of its line, or -1; none is the next of two."""
    half = words.along * words.length[:, None] / 2
    starts, ends = words.centre - half, words.centre + half
    number = len(starts)
    following, distance = np.full(number, -1), np.full(number, np.inf)
    for i in range(number):
        along = words.along[i] + words.along
        along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-6)
        way = starts - ends[i]
        gap = (way * along).sum(axis=1)
        offset = np.abs(way[:, 1] * along[:, 0] - way[:, 0] * along[:, 1])
        low = np.minimum(words.height[i], words.height)
        high = np.maximum(words.height[i], words.height)
        ahead = ((words.centre - words.centre[i]) * along).sum(axis=1) > 0
        near = (gap < _WORD_GAP * low) & (gap > -_WORD_OVERLAP * low) & (offset < _OFFSET * low)
        far = np.where(ahead & near & (low >= _HEIGHTS * high), np.abs(gap) + offset, np.inf)
        far[i] = np.inf
        j = int(np.argmin(far))
        if np.isfinite(far[j]):
            following[i], distance[i] = j, far[j]
    # Of two words before the same, the nearer one keeps it.
    taken: set[int] = set()
    for i in np.argsort(distance, kind="stable"):
        if following[i] in taken:
            following[i] = -1
        elif following[i] >= 0:
            taken.add(following[i])
    return following.tolist()


def _next_lines(outline: np.ndarray, height: np.ndarray) -> list[int]:
    """For each line the next one of its block, or -1: the only one right below it, if it is the
    only one right above that.

    Args:
        outline: (L, 4) x0, y0, x1, y1 of lines on an upright page.
        height: (L,) of their text.
    """
    above = _common(outline[:, [0, 2]], _BELOW) & _before(outline[:, [1, 3]])
    through = above.astype(np.float32)
    above &= through @ through == 0  # no other line is in between
    gap = outline[None, :, 1] - outline[:, None, 3]
    low = np.minimum(height[:, None], height)
    alike = low >= _HEIGHTS * np.maximum(height[:, None], height)
    only = (above.sum(axis=1) == 1)[:, None] & (above.sum(axis=0) == 1)
    linked = above & only & alike & (gap < _LINE_GAP * low)
    return np.where(linked.any(axis=1), linked.argmax(axis=1), -1).tolist()


def _chains(following: Sequence[int]) -> list[list[int]]:
    """Chains of what follows one another, each index once."""
    chains, seen = [], set()
    followers = set(following)
    firsts = [i for i in range(len(following)) if i not in followers]
    for first in [*firsts, *range(len(following))]:  # the latter for rings, which are cut somewhere
        chain = []
        while first >= 0 and first not in seen:
            seen.add(first)
            chain.append(first)
            first = following[first]
        if chain:
            chains.append(chain)
    return chains


def _order(blocks: np.ndarray) -> list[int]:
    """Of (B, 4) blocks x0, y0, x1, y1 on an upright page.

    One that is beside another comes before it if it is on the left, else if it is higher. Where
    this goes round in circles, the highest of those that are left is taken.
    """
    beside = _common(blocks[:, [1, 3]], _BESIDE) & ~_common(blocks[:, [0, 2]], _BELOW)
    before = np.where(beside, _before(blocks[:, [0, 2]]), _before(blocks[:, [1, 3]]))
    rank = np.lexsort((blocks[:, 0], blocks[:, 1])).tolist()
    waits, order = before.sum(axis=0), []
    while rank:
        chosen = next((i for i in rank if waits[i] == 0), rank[0])
        rank.remove(chosen)
        order.append(chosen)
        waits = waits - before[chosen]
    return order


def _common(spans: np.ndarray, share: float) -> np.ndarray:
    """(N, N) bool, which of (N, 2) spans have more than a share of the shorter in common."""
    low, high = spans.T
    common = np.minimum(high[:, None], high) - np.maximum(low[:, None], low)
    return common > share * np.minimum((high - low)[:, None], high - low)


def _before(spans: np.ndarray) -> np.ndarray:
    """(N, N) bool, whether the middle of one of (N, 2) spans is before that of another."""
    middle = spans.mean(axis=1)
    return middle[:, None] < middle


def _outline(extents: np.ndarray) -> np.ndarray:
    """x0, y0, x1, y1 around (N, 4) of them."""
    return np.concatenate([extents[:, :2].min(axis=0), extents[:, 2:].max(axis=0)])
