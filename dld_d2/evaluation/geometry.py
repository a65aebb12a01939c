"""Areas and intersections of polygons, for whole data sets in a few vectorised calls.

The reference scripts of the ICDAR RRC use the General Polygon Clipper. Two facts follow, and they
matter for polygons that cross themselves (ground truths contain some):

- the *area* of a polygon is the absolute value of the shoelace sum, in which lobes of opposite
  direction cancel;
- the *intersection* is taken between the even-odd interiors, in which they do not.

IoU divides one by the other, so for such polygons it can exceed 1 or even turn negative. Scores
include that, and so do we.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely

_PARITY_BLOCK = 1_000_000  # point-edge tests held in memory at once


@dataclass(slots=True, eq=False)
class Overlaps:
    """What the protocol needs to know about the geometry of one image.

    Attributes:
        gt_areas: (G,) float64, square pixels.
        det_areas: (D,) float64, square pixels.
        gt_index, det_index: (P,) intp, the pairs that share any area, ordered by ground truth
            and then by detection.
        intersections: (P,) float64, square pixels, > 0.
    """

    gt_areas: np.ndarray
    det_areas: np.ndarray
    gt_index: np.ndarray
    det_index: np.ndarray
    intersections: np.ndarray

    @property
    def ious(self) -> np.ndarray:
        """(P,) float64: intersection over union as the reference computes it; 0 where 0/0."""
        unions = self.det_areas[self.det_index] + self.gt_areas[self.gt_index] - self.intersections
        return np.divide(self.intersections, unions, out=np.zeros_like(unions), where=unions != 0.0)

    @property
    def det_coverage(self) -> np.ndarray:
        """(P,) float64: intersection as a fraction of the detection's area; 0 for no area."""
        areas = self.det_areas[self.det_index]
        return np.divide(self.intersections, areas, out=np.zeros_like(areas), where=areas != 0.0)


def truncate(polygon: np.ndarray) -> np.ndarray:
    """Coordinates cut to whole pixels towards zero, as the protocol reads them; float64."""
    return np.trunc(np.asarray(polygon, dtype=np.float64))


def compute_overlaps(
    gts: Sequence[Sequence[np.ndarray]], dets: Sequence[Sequence[np.ndarray]]
) -> list[Overlaps]:
    """Areas and pairwise intersections for many images at once.

    Args:
        gts, dets: for each image its polygons, each (K, 2) with K >= 3; truncated here.

    Returns:
        One `Overlaps` for each image.
    """
    gt_rings, gt_starts = _flatten(gts)
    det_rings, det_starts = _flatten(dets)
    gt_areas, det_areas = _shoelace_areas(gt_rings), _shoelace_areas(det_rings)
    gt_pairs, det_pairs, pair_starts = _touching_boxes(
        _bounds(gt_rings), gt_starts, _bounds(det_rings), det_starts
    )
    gt_regions, det_regions = even_odd_regions(gt_rings), even_odd_regions(det_rings)
    areas = shapely.area(shapely.intersection(gt_regions[gt_pairs], det_regions[det_pairs]))

    overlaps = []
    for image in range(len(gts)):
        pairs = np.arange(pair_starts[image], pair_starts[image + 1])
        pairs = pairs[areas[pairs] > 0.0]
        overlaps.append(
            Overlaps(
                gt_areas[gt_starts[image] : gt_starts[image + 1]],
                det_areas[det_starts[image] : det_starts[image + 1]],
                gt_pairs[pairs] - gt_starts[image],
                det_pairs[pairs] - det_starts[image],
                areas[pairs],
            )
        )
    return overlaps


def even_odd_regions(rings: Sequence[np.ndarray]) -> np.ndarray:
    """The even-odd interiors of closed rings.

    Args:
        rings: N arrays (K, 2), K >= 3, that may cross, touch or retrace themselves.

    Returns:
        (N,) valid shapely geometries; empty where a ring encloses nothing.
    """
    if not rings:
        return np.empty(0, dtype=object)
    lengths = [len(ring) for ring in rings]
    indices = np.repeat(np.arange(len(rings)), lengths)
    regions = shapely.polygons(shapely.linearrings(np.concatenate(rings), indices=indices))
    for broken in np.flatnonzero(~shapely.is_valid(regions)):
        regions[broken] = _decompose(rings[broken])
    return regions


def _decompose(ring: np.ndarray) -> shapely.Geometry:
    """Cut the plane along the ring and keep the faces that an odd number of edges surrounds."""
    outline = shapely.linestrings(np.vstack([ring, ring[:1]]))
    faces = shapely.get_parts(shapely.polygonize([shapely.unary_union(outline)]))
    if len(faces) == 0:
        return shapely.Polygon()
    inner_points = shapely.get_coordinates(shapely.point_on_surface(faces))
    return shapely.unary_union(faces[_odd_crossings(ring, inner_points)])


def _odd_crossings(ring: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(N,) bool: whether a ray from each of the (N, 2) points to the right meets the ring oddly."""
    x0, y0 = ring.T
    x1, y1 = np.roll(ring, -1, axis=0).T
    odd = np.empty(len(points), dtype=bool)
    block = max(1, _PARITY_BLOCK // len(ring))
    for start in range(0, len(points), block):
        x, y = points[start : start + block, :1], points[start : start + block, 1:]
        spans = (y0 > y) != (y1 > y)
        height = np.where(y1 == y0, 1.0, y1 - y0)  # a horizontal edge spans nothing
        crosses = spans & (x < x0 + (y - y0) * (x1 - x0) / height)
        odd[start : start + block] = crosses.sum(axis=1) % 2 == 1
    return odd


def _flatten(images: Sequence[Sequence[np.ndarray]]) -> tuple[list[np.ndarray], np.ndarray]:
    rings = [truncate(polygon) for polygons in images for polygon in polygons]
    return rings, np.concatenate([[0], np.cumsum([len(polygons) for polygons in images])]).astype(
        np.intp
    )


def _ring_starts(rings: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum([len(ring) for ring in rings])[:-1]]).astype(np.intp)


def _shoelace_areas(rings: Sequence[np.ndarray]) -> np.ndarray:
    if not rings:
        return np.empty(0)
    points, starts = np.concatenate(rings), _ring_starts(rings)
    following = np.arange(1, len(points) + 1)
    following[np.append(starts[1:], len(points)) - 1] = starts
    x, y = points.T
    return 0.5 * np.abs(np.add.reduceat((x + x[following]) * (y[following] - y), starts))


def _bounds(rings: Sequence[np.ndarray]) -> np.ndarray:
    """(N, 4) float64: x0, y0, x1, y1 of each ring."""
    if not rings:
        return np.empty((0, 4))
    points, starts = np.concatenate(rings), _ring_starts(rings)
    return np.hstack(
        [np.minimum.reduceat(points, starts, axis=0), np.maximum.reduceat(points, starts, axis=0)]
    )


def _touching_boxes(
    gt_boxes: np.ndarray, gt_starts: np.ndarray, det_boxes: np.ndarray, det_starts: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of the pairs, image by image, whose boxes share area, and where each image starts."""
    gt_pairs, det_pairs, counts = [], [], []
    for image in range(len(gt_starts) - 1):
        a = gt_boxes[gt_starts[image] : gt_starts[image + 1], None]
        b = det_boxes[None, det_starts[image] : det_starts[image + 1]]
        shares = (
            (a[..., 0] < b[..., 2])
            & (b[..., 0] < a[..., 2])
            & (a[..., 1] < b[..., 3])
            & (b[..., 1] < a[..., 3])
        )
        gt_index, det_index = np.nonzero(shares)
        gt_pairs.append(gt_index + gt_starts[image])
        det_pairs.append(det_index + det_starts[image])
        counts.append(len(gt_index))
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.intp)
    if not gt_pairs:
        return np.empty(0, np.intp), np.empty(0, np.intp), starts
    return np.concatenate(gt_pairs), np.concatenate(det_pairs), starts
