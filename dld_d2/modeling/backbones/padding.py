"""Which cells of a feature map lie on images, and which in what they are padded with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["cells_on_images"]


def cells_on_images(
    sizes: Sequence[tuple[int, int]],
    stride: int,
    shape: tuple[int, int],
    device: torch.device,
) -> Tensor:
    """
    Args:
        sizes: (height, width) in pixels of each of B images without padding.
        stride: of the map in pixels.
        shape: (h, w) of the map.

    Returns:
        (B, 1, h, w) bool: the cells that begin on the image.
    """
    extent = torch.tensor(sizes, device=device)
    rows = torch.arange(shape[0], device=device) * stride < extent[:, :1]
    columns = torch.arange(shape[1], device=device) * stride < extent[:, 1:]
    return (rows[:, :, None] & columns[:, None])[:, None]
