"""How much a word may hold: limits that real data never meet, so that no file takes hours.

Annotations and results come from strangers. Each number is far above what people or spotters
write, and low enough that a file of some megabytes takes seconds, not hours.
"""

from __future__ import annotations

import numpy as np
import shapely

__all__ = [
    "FEW_VERTICES",
    "MAX_COORDINATE",
    "MAX_CROSSINGS",
    "MAX_TEXT_LENGTH",
    "MAX_VERTICES",
    "MAX_WORDS",
    "check_polygon",
    "check_text",
]

MAX_COORDINATE = 1_000_000
"""Largest absolute coordinate, in pixels: no image is that wide (JPEG ends at 65,535), and up to
here areas of whole pixels are exact in float64."""

MAX_VERTICES = 1_000
"""Of one polygon: annotators draw 4 to some 30, and the outline of a word's mask that nobody
simplified has a few hundred."""

MAX_CROSSINGS = 100
"""How often the edges of one polygon cross each other: a slip of an annotator's hand makes one or
two crossings, a mask's outline none. Points in random order make n * n / 8, and each encloses a
region of its own."""

MAX_TEXT_LENGTH = 1_000
"""Characters of one transcription: whole lines of text stay below 200."""

MAX_WORDS = 20_000
"""Of one image: a densely printed page of a newspaper has some thousand."""

FEW_VERTICES = 15
"""A polygon of so few cannot reach `MAX_CROSSINGS`: each edge has 12 others but its neighbours."""


def check_polygon(points: np.ndarray) -> None:
    """Refuse a polygon that no data set holds.

    Args:
        points: (K, 2) float64, vertices in pixels.

    Raises:
        ValueError: for more than `MAX_VERTICES`, a coordinate beyond `MAX_COORDINATE`, NaN or
            infinite, or more than `MAX_CROSSINGS`. The caller names the place.
    """
    if len(points) > MAX_VERTICES:
        raise ValueError(
            f"the polygon has {len(points)} points, more than {MAX_VERTICES}; simplify its outline "
            "(cv2.approxPolyDP)"
        )
    largest = np.abs(points).max(initial=0.0)
    if not largest <= MAX_COORDINATE:  # NaN fails the comparison as well
        raise ValueError(
            f"a coordinate is NaN, infinite or beyond {MAX_COORDINATE} pixels ({largest:g})"
        )
    if len(points) <= FEW_VERTICES or shapely.is_valid(shapely.Polygon(points)):
        return
    crossings = _count_crossings(points)
    if crossings > MAX_CROSSINGS:
        raise ValueError(
            f"the polygon crosses itself {crossings} times, more than {MAX_CROSSINGS}; are its "
            "points in order?"
        )


def check_text(text: str) -> None:
    """Refuse a transcription that is none.

    Raises:
        ValueError: for more than `MAX_TEXT_LENGTH` characters. The caller names the place.
    """
    if len(text) > MAX_TEXT_LENGTH:
        raise ValueError(
            f"the transcription has {len(text)} characters, more than {MAX_TEXT_LENGTH}; is it a "
            "word?"
        )


def _count_crossings(points: np.ndarray) -> int:
    """Pairs of edges that cross; such that only touch, or lie upon each other, do not count."""
    after = np.roll(points, -1, axis=0)
    low, high = np.minimum(points, after), np.maximum(points, after)
    first, second = np.triu_indices(len(points), k=2)
    boxes_meet = ((low[first] <= high[second]) & (low[second] <= high[first])).all(axis=1)
    first, second = first[boxes_meet], second[boxes_meet]

    def divides(i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Whether the ends of the edges j lie on two sides of the lines through the edges i."""
        x, y = (after[i] - points[i]).T
        sides = [
            x * (end[:, 1] - points[i, 1]) - y * (end[:, 0] - points[i, 0])
            for end in (points[j], after[j])
        ]
        return np.sign(sides[0]) * np.sign(sides[1]) < 0

    return int((divides(first, second) & divides(second, first)).sum())
