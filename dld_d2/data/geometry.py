"""Area and clipping of annotated polygons."""

from __future__ import annotations

import numpy as np
import shapely

__all__ = ["clip_to_image", "region_area"]


def _signed_area(points: np.ndarray) -> float:
    x, y = points[:, 0], points[:, 1]
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def region_area(points: np.ndarray) -> float:
    """Area of the region that a polygon encloses, 0 where the region is a line or point.

    Args:
        points: (K, 2) float64, K >= 3, finite vertices in pixels. The polygon may cross itself.

    Returns:
        Square pixels. For a self-crossing polygon the absolute signed area, unless that vanishes
        because its lobes cancel.
    """
    area = abs(_signed_area(points))
    # Coordinates stored as float32 leave some area to points that lie on one line.
    rounding = 1e-6 * float(np.ptp(points, axis=0).max()) ** 2
    if area > rounding:
        return area
    area = float(shapely.make_valid(shapely.Polygon(points)).area)
    return area if area > rounding else 0.0


def clip_to_image(points: np.ndarray, height: int, width: int) -> np.ndarray | None:
    """Cut off what lies outside the image.

    Args:
        points: (K, 2) float64, K >= 3, vertices (x, y) in pixels.
        height, width: size of the image, which covers [0, width] x [0, height].

    Returns:
        (L, 2) float64 vertices of the part inside, the largest if there are several, in the
        given sense of rotation and starting near the given first vertex. None if nothing is left.
    """
    region = shapely.make_valid(shapely.Polygon(points))
    inside = shapely.intersection(region, shapely.box(0, 0, width, height))
    parts = shapely.get_parts(shapely.get_parts(inside))  # a collection may hold MultiPolygons
    parts = [part for part in parts if part.geom_type == "Polygon" and part.area > 0]
    if not parts:
        return None
    largest = max(parts, key=lambda part: part.area)
    clipped = shapely.get_coordinates(largest.exterior)[:-1]
    if (_signed_area(clipped) > 0) != (_signed_area(points) > 0):
        clipped = clipped[::-1]
    first = int(np.square(clipped - points[0]).sum(axis=1).argmin())
    clipped = np.roll(clipped, -first, axis=0)
    return np.clip(clipped, 0, (width, height))
