"""What a detector by differentiable binarisation (DB) learns: maps drawn from words' polygons.

Liao et al., Real-time Scene Text Detection with Differentiable Binarization, AAAI 2020, section
"Label generation". A word is taught as its polygon shrunk, so that neighbours stay apart, and a
border of the same width on both sides of its outline, where the threshold is to be high.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import shapely
import torch
from detectron2.structures import Instances
from torch import Tensor

__all__ = [
    "ScoreMapTargets",
    "batch_targets",
    "rasterise",
    "score_map_targets",
    "solid_pieces",
]

LOWEST_BORDER, HIGHEST_BORDER = 0.3, 0.7


class ScoreMapTargets(NamedTuple):
    """Maps (H, W) of an image as arrays, or (B, H, W) of a batch as tensors.

    A pixel belongs to a polygon if its centre lies in it; the centre of pixel (0, 0) is at
    (0.5, 0.5).

    Attributes:
        shrunk: float32, 1 in the shrunk words and 0 elsewhere.
        shrunk_mask: bool, where `shrunk` is to be learnt: not in don't-care regions, not in words
            that are too small to be taught, and not in padding.
        border: float32, 0.7 on words' outlines, falling to 0.3 at the borders' rims.
        border_mask: bool, where `border` is to be learnt: in the words with their borders.
    """

    shrunk: np.ndarray | Tensor
    shrunk_mask: np.ndarray | Tensor
    border: np.ndarray | Tensor
    border_mask: np.ndarray | Tensor


def score_map_targets(
    polygons: Sequence[np.ndarray],
    ignore: np.ndarray,
    size: tuple[int, int],
    *,
    shrink_ratio: float = 0.4,
    min_size: float = 3.0,
) -> ScoreMapTargets:
    """Draw the words of one image.

    A polygon of area A and perimeter L is moved inwards, and its border reaches to both sides, by
    D = A (1 - r^2) / L, where r is the shrink ratio. At the distance d <= D from the outline the
    border is 1 - d / D, mapped to [0.3, 0.7]; where borders meet the highest counts.

    A polygon that crosses itself is taught as the pieces that it consists of, without their holes.

    Args:
        polygons: N arrays (K_i, 2), K_i >= 3, vertices x and y in pixels.
        ignore: (N,) bool, which are don't-care.
        size: height and width of the maps.
        shrink_ratio: r above.
        min_size: words lower than this many pixels are not taught, nor are those that keep no pixel
            in the map when they are shrunk. They are no background either.
    """
    maps = _empty(size)
    _draw(maps, polygons, ignore, shrink_ratio, min_size)
    return maps


def batch_targets(
    targets: Sequence[Instances],
    size: tuple[int, int],
    *,
    shrink_ratio: float = 0.4,
    min_size: float = 3.0,
) -> ScoreMapTargets:
    """Draw the words of a padded batch.

    Args:
        targets: per image, with `gt_masks` (`Polygons`) and `gt_ignore` (N,) bool, in its pixels.
        size: height and width of the batch.
        shrink_ratio, min_size: as of `score_map_targets`.

    Returns:
        Tensors (B, H, W) on the targets' device. Both masks are False outside of an image.
    """
    batch = _empty((len(targets), *size))
    for index, target in enumerate(targets):
        height, width = target.image_size
        polygons = list(target.gt_masks.vertices.cpu().numpy())
        image = ScoreMapTargets(*(maps[index, :height, :width] for maps in batch))
        _draw(image, polygons, target.gt_ignore.cpu().numpy(), shrink_ratio, min_size)
        for mask in (batch.shrunk_mask, batch.border_mask):
            mask[index, height:] = mask[index, :, width:] = False
    device = targets[0].gt_ignore.device
    return ScoreMapTargets(*(torch.from_numpy(maps).to(device) for maps in batch))


def _empty(shape: tuple[int, ...]) -> ScoreMapTargets:
    """Maps without words."""
    return ScoreMapTargets(
        shrunk=np.zeros(shape, dtype=np.float32),
        shrunk_mask=np.ones(shape, dtype=bool),
        border=np.full(shape, LOWEST_BORDER, dtype=np.float32),
        border_mask=np.zeros(shape, dtype=bool),
    )


def _draw(
    maps: ScoreMapTargets,
    polygons: Sequence[np.ndarray],
    ignore: np.ndarray,
    shrink_ratio: float,
    min_size: float,
) -> None:
    """Draw words into maps without words. Large arrays are not made on the way: to touch new memory
    takes longer than to draw."""
    if len(polygons) != len(ignore):
        raise ValueError(f"{len(polygons)} polygons, but ignore is for {len(ignore)}")
    size = maps.shrunk.shape
    pieces, word = solid_pieces(polygons)
    area, perimeter = shapely.area(pieces), shapely.length(pieces)
    distance = area * (1 - shrink_ratio**2) / perimeter
    # The height of the rectangle with this area and perimeter: unlike a bounding box's it stays the
    # same when a word is turned or bent.
    half = perimeter / 2
    height = (half - np.sqrt(np.maximum(half**2 - 4 * area, 0))) / 2
    taught = ~np.asarray(ignore, dtype=bool)[word] & (height >= min_size)

    candidates = np.flatnonzero(taught)
    cores, core_of = shapely.get_parts(
        shapely.buffer(pieces[candidates], -distance[candidates]), return_index=True
    )
    taught[candidates] = False
    for core, window, inside in rasterise(cores, size):
        maps.shrunk[window][inside] = 1
        taught[candidates[core_of[core]]] |= inside.any()
    for piece, window, inside in rasterise(pieces, size):
        if taught[piece]:
            maps.border_mask[window] |= inside
        else:
            maps.shrunk_mask[window] &= ~inside
    _draw_distance(maps.border, pieces[taught], distance[taught])
    np.logical_or(maps.border_mask, maps.border < 1, out=maps.border_mask)
    np.multiply(maps.border, LOWEST_BORDER - HIGHEST_BORDER, out=maps.border)
    np.add(maps.border, HIGHEST_BORDER, out=maps.border)


def solid_pieces(polygons: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Polygons as valid shapes without holes, (M,), and the index of the polygon of each, (M,)."""
    if len(polygons) == 0:
        return np.zeros(0, dtype=object), np.zeros(0, dtype=np.int64)
    lengths = [len(polygon) for polygon in polygons]
    points = np.concatenate(polygons).astype(np.float64)
    shapes = shapely.polygons(
        shapely.linearrings(points, indices=np.arange(len(polygons)).repeat(lengths))
    )
    crossed = ~shapely.is_valid(shapes)
    shapes[crossed] = shapely.make_valid(shapes[crossed])
    # Repairing may give a collection of several polygons and lines; it is taken apart in two steps.
    shapes, word = shapely.get_parts(shapes, return_index=True)
    shapes, collection = shapely.get_parts(shapes, return_index=True)
    solid = shapely.area(shapes) > 0
    return shapely.polygons(shapely.get_exterior_ring(shapes[solid])), word[collection[solid]]


def _edges(polygons: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Start and end (E, 2) of each edge of the polygons' outlines, and its polygon (E,)."""
    points, owner = shapely.get_coordinates(shapely.get_exterior_ring(polygons), return_index=True)
    # Polygons that are padded repeat a vertex; between the two there is no edge.
    inner = (owner[1:] == owner[:-1]) & (points[1:] != points[:-1]).any(axis=1)
    return points[:-1][inner], points[1:][inner], owner[1:][inner]


def rasterise(
    polygons: np.ndarray, size: tuple[int, int]
) -> Iterator[tuple[int, tuple[slice, slice], np.ndarray]]:
    """Which pixels' centres lie in each polygon.

    OpenCV's filling also draws the outline, which would make a word of 12 pixels, the shrunk
    height of which is about 4, a pixel higher. Here it is exact: the outline's crossings with each
    row of pixel centres are marked, and a pixel is inside if their number to the left of it is odd.

    Args:
        polygons: (M,) valid shapes without holes.
        size: height H and width W.

    Yields:
        For each polygon that has rows in the image its index, the window of the image that it
        needs, and which pixels of the window are inside, bool.
    """
    height, width = size
    start, stop, owner = _edges(polygons)
    # Half-open, so that a vertex on a row counts for one of its two edges: an edge crosses the rows
    # i with y_low <= i + 0.5 < y_high.
    low = np.minimum(start[:, 1], stop[:, 1])
    high = np.maximum(start[:, 1], stop[:, 1])
    first = np.clip(np.ceil(low - 0.5), 0, height).astype(np.int64)
    count = np.clip(np.ceil(high - 0.5), 0, height).astype(np.int64) - first
    edge = np.arange(len(count)).repeat(count)
    row = np.arange(len(edge)) - (np.cumsum(count) - count - first)[edge]
    start, step, owner = start[edge], (stop - start)[edge], owner[edge]
    x = start[:, 0] + (row + 0.5 - start[:, 1]) / step[:, 1] * step[:, 0]
    column = np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)

    found, begin = np.unique(owner, return_index=True)
    if len(found) == 0:
        return
    for index, rows, columns in zip(
        found.tolist(), np.split(row, begin[1:]), np.split(column, begin[1:]), strict=True
    ):
        top, left, right = rows.min(), columns.min(), columns.max()
        marks = np.zeros((rows.max() + 1 - top, right + 1 - left), dtype=np.int32)
        np.add.at(marks, (rows - top, columns - left), 1)
        inside = (np.cumsum(marks, axis=1)[:, :-1] & 1).astype(bool)
        yield index, (slice(top, top + len(marks)), slice(left, right)), inside


def _draw_distance(nearest: np.ndarray, polygons: np.ndarray, reach: np.ndarray) -> None:
    """Fill a map (H, W) float32 with the distance to the nearest outline, in units of its `reach`
    (M,) and at most 1."""
    height, width = nearest.shape
    nearest[:] = 1
    start, stop, owner = _edges(polygons)
    reach = reach[owner]
    length = np.hypot(*(stop - start).T)
    middle = (start + stop) / 2
    direction = (stop - start) / length[:, None]
    # The pixels whose centres are in the box around what an edge reaches.
    lowest = np.ceil(np.minimum(start, stop) - reach[:, None] - 0.5)
    highest = np.floor(np.maximum(start, stop) + reach[:, None] - 0.5) + 1
    lowest = np.clip(lowest, 0, (width, height)).astype(np.int64)
    highest = np.clip(highest, 0, (width, height)).astype(np.int64)
    centre_x = np.arange(width, dtype=np.float32) + 0.5
    centre_y = np.arange(height, dtype=np.float32)[:, None] + 0.5
    edges = zip(
        lowest.tolist(),
        highest.tolist(),
        middle.tolist(),
        direction.tolist(),
        (length / 2).tolist(),
        reach.tolist(),
        strict=True,
    )
    for (left, top), (right, bottom), (mid_x, mid_y), (ux, uy), half, far in edges:
        if left >= right or top >= bottom:
            continue
        x, y = centre_x[left:right] - mid_x, centre_y[top:bottom] - mid_y
        # Both coordinates in the edge's frame, in units of its reach, are sums of one number for
        # each column and one for each row. Along the edge the way beyond its ends is what counts.
        along = np.abs(x * (ux / far) + y * (uy / far))
        along -= half / far
        np.maximum(along, 0, out=along)
        across = x * (-uy / far) + y * (ux / far)
        part = nearest[top:bottom, left:right]
        np.minimum(part, cv2.magnitude(along, across), out=part)
