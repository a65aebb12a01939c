"""Low-resolution views of a batch's images, each at its own scale."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from dld_d2.structures.sizes import scaled_size

__all__ = ["scale_images"]


def scale_images(images: Sequence[Tensor], scales: Sequence[float]) -> list[Tensor]:
    """Shrink images on their device.

    Args:
        images: (3, H_i, W_i) each, normalised and without padding, as indexing an `ImageList`
            gives them.
        scales: for each image, in (0, 1]; 1 leaves it as it is.

    Returns:
        The images at their `scaled_size`, interpolated bilinearly with anti-aliasing.
    """
    return [_scale(image, scale) for image, scale in zip(images, scales, strict=True)]


def _scale(image: Tensor, scale: float) -> Tensor:
    size = scaled_size(tuple(image.shape[-2:]), scale)
    if size == tuple(image.shape[-2:]):
        return image
    # With channels last, as the images are kept, this takes a third longer on a CPU.
    return F.interpolate(
        image[None].contiguous(), size=size, mode="bilinear", align_corners=False, antialias=True
    )[0]
