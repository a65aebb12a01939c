"""Regions of a batch of images that are given by the words' sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from detectron2.structures import Instances
from torch import Tensor

__all__ = ["SideRegions", "sides_in_pixels"]


@dataclass(frozen=True)
class SideRegions:
    """N words in a batch of B images.

    Attributes:
        image_index: (N,) int64, which image each lies in.
        sides: (N, 14, 2) float, in pixels of the network's input: seven points of the upper side
            and seven of the lower, both in reading order.
    """

    image_index: Tensor
    sides: Tensor

    def __len__(self) -> int:
        return len(self.sides)

    @property
    def boxes(self) -> Tensor:
        """(N, 4) around the sides: x0, y0, x1, y1."""
        return torch.cat([self.sides.amin(dim=1), self.sides.amax(dim=1)], dim=1)

    @classmethod
    def from_targets(cls, targets: Sequence[Instances]) -> SideRegions:
        """All ground-truth regions, in target order, moved by their `gt_jitter` where they have
        one (see `dld_d2.modeling.recognition.regions.jitter_targets`): the box is, and the sides
        are stretched with it. No point lies outside its image.

        Raises:
            ValueError: if the targets have no `gt_sides`.
        """
        sides = torch.cat([_clipped(_moved(target), target) for target in targets])
        counts = torch.tensor([len(target) for target in targets], device=sides.device)
        images = torch.arange(len(targets), device=sides.device)
        index = images.repeat_interleave(counts, output_size=len(sides))
        return cls(index, sides)

    def in_image(self, index: int) -> SideRegions:
        """The same regions of the first image in another image of the batch."""
        return replace(self, image_index=self.image_index + index)


def sides_in_pixels(target: Instances) -> Tensor:
    """(N, 14, 2) sides of an image's ground truth, uncut.

    Raises:
        ValueError: if it has no `gt_sides`.
    """
    if not target.has("gt_sides"):
        raise ValueError(
            "the ground truth has no gt_sides, the upper and lower side of each word, by which "
            "TextPerceptronSpotter finds and reads; dld_d2.data.mapper.TextDatasetMapper gives them"
        )
    return target.gt_sides * _extent(target)


def _extent(target: Instances) -> Tensor:
    """(2,) width and height."""
    height, width = target.image_size
    return torch.tensor([width, height], dtype=torch.float32, device=target.gt_sides.device)


def _moved(target: Instances) -> Tensor:
    sides = sides_in_pixels(target)
    if not target.has("gt_jitter"):
        return sides
    boxes = target.gt_boxes.tensor
    corner, size = boxes[:, None, :2], (boxes[:, 2:] - boxes[:, :2])[:, None]
    moved = boxes + target.gt_jitter * size.amin(dim=2)
    stretch = (moved[:, 2:] - moved[:, :2])[:, None] / size.clamp(min=1e-6)
    return (sides - corner) * stretch + moved[:, None, :2]


def _clipped(sides: Tensor, target: Instances) -> Tensor:
    return sides.clamp(min=0).minimum(_extent(target))
