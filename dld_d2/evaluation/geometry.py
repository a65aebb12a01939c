"""Areas and intersections of polygons, for whole data sets in a few vectorised calls.

The reference scripts of the ICDAR RRC use the General Polygon Clipper. Two facts follow, and they
matter for polygons that cross themselves (ground truths contain some):

- the *area* of a polygon is the absolute value of the shoelace sum, in which lobes of opposite
  direction cancel;
- the *intersection* is taken between the even-odd interiors, in which they do not.

IoU divides one by the other, so for such polygons it can exceed 1 or even turn negative. Scores
include that, and so do we.

Areas are float64. Whether a share exceeds a threshold is decided exactly all the same: where
rounding could decide, `exact` computes with fractions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import shapely

from dld_d2.evaluation.exact import intersection_area
from dld_d2.evaluation.words import EvaluationInputError

_PARITY_BLOCK = 1_000_000  # point-edge tests held in memory at once
_BOX_BLOCK = 4_000_000  # pairs of boxes compared at once
_PAIR_BLOCK = 100_000  # intersections held in memory at once

# What rounding can do to an area, as a share of the square of the largest coordinate: shapely
# computes with a relative precision of 2e-16 and, where it must snap, of 1e-12.
_AREA_ROUNDING = 1e-10

MAX_WORK = 1_000_000
"""Most that the intersections of one image may cost, in those of two quadrilaterals: some ten
seconds. Words of photographs have at most a few neighbours each, so that even a page of 20,000
stays below; only thousands of words on one spot do not."""
_WORK_OF_VERTEX_PAIR = 0.01  # outlines of many vertices may cross that often
_WORK_OF_SELF_CROSSING = 100


@dataclass(slots=True, eq=False)
class Overlaps:
    """What the protocol needs to know about the geometry of one image.

    Attributes:
        gt_polygons, det_polygons: G and D arrays (K, 2), K >= 3, not truncated.
        gt_areas: (G,) float64, square pixels, exact.
        det_areas: (D,) float64, square pixels, exact.
        gt_index, det_index: (P,) intp, the pairs that share any area, ordered by ground truth
            and then by detection.
        intersections: (P,) float64, square pixels, > 0.
        rounding: (P,) float64, square pixels, how far `intersections` may be off at most.
    """

    gt_polygons: Sequence[np.ndarray]
    det_polygons: Sequence[np.ndarray]
    gt_areas: np.ndarray
    det_areas: np.ndarray
    gt_index: np.ndarray
    det_index: np.ndarray
    intersections: np.ndarray
    rounding: np.ndarray
    _exact: dict[int, Fraction] = field(default_factory=dict, init=False)  # by pair

    @property
    def ious(self) -> np.ndarray:
        """(P,) float64: intersection over union as the reference computes it; 0 where 0/0."""
        unions = self.det_areas[self.det_index] + self.gt_areas[self.gt_index] - self.intersections
        return np.divide(self.intersections, unions, out=np.zeros_like(unions), where=unions != 0.0)

    def iou_exceeds(self, threshold: float) -> np.ndarray:
        """(P,) bool: whether the IoU is above a threshold >= 0, decided exactly.

        A threshold is the decimal number that is written, 0.3 is 3/10.
        """
        unions = self.det_areas[self.det_index] + self.gt_areas[self.gt_index] - self.intersections
        above = (unions > 0.0) & (self.intersections > threshold * unions)
        # Where the union cannot be told from 0, nor can its sign.
        close = np.abs(self.intersections - threshold * unions) <= self.rounding
        for pair in np.flatnonzero(close | (np.abs(unions) <= self.rounding)).tolist():
            shared = self._exact_intersection(pair)
            union = (
                Fraction(float(self.gt_areas[self.gt_index[pair]]))
                + Fraction(float(self.det_areas[self.det_index[pair]]))
                - shared
            )
            above[pair] = union > 0 and shared > as_written(threshold) * union
        return above

    def det_coverage_exceeds(self, threshold: float) -> np.ndarray:
        """(P,) bool: whether more than this share of the detection's area lies in the ground truth,
        decided exactly; never for a detection without area."""
        areas = self.det_areas[self.det_index]
        above = (areas > 0.0) & (self.intersections > threshold * areas)
        for pair in self._close(areas, threshold):
            part = as_written(threshold) * Fraction(float(areas[pair]))
            above[pair] = areas[pair] > 0.0 and self._exact_intersection(pair) > part
        return above

    def gt_coverage_reaches(self, threshold: float) -> np.ndarray:
        """(P,) bool: whether this share of the ground truth's area or more lies in the detection,
        decided exactly."""
        return self._reaches(self.gt_areas[self.gt_index], threshold)

    def det_coverage_reaches(self, threshold: float) -> np.ndarray:
        """(P,) bool: the same for the detection's area in the ground truth."""
        return self._reaches(self.det_areas[self.det_index], threshold)

    def _reaches(self, areas: np.ndarray, threshold: float) -> np.ndarray:
        reached = self.intersections >= threshold * areas
        for pair in self._close(areas, threshold):
            part = as_written(threshold) * Fraction(float(areas[pair]))
            reached[pair] = self._exact_intersection(pair) >= part
        return reached

    def _close(self, areas: np.ndarray, threshold: float) -> list[int]:
        """Pairs for which rounding could decide."""
        close = np.abs(self.intersections - threshold * areas) <= self.rounding
        return np.flatnonzero(close).tolist()

    def _exact_intersection(self, pair: int) -> Fraction:
        if pair not in self._exact:
            gt = self.gt_polygons[self.gt_index[pair]]
            det = self.det_polygons[self.det_index[pair]]
            self._exact[pair] = intersection_area(truncate(gt), truncate(det))
        return self._exact[pair]


def as_written(threshold: float) -> Fraction:
    """The decimal number that a float was written as: 3/10 for 0.3, whose bits are less."""
    return Fraction(repr(float(threshold)))


def truncate(polygon: np.ndarray) -> np.ndarray:
    """Coordinates cut to whole pixels towards zero, as the protocol reads them; float64."""
    return np.trunc(np.asarray(polygon, dtype=np.float64))


def compute_overlaps(
    gts: Sequence[Sequence[np.ndarray]],
    dets: Sequence[Sequence[np.ndarray]],
    names: Sequence[str] | None = None,
) -> list[Overlaps]:
    """Areas and pairwise intersections for many images at once.

    Args:
        gts, dets: for each image its polygons, each (K, 2) with K >= 3; truncated here.
        names: of the images, for messages; their numbers if None.

    Returns:
        One `Overlaps` for each image.

    Raises:
        EvaluationInputError: if so many polygons of an image lie upon each other that its
            intersections would cost more than `MAX_WORK`.
    """
    names = list(map(str, range(len(gts)))) if names is None else names
    gt_rings, gt_starts = _flatten(gts)
    det_rings, det_starts = _flatten(dets)
    gt_areas, det_areas = _shoelace_areas(gt_rings), _shoelace_areas(det_rings)
    gt_bounds, det_bounds = _bounds(gt_rings), _bounds(det_rings)
    gt_pairs, det_pairs, pair_starts = _touching_boxes(
        gt_bounds, gt_starts, det_bounds, det_starts, names
    )
    # What meets nothing needs no interior: from here on, rings are those in any pair.
    gt_used, gt_of_pair = np.unique(gt_pairs, return_inverse=True)
    det_used, det_of_pair = np.unique(det_pairs, return_inverse=True)
    gt_rings = [gt_rings[index] for index in gt_used.tolist()]
    det_rings = [det_rings[index] for index in det_used.tolist()]
    gt_regions, det_regions = _polygons(gt_rings), _polygons(det_rings)
    gt_valid, det_valid = shapely.is_valid(gt_regions), shapely.is_valid(det_regions)
    work = 1.0 + _WORK_OF_VERTEX_PAIR * (
        shapely.get_num_coordinates(gt_regions)[gt_of_pair].astype(np.float64)
        * shapely.get_num_coordinates(det_regions)[det_of_pair]
    )
    work[~(gt_valid[gt_of_pair] & det_valid[det_of_pair])] += _WORK_OF_SELF_CROSSING
    for image, pairs in enumerate(map(slice, pair_starts[:-1], pair_starts[1:])):
        _check_work(work[pairs].sum(), names[image])
    _decompose_some(gt_regions, gt_rings, np.flatnonzero(~gt_valid))
    _decompose_some(det_regions, det_rings, np.flatnonzero(~det_valid))

    largest = np.maximum(
        np.abs(gt_bounds).max(axis=1, initial=0.0)[gt_pairs],
        np.abs(det_bounds).max(axis=1, initial=0.0)[det_pairs],
    )
    rounding = _AREA_ROUNDING * largest**2
    areas = np.empty(len(gt_pairs))
    for start in range(0, len(areas), _PAIR_BLOCK):
        some = slice(start, start + _PAIR_BLOCK)
        first, second = gt_regions[gt_of_pair[some]], det_regions[det_of_pair[some]]
        areas[some] = shapely.area(shapely.intersection(first, second))
        # A sliver may vanish, or appear, in rounding; whether interiors meet is decided robustly.
        slivers = np.flatnonzero(areas[some] <= rounding[some])
        meet = shapely.relate_pattern(first[slivers], second[slivers], "T********")
        areas[some][slivers[~meet]] = 0.0
        for pair in (slivers[meet] + start).tolist():
            areas[pair] = float(
                intersection_area(gt_rings[gt_of_pair[pair]], det_rings[det_of_pair[pair]])
            )

    overlaps = []
    for image in range(len(gts)):
        pairs = np.arange(pair_starts[image], pair_starts[image + 1])
        pairs = pairs[areas[pairs] > 0.0]
        overlaps.append(
            Overlaps(
                gts[image],
                dets[image],
                gt_areas[gt_starts[image] : gt_starts[image + 1]],
                det_areas[det_starts[image] : det_starts[image + 1]],
                gt_pairs[pairs] - gt_starts[image],
                det_pairs[pairs] - det_starts[image],
                areas[pairs],
                rounding[pairs],
            )
        )
    return overlaps


def _check_work(work: float, image: str) -> None:
    if work > MAX_WORK:
        raise EvaluationInputError(
            f"image {image}: too many of its polygons lie upon each other, or cross themselves, to "
            "be compared; are these results of many images in one file?"
        )


def even_odd_regions(rings: Sequence[np.ndarray]) -> np.ndarray:
    """The even-odd interiors of closed rings.

    Args:
        rings: N arrays (K, 2), K >= 3, that may cross, touch or retrace themselves.

    Returns:
        (N,) valid shapely geometries; empty where a ring encloses nothing.
    """
    regions = _polygons(rings)
    _decompose_some(regions, rings, np.flatnonzero(~shapely.is_valid(regions)))
    return regions


def _polygons(rings: Sequence[np.ndarray]) -> np.ndarray:
    """(N,) shapely polygons, valid where a ring does not cross, touch or retrace itself."""
    if not rings:
        return np.empty(0, dtype=object)
    indices = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    return shapely.polygons(shapely.linearrings(np.concatenate(rings), indices=indices))


def _decompose_some(regions: np.ndarray, rings: Sequence[np.ndarray], broken: np.ndarray) -> None:
    """Put even-odd interiors in the place of polygons that are not valid."""
    for index in broken.tolist():
        regions[index] = _decompose(rings[index])


def _decompose(ring: np.ndarray) -> shapely.Geometry:
    """Cut the plane along the ring and keep the faces that an odd number of edges surrounds."""
    outline = shapely.linestrings(np.vstack([ring, ring[:1]]))
    faces = shapely.get_parts(shapely.polygonize([shapely.unary_union(outline)]))
    if len(faces) == 0:
        return shapely.Polygon()
    inner_points = shapely.get_coordinates(shapely.point_on_surface(faces))
    # The faces fit together edge by edge, which makes their union cheap.
    return shapely.coverage_union_all(faces[_odd_crossings(ring, inner_points)])


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
    gt_boxes: np.ndarray,
    gt_starts: np.ndarray,
    det_boxes: np.ndarray,
    det_starts: np.ndarray,
    names: Sequence[str],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of the pairs, image by image, whose boxes share area, and where each image starts."""
    gt_pairs, det_pairs, counts = [], [], []
    for image in range(len(gt_starts) - 1):
        b = det_boxes[None, det_starts[image] : det_starts[image + 1]]
        rows = max(1, _BOX_BLOCK // max(1, b.shape[1]))
        counts.append(0)
        for start in range(gt_starts[image], gt_starts[image + 1], rows):
            a = gt_boxes[start : min(start + rows, gt_starts[image + 1]), None]
            shares = (
                (a[..., 0] < b[..., 2])
                & (b[..., 0] < a[..., 2])
                & (a[..., 1] < b[..., 3])
                & (b[..., 1] < a[..., 3])
            )
            gt_index, det_index = np.nonzero(shares)
            counts[-1] += len(gt_index)
            _check_work(counts[-1], names[image])
            gt_pairs.append(gt_index + start)
            det_pairs.append(det_index + det_starts[image])
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.intp)
    if not gt_pairs:
        return np.empty(0, np.intp), np.empty(0, np.intp), starts
    return np.concatenate(gt_pairs), np.concatenate(det_pairs), starts
