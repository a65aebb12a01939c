"""Polygons of a set of instances as one tensor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from detectron2.structures import Boxes
from torch import Tensor

__all__ = ["Polygons", "points_in_polygons", "word_heights"]


def points_in_polygons(points: Tensor, vertices: Tensor) -> Tensor:
    """Whether points lie inside polygons, by the even-odd rule.

    Args:
        points: (N, M, 2) float, M points (x, y) for each polygon.
        vertices: (N, P, 2) float, the polygons' vertices in order. Repeating a vertex changes
            nothing, so polygons with fewer than P vertices are padded by their last.

    Returns:
        (N, M) bool. A point exactly on an edge belongs to one of the two sides of that edge, the
        same one for both polygons that share it.
    """
    start = vertices[:, None]  # N, 1, P, 2
    stop = vertices.roll(-1, dims=1)[:, None]
    x, y = points[:, :, None, 0], points[:, :, None, 1]  # N, M, 1
    spans = (start[..., 1] > y) != (stop[..., 1] > y)
    height = stop[..., 1] - start[..., 1]
    # An edge that does not span the point's row may be horizontal; its crossing is not used.
    height = torch.where(height == 0, torch.ones_like(height), height)
    crossing = start[..., 0] + (y - start[..., 1]) / height * (stop[..., 0] - start[..., 0])
    return (spans & (x < crossing)).sum(dim=-1) % 2 == 1


def word_heights(vertices: Tensor) -> Tensor:
    """Shorter side of the rectangle that has a polygon's area and perimeter.

    That is the height of a word whichever way it is turned or bent.

    Args:
        vertices: (N, P, 2), the last one repeated as often as necessary.

    Returns:
        (N,), in the unit of the vertices; a quarter of the perimeter for what is nearer to a
        circle than any rectangle.
    """
    following = vertices.roll(-1, dims=1)
    perimeter = (following - vertices).norm(dim=-1).sum(dim=1)
    (x0, y0), (x1, y1) = vertices.unbind(-1), following.unbind(-1)
    area = (x0 * y1 - x1 * y0).sum(dim=1).abs() / 2
    # The sides a and b of a rectangle: a + b = perimeter / 2, a b = area.
    half = perimeter / 4
    return half - (half.square() - area).clamp(min=0).sqrt()


class Polygons:
    """One polygon per instance, stored as a tensor that moves to the device with the image.

    It takes the place of Detectron2's `PolygonMasks` in `Instances.gt_masks`: same calls, but
    rasterising and scaling are tensor operations over all instances at once.

    Attributes:
        vertices: (N, P, 2) float32, vertices (x, y) in pixels of the image; pixel (0, 0) covers
            [0, 1] x [0, 1]. Polygons with fewer than P vertices repeat their last one.
    """

    def __init__(self, vertices: Tensor) -> None:
        if vertices.ndim != 3 or vertices.shape[-1] != 2:
            raise ValueError(f"vertices must be (N, P, 2), got {tuple(vertices.shape)}")
        self.vertices = vertices.to(torch.float32)

    @classmethod
    def from_arrays(cls, polygons: Sequence[np.ndarray]) -> Polygons:
        """Pack polygons of K_i >= 3 vertices each, given as arrays (K_i, 2)."""
        length = max((len(p) for p in polygons), default=3)
        packed = np.zeros((len(polygons), length, 2), dtype=np.float32)
        for row, polygon in zip(packed, polygons, strict=True):
            row[: len(polygon)] = polygon
            row[len(polygon) :] = polygon[-1]
        return cls(torch.from_numpy(packed))

    @classmethod
    def cat(cls, polygons: Sequence[Polygons]) -> Polygons:
        """Concatenate along instances, padding to the largest number of vertices."""
        length = max(p.vertices.shape[1] for p in polygons)
        return cls(torch.cat([p._padded(length) for p in polygons]))

    def _padded(self, length: int) -> Tensor:
        missing = length - self.vertices.shape[1]
        return torch.cat([self.vertices, self.vertices[:, -1:].expand(-1, missing, -1)], dim=1)

    def __len__(self) -> int:
        return len(self.vertices)

    def __getitem__(self, item: int | slice | Tensor) -> Polygons:
        if isinstance(item, int):
            return Polygons(self.vertices[item : item + 1])
        return Polygons(self.vertices[item])

    def __repr__(self) -> str:
        return f"Polygons({len(self)} instances, up to {self.vertices.shape[1]} vertices)"

    @property
    def device(self) -> torch.device:
        return self.vertices.device

    def to(self, *args, **kwargs) -> Polygons:
        return Polygons(self.vertices.to(*args, **kwargs))

    def scale(self, scale_x: float, scale_y: float) -> Polygons:
        """Polygons in an image whose width and height were multiplied by these factors."""
        return Polygons(self.vertices * self.vertices.new_tensor([scale_x, scale_y]))

    def get_bounding_boxes(self) -> Boxes:
        """Tight boxes (N, 4)."""
        return Boxes(torch.cat([self.vertices.amin(dim=1), self.vertices.amax(dim=1)], dim=1))

    def area(self) -> Tensor:
        """(N,) areas in square pixels (absolute shoelace)."""
        x, y = self.vertices.unbind(-1)
        cross = x * y.roll(-1, dims=1) - x.roll(-1, dims=1) * y
        return cross.sum(dim=1).abs() / 2

    def nonempty(self) -> Tensor:
        """(N,) bool, whether the polygon has an area."""
        return self.area() > 0

    def contains(self, points: Tensor) -> Tensor:
        """Whether points (N, M, 2) lie inside their instance's polygon, (N, M) bool."""
        return points_in_polygons(points, self.vertices)

    def crop_and_resize(self, boxes: Tensor, mask_size: int) -> Tensor:
        """Rasterise each polygon within its box, as a mask head's target.

        Args:
            boxes: (N, 4) float, x0, y0, x1, y1 in pixels.
            mask_size: side of the square mask.

        Returns:
            (N, mask_size, mask_size) bool; an element is true when its centre is inside the
            polygon.
        """
        if len(boxes) != len(self):
            raise ValueError(f"{len(boxes)} boxes for {len(self)} polygons")
        centre = (torch.arange(mask_size, device=boxes.device) + 0.5) / mask_size
        x = boxes[:, :1] + centre * (boxes[:, 2:3] - boxes[:, :1])
        y = boxes[:, 1:2] + centre * (boxes[:, 3:] - boxes[:, 1:2])
        grid = torch.stack(
            [
                x[:, None, :].expand(-1, mask_size, -1),
                y[:, :, None].expand(-1, -1, mask_size),
            ],
            dim=-1,
        )
        inside = self.to(boxes.device).contains(grid.flatten(1, 2))
        return inside.view(-1, mask_size, mask_size)
