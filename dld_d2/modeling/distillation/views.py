"""Low-resolution views of a batch: images and all that belongs to them, each at its own scale."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from detectron2.structures import Boxes, ImageList, Instances

from dld_d2.structures import scaled_size

__all__ = ["scale_images", "scale_targets"]


def scale_images(
    images: Sequence[torch.Tensor] | ImageList,
    scales: Sequence[float],
    *,
    size_divisibility: int = 0,
) -> ImageList:
    """Shrink images on their device.

    Args:
        images: (3, H_i, W_i) each, normalised and without padding, as indexing an `ImageList`
            gives them.
        scales: for each image, in (0, 1]; 1 leaves it as it is.
        size_divisibility: of the padded sizes.

    Returns:
        The images at their `scaled_size`, interpolated bilinearly with anti-aliasing, and padded
        to a common size.
    """
    views = []
    for image, scale in zip(images, scales, strict=True):
        size = scaled_size(tuple(image.shape[-2:]), scale)
        if size != tuple(image.shape[-2:]):
            # With channels last, as the images are kept, this takes a third longer on a CPU.
            image = F.interpolate(
                image[None].contiguous(),
                size=size,
                mode="bilinear",
                align_corners=False,
                antialias=True,
            )[0]
        views.append(image)
    batch = ImageList.from_tensors(views, size_divisibility)
    batch.tensor = batch.tensor.contiguous(memory_format=torch.channels_last)
    return batch


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
