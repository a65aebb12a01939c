"""From box masks to polygons."""

from __future__ import annotations

import contourpy
import numpy as np
import shapely

__all__ = ["polygons_from_masks"]


def polygons_from_masks(
    masks: np.ndarray, boxes: np.ndarray, *, threshold: float = 0.5, tolerance: float = 0.01
) -> list[np.ndarray]:
    """The outline of each word, taken from the mask of its own box.

    No mask of the image's size is made: the iso-line at `threshold` is traced at sub-pixel
    precision in the box's mask, its largest ring kept, and simplified (Douglas-Peucker).

    Args:
        masks: (N, S, S) float probabilities; element (i, j) is the mean over its cell of the box.
        boxes: (N, 4) float, x0, y0, x1, y1 in pixels.
        threshold: probability above which a point belongs to the word.
        tolerance: of the simplification, as a fraction of the outline's perimeter.

    Returns:
        N float32 arrays (K_i, 2), K_i >= 3, x and y in pixels. A word without any mask pixel above
        the threshold, or whose box is empty, gets its box.
    """
    count = len(masks)
    if count == 0:
        return []
    size = masks.shape[-1]
    # All masks stand side by side, each in a frame of zeros, so that one call traces them all and
    # no ring crosses from one to the next.
    frame = size + 2
    strip = np.zeros((frame, count * frame), dtype=np.float64)
    strip.reshape(frame, count, frame)[1:-1, :, 1:-1] = masks.transpose(1, 0, 2)
    rings = contourpy.contour_generator(z=strip).lines(threshold)
    rings = [ring for ring in rings if len(ring) >= 4]

    corners = np.stack(
        [boxes[:, [0, 1]], boxes[:, [2, 1]], boxes[:, [2, 3]], boxes[:, [0, 3]]], axis=1
    )
    polygons = list(corners.astype(np.float32))
    if not rings:
        return polygons
    lengths = np.array([len(ring) for ring in rings])
    owner_of_ring = np.array([int(ring[0, 0]) // frame for ring in rings])
    owner = owner_of_ring.repeat(lengths)
    points = np.concatenate(rings)
    points[:, 0] -= owner * frame
    # Element i of a framed mask is the cell [i - 1, i] of its box, its centre at i - 0.5.
    extent = boxes[owner, 2:] - boxes[owner, :2]
    points = boxes[owner, :2] + (points - 0.5) / size * extent

    outlines = shapely.polygons(
        shapely.linearrings(points, indices=np.arange(len(rings)).repeat(lengths))
    )
    area = shapely.area(outlines)
    # Of each word's rings the largest: sorted by area, the last one written stays.
    largest = np.full(count, -1)
    order = np.argsort(area, kind="stable")
    largest[owner_of_ring[order]] = order
    found = largest[largest >= 0]
    found = found[area[found] > 0]
    if len(found) == 0:
        return polygons
    simple = shapely.simplify(outlines[found], tolerance * shapely.length(outlines[found]))
    coordinates, index = shapely.get_coordinates(simple, return_index=True)
    ends = np.flatnonzero(np.diff(index)) + 1
    for ring, outline in zip(found, np.split(coordinates, ends), strict=True):
        polygons[owner_of_ring[ring]] = outline[:-1].astype(np.float32)
    return polygons
