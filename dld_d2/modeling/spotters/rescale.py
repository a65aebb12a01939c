"""Words of an image in pixels of another size of it: predictions, and ground truth."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from detectron2.structures import Boxes, Instances

__all__ = ["rescale_instances", "scale_targets"]


def rescale_instances(instances: Instances, size: tuple[int, int]) -> Instances:
    """What `Spotter.find` returns, in pixels of an image of another size (height, width)."""
    scale_y, scale_x = size[0] / instances.image_size[0], size[1] / instances.image_size[1]
    result = Instances(size, **instances.get_fields())
    x, y = instances.pred_boxes.tensor.unflatten(1, (2, 2)).unbind(dim=2)
    # `Boxes.clip` waits for the device, to see whether all numbers are finite.
    x, y = (x * scale_x).clamp(0, size[1]), (y * scale_y).clamp(0, size[0])
    result.pred_boxes = Boxes(torch.stack([x, y], dim=2).flatten(1))
    result.pred_polygons = [
        (p * (scale_x, scale_y)).astype(p.dtype) for p in instances.pred_polygons
    ]
    return result


def scale_targets(
    targets: Sequence[Instances], sizes: Sequence[tuple[int, int]]
) -> list[Instances]:
    """Ground truth in images of other sizes.

    Args:
        targets: one `Instances` per image; `gt_boxes` and `gt_masks` are scaled by the true ratios
            of widths and heights, everything else stays.
        sizes: height and width of the images after scaling.
    """
    return [_scale(target, size) for target, size in zip(targets, sizes, strict=True)]


def _scale(target: Instances, size: tuple[int, int]) -> Instances:
    scale_y, scale_x = size[0] / target.image_size[0], size[1] / target.image_size[1]
    scaled = Instances(size, **target.get_fields())
    factors = target.gt_boxes.tensor.new_tensor([scale_x, scale_y, scale_x, scale_y])
    scaled.gt_boxes = Boxes(target.gt_boxes.tensor * factors)
    scaled.gt_masks = target.gt_masks.scale(scale_x, scale_y)
    return scaled
