"""Geometry of words that are given by their sides, and of points near them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dld_d2.structures.sides import POINTS_PER_SIDE

__all__ = [
    "Crossings",
    "WordPairs",
    "distance_to_sides",
    "outline",
    "outline_crossings",
    "shortest_edges",
    "word_ends",
]


class WordPairs(NamedTuple):
    """Each word beside each cell in the box around it: M pairs.

    Attributes:
        word: (M,) int64.
        cell: (M,) int64, index into the flattened maps of the batch.
        points: (M, 2) float, x and y in pixels of the point that stands for the cell.
    """

    word: Tensor
    cell: Tensor
    points: Tensor

    @classmethod
    def of(
        cls,
        polygons: Tensor,
        image_index: Tensor,
        size: tuple[int, int],
        stride: int,
        at: float,
        reach: float = 0.0,
    ) -> WordPairs:
        """
        Args:
            polygons: (N, P, 2) in pixels.
            image_index: (N,) int64.
            size: height and width of an image's map in cells.
            stride: pixels per cell.
            at: offset of a cell's point, in pixels.
            reach: pixels by which boxes are enlarged.
        """
        height, width = size
        if len(polygons) == 0:
            none = image_index.new_zeros(0)
            return cls(none, none, polygons.new_zeros(0, 2))
        limit = torch.tensor([width, height], device=polygons.device)
        first = ((polygons.amin(dim=1) - reach - at) / stride).floor().long()
        last = ((polygons.amax(dim=1) + reach - at) / stride).ceil().long() + 1
        first = first.clamp(min=0).minimum(limit)
        extent = (last.clamp(min=0).minimum(limit) - first).clamp(min=0)
        count = extent.prod(dim=1)
        word = torch.arange(len(polygons), device=polygons.device).repeat_interleave(count)
        number = torch.arange(len(word), device=word.device) - (count.cumsum(0) - count)[word]
        column = first[word, 0] + number % extent[word, 0]
        row = first[word, 1] + torch.div(number, extent[word, 0], rounding_mode="floor")
        cell = (image_index[word] * height + row) * width + column
        points = torch.stack([column, row], dim=1).to(polygons.dtype) * stride + at
        return cls(word, cell, points)


class Crossings(NamedTuple):
    """Where the row and the column through a point cross an outline.

    Attributes:
        signed: (M, 4) x of the point minus that of the nearest crossing to the left (at least 0), y
            minus that of the one above (at least 0), x minus that to the right (below 0), and y
            minus that below (below 0); 0 where there is none.
        exist: (M, 4) bool, whether there is one.
        inside: (M,) bool, whether the point lies in the polygon.
        distance: (M,) to the nearest point of the outline.
    """

    signed: Tensor
    exist: Tensor
    inside: Tensor
    distance: Tensor


def outline(sides: Tensor) -> Tensor:
    """(N, 14, 2) sides -> the polygon's vertices, clockwise from the top left."""
    upper, lower = sides.chunk(2, dim=1)
    return torch.cat([upper, lower.flip(1)], dim=1)


def shortest_edges(sides: Tensor) -> Tensor:
    """(N,) length of the shortest of each word's two ends and two sides."""
    along = (sides[:, 1:] - sides[:, :-1]).norm(dim=-1)
    upper, lower = along[:, : POINTS_PER_SIDE - 1].sum(dim=1), along[:, POINTS_PER_SIDE:].sum(dim=1)
    ends = (sides[:, POINTS_PER_SIDE:] - sides[:, :POINTS_PER_SIDE]).norm(dim=-1)
    return torch.stack([upper, lower, ends[:, 0], ends[:, -1]]).amin(dim=0)


def word_ends(sides: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """The quadrilaterals that are cut off a word at a distance along its sides.

    Args:
        sides: (N, 14, 2), the points of a side at equal distances.
        length: (N,) in pixels, at most that of a side.

    Returns:
        Both (N, 4, 2): of the head, top left, two points in the word, bottom left; of the tail, top
        right, two points in the word, bottom right.
    """
    upper, lower = sides.chunk(2, dim=1)
    heads = [upper[:, 0], _along(upper, length), _along(lower, length), lower[:, 0]]
    upper, lower = upper.flip(1), lower.flip(1)
    tails = [upper[:, 0], _along(upper, length), _along(lower, length), lower[:, 0]]
    return torch.stack(heads, dim=1), torch.stack(tails, dim=1)


def _along(side: Tensor, length: Tensor) -> Tensor:
    """(N, 2) the point at a distance along polylines (N, 7, 2) of segments of equal length."""
    segments = POINTS_PER_SIDE - 1
    whole = (side[:, 1:] - side[:, :-1]).norm(dim=-1).sum(dim=1)
    place = (length / whole.clamp(min=1e-6)).clamp(max=1) * segments
    start = place.floor().long().clamp(max=segments - 1)
    rows = torch.arange(len(side), device=side.device)
    return torch.lerp(side[rows, start], side[rows, start + 1], (place - start)[:, None])


def distance_to_sides(points: Tensor, sides: Tensor) -> Tensor:
    """(M,) distance of points (M, 2) to the nearer of two sides (M, 14, 2)."""
    start, stop = sides[:, :-1], sides[:, 1:]
    distance = _distance_to_segments(points, start, stop)
    between = POINTS_PER_SIDE - 1  # from the end of the upper side to the start of the lower
    return torch.cat([distance[:, :between], distance[:, between + 1 :]], dim=1).amin(dim=1)


def outline_crossings(points: Tensor, polygons: Tensor) -> Crossings:
    """Of points (M, 2) and the outlines of polygons (M, P, 2)."""
    start, stop = polygons, polygons.roll(-1, dims=1)
    left, right, odd = _crossings(points, start, stop, axis=0)
    above, below, _ = _crossings(points, start, stop, axis=1)
    signed = torch.stack([left, above, right, below], dim=1)
    exist = signed.isfinite()
    return Crossings(
        torch.where(exist, signed, 0),
        exist,
        odd,
        _distance_to_segments(points, start, stop).amin(dim=1),
    )


def _crossings(
    points: Tensor, start: Tensor, stop: Tensor, axis: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Along x (axis 0) or y: the point's coordinate minus that of the nearest crossing before it,
    and after it, infinite where there is none; and whether those after it are odd in number."""
    own, across = points[:, None, axis], points[:, None, 1 - axis]
    begin, end = start[..., 1 - axis], stop[..., 1 - axis]
    spans = (begin > across) != (end > across)
    extent = torch.where(end == begin, 1, end - begin)
    place = start[..., axis] + (across - begin) / extent * (stop[..., axis] - start[..., axis])
    difference = own - place
    infinity = float("inf")
    before = torch.where(spans & (difference >= 0), difference, infinity).amin(dim=1)
    after = torch.where(spans & (difference < 0), difference, -infinity).amax(dim=1)
    return before, after, (spans & (difference < 0)).sum(dim=1) % 2 == 1


def _distance_to_segments(points: Tensor, start: Tensor, stop: Tensor) -> Tensor:
    """(M, S) distances of points (M, 2) to segments (M, S, 2)."""
    way, offset = stop - start, points[:, None] - start
    share = (offset * way).sum(dim=-1) / (way * way).sum(dim=-1).clamp(min=1e-12)
    return (offset - share.clamp(0, 1)[..., None] * way).norm(dim=-1)
