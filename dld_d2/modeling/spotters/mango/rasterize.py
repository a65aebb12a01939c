"""Which elements of a grid lie in polygons, for all polygons at once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dld_d2.structures.polygons import points_in_polygons

__all__ = ["Inside", "rasterize"]


class Inside(NamedTuple):
    """Elements in polygons, those of the first polygon first.

    Attributes:
        owner: (E,) int64, the polygon.
        row, column: (E,) int64, of the element.
    """

    owner: Tensor
    row: Tensor
    column: Tensor


def rasterize(polygons: Tensor, size: tuple[int, int]) -> Inside:
    """The elements whose middle lies in a polygon; the middle of element (0, 0) is (0.5, 0.5).

    Args:
        polygons: (M, K, 2) float, x and y in elements; those with fewer vertices repeat one.
        size: rows and columns of the grid.
    """
    limit = polygons.new_tensor([size[1], size[0]])
    low = (polygons.amin(dim=1) - 0.5).ceil().clamp(min=0).minimum(limit)
    high = ((polygons.amax(dim=1) - 0.5).floor() + 1).clamp(min=0).minimum(limit)
    # Candidates are the elements of the box around each.
    columns, rows = (high - low).clamp(min=0).long().unbind(dim=1)
    count = rows * columns
    owner = torch.repeat_interleave(count)
    number = torch.arange(len(owner), device=owner.device) - (count.cumsum(0) - count)[owner]
    wide = columns[owner].clamp(min=1)
    left, top = low.long().unbind(dim=1)
    column, row = left[owner] + number % wide, top[owner] + number // wide
    middle = torch.stack([column, row], dim=1).to(polygons.dtype) + 0.5
    inside = points_in_polygons(middle[:, None], polygons[owner])[:, 0]
    return Inside(owner[inside], row[inside], column[inside])
