"""Regions of a batch of images, and which of their pixels belong to the word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
import torch.nn.functional as F
from detectron2.structures import Instances
from torch import Tensor

from dld_d2.structures.polygons import Polygons

__all__ = ["BoxMasks", "Regions", "Shape", "jitter_targets"]


class Shape(Protocol):
    """What tells, for each of N regions, whether a point of the image belongs to its word."""

    def contains(self, points: Tensor) -> Tensor:
        """(N, M, 2) points x, y in pixels of the network's input -> (N, M) bool."""


@dataclass(frozen=True)
class BoxMasks:
    """Shapes given by the mask head: each mask fills its own box and is empty outside.

    Attributes:
        masks: (N, S, S) float probabilities.
        boxes: (N, 4) float, x0, y0, x1, y1 in pixels.
        threshold: probability above which a point belongs to the word.
    """

    masks: Tensor
    boxes: Tensor
    threshold: float = 0.5

    def contains(self, points: Tensor) -> Tensor:
        corner, size = self.boxes[:, None, :2], self.boxes[:, None, 2:] - self.boxes[:, None, :2]
        grid = (points - corner) / size.clamp(min=1e-6) * 2 - 1
        masks = self.masks[:, None].to(grid.dtype)
        # Without border padding the probability would fade out half a mask pixel inside the box.
        value = F.grid_sample(masks, grid[:, None], padding_mode="border", align_corners=False)
        inside_box = (grid.abs() <= 1).all(dim=-1)
        return (value[:, 0, 0] > self.threshold) & inside_box


@dataclass(frozen=True)
class Regions:
    """N regions in a batch of B images.

    Attributes:
        image_index: (N,) int64, which image each region lies in.
        boxes: (N, 4) float, x0, y0, x1, y1 in pixels of the network's input.
        shape: the words' shapes within the boxes.
    """

    image_index: Tensor
    boxes: Tensor
    shape: Shape

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def from_targets(cls, targets: Sequence[Instances]) -> Regions:
        """All ground-truth regions, in target order.

        Args:
            targets: one `Instances` per image with `gt_boxes` and `gt_masks` (`Polygons`). Where
                they have a `gt_jitter` (see `jitter_targets`), the boxes are moved by it and the
                polygons stretched with them.
        """
        regions = cls(
            image_index=_image_index([len(t) for t in targets], targets[0].gt_boxes.device),
            boxes=torch.cat([t.gt_boxes.tensor for t in targets]),
            shape=Polygons.cat([t.gt_masks for t in targets]),
        )
        if not targets[0].has("gt_jitter"):
            return regions
        return regions._moved(torch.cat([t.gt_jitter for t in targets]))

    def _moved(self, amounts: Tensor) -> Regions:
        """With the sides of each box moved by `amounts`, (N, 4), times its shorter side."""
        corner, size = self.boxes[:, :2], self.boxes[:, 2:] - self.boxes[:, :2]
        boxes = self.boxes + amounts * size.amin(dim=1, keepdim=True)
        stretch = (boxes[:, 2:] - boxes[:, :2]) / size.clamp(min=1e-6)
        vertices = (self.shape.vertices - corner[:, None]) * stretch[:, None] + boxes[:, None, :2]
        return Regions(self.image_index, boxes, Polygons(vertices))

    def in_image(self, index: int) -> Regions:
        """The same regions of the first image in another image of the batch."""
        return replace(self, image_index=self.image_index + index)

    @classmethod
    def from_predictions(cls, instances: Sequence[Instances], threshold: float) -> Regions:
        """Detected regions: `pred_boxes` and `pred_masks` (N_i, 1, S, S) of Detectron2's heads."""
        boxes = torch.cat([i.pred_boxes.tensor for i in instances])
        masks = torch.cat([i.pred_masks[:, 0] for i in instances])
        index = _image_index([len(i) for i in instances], boxes.device)
        return cls(index, boxes, BoxMasks(masks, boxes, threshold))


def jitter_targets(targets: Sequence[Instances], amount: float) -> list[Instances]:
    """Ground truth whose regions are recognised as a detector might find them.

    Boxes and masks, from which detection learns, stay as they are.

    Args:
        targets: one `Instances` per image with `gt_boxes`.
        amount: up to which fraction of its shorter side each side of a box moves.

    Returns:
        The same with a field `gt_jitter`, (N, 4) float: how far x0, y0, x1 and y1 move, in units
        of the box's shorter side, so that it holds at every scale of the image.
    """
    jittered = []
    for target in targets:
        boxes = target.gt_boxes.tensor
        gt_jitter = (2 * torch.rand_like(boxes) - 1) * amount
        jittered.append(Instances(target.image_size, **target.get_fields(), gt_jitter=gt_jitter))
    return jittered


def _image_index(counts: list[int], device: torch.device) -> Tensor:
    images = torch.arange(len(counts), device=device)
    return images.repeat_interleave(torch.tensor(counts, device=device), output_size=sum(counts))
