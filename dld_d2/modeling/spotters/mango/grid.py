"""The grid of cells that an image is divided into, out of each of which one word can be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from detectron2.structures import ImageList
from torch import Tensor

from dld_d2.modeling.spotters.mango.found_words import visible_part
from dld_d2.modeling.transfer import shape_to_device, to_device

__all__ = ["Grid", "grid_of"]


class Grid(NamedTuple):
    """S x S cells over each image of a batch, and the feature map beneath them.

    Cells are numbered row by row. Everything is on one device.

    Attributes:
        side: S.
        extent: (B, 2) float32, width and height in pixels of what the cells divide.
        sizes: per image its height and width in pixels, without padding.
        shape: (h, w) of the feature map.
        stride: of the feature map, in pixels.
    """

    side: int
    extent: Tensor
    sizes: Sequence[tuple[int, int]]
    shape: tuple[int, int]
    stride: int

    def image(self, index: int) -> Grid:
        """That of one image of the batch."""
        return self._replace(
            extent=self.extent[index : index + 1], sizes=self.sizes[index : index + 1]
        )

    def image_sizes(self) -> Tensor:
        """(B, 2) float32, width and height of each image."""
        sides = [side for height, width in self.sizes for side in (width, height)]
        return shape_to_device(sides, self.extent.device, self.extent.dtype).view(-1, 2)

    def cells(self, places: Tensor, image_index: Tensor) -> Tensor:
        """The cells in which places lie; those outside belong to the nearest.

        Args:
            places: (N, ..., 2) x and y as fractions of the image's width and height, which makes
                the cell the same at each of the image's scales.
            image_index: (N,) int64.

        Returns:
            (N, ...) int64 in [0, S * S).
        """
        # Exactly 1 where the grid divides the image.
        ratio = (self.image_sizes() / self.extent)[image_index]
        ratio = ratio.view(-1, *[1] * (places.ndim - 2), 2)
        cell = (places * ratio * self.side).floor().long().clamp(0, self.side - 1)
        return cell[..., 1] * self.side + cell[..., 0]

    def centres(self) -> Tensor:
        """(B, S, S, 2): x and y in pixels of the cells' middles."""
        middle = (torch.arange(self.side, device=self.extent.device) + 0.5) / self.side
        unit = torch.stack(torch.meshgrid(middle, middle, indexing="xy"), dim=-1)
        return unit * self.extent[:, None, None]

    def sample(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, S, S): the map in the middle of each cell, bilinearly."""
        height, width = self.shape
        whole = [width * self.stride, height * self.stride]
        whole = shape_to_device(whole, self.extent.device, self.extent.dtype)
        return F.grid_sample(
            features,
            (2 * self.centres() / whole - 1).to(features.dtype),
            mode="bilinear",
            padding_mode="border",
            align_corners=False,
        )

    def seen(self) -> Tensor:
        """(B, h, w) bool, which pixels of the map have their centre in the image."""
        y, x = self._places()
        width, height = self.image_sizes().unbind(dim=1)
        return (y < height[:, None])[:, :, None] & (x < width[:, None])[:, None]

    def map_coordinates(self) -> Tensor:
        """(B, 2, h, w): x and y of the map's pixels, from -1 to 1 over what the cells divide."""
        y, x = self._places()
        width, height = self.extent.unbind(dim=1)
        x = (2 * x / width[:, None] - 1)[:, None, :].expand(-1, y.shape[0], -1)
        y = (2 * y / height[:, None] - 1)[:, :, None].expand_as(x)
        return torch.stack([x, y], dim=1)

    def cell_coordinates(self) -> Tensor:
        """(B, 2, S, S): the same of the cells."""
        places = 2 * self.centres() / self.extent[:, None, None] - 1
        return places.permute(0, 3, 1, 2)

    def visible(self, index: int) -> tuple[int, int]:
        """Rows and columns of the map that have their centre in an image."""
        return visible_part(self.sizes[index], self.stride)

    def _places(self) -> tuple[Tensor, Tensor]:
        """y of the map's rows and x of its columns, in pixels."""
        return tuple(
            (torch.arange(number, device=self.extent.device) + 0.5) * self.stride
            for number in self.shape
        )


def grid_of(images: ImageList, *, side: int, shape: tuple[int, int], over: str) -> Grid:
    """The grid of a batch.

    Args:
        images: the batch.
        side: S.
        shape: (h, w) of its feature map.
        over: what it divides, "image" or "padded".
    """
    padded = tuple(images.tensor.shape[-2:])
    divided = images.image_sizes if over == "image" else [padded] * len(images)
    extent = [(width, height) for height, width in divided]
    extent = to_device(extent, images.tensor.device, torch.float32)
    return Grid(side, extent, list(images.image_sizes), shape, padded[0] // shape[0])
