"""Where the characters of a cell's word are (character mask attention).

Each cell has a kernel for each position of a word, and the kernel's product with the mask features
says, pixel by pixel, whether the character at that position is there.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import NamedTuple

import torch
import torch.nn.functional as F
from detectron2.layers import Conv2d, get_norm
from torch import Tensor, nn

from dld_d2.modeling.spotters.mango.detection_heads import convolutions
from dld_d2.modeling.spotters.mango.grid import Grid

__all__ = ["CharacterAttention", "Kernels", "attention_logits"]

# The first guess of how far, in cells, a character may be from where it is looked for.
_FIRST_REACH = 2.0


class Kernels(NamedTuple):
    """What N cells look for at each of L positions.

    Attributes:
        content: (N, L, D), to be multiplied with the mask features.
        place: (N, L, 5) float32, factors of 1, x, y, x^2 and y^2, with x and y in cells; or None.
    """

    content: Tensor
    place: Tensor | None

    def rows(self, start: int, stop: int) -> Kernels:
        """Those of some cells."""
        place = None if self.place is None else self.place[start:stop]
        return Kernels(self.content[start:stop], place)


class CharacterAttention(nn.Module):
    """Kernels and mask features.

    Args:
        in_channels: of the feature map.
        channels: D, of all convolutions.
        num_conv: convolutions of each branch.
        norm: a Detectron2 normalisation name.
        length: L, characters of the longest word, and its end.
        local: whether each character is looked for around a place, the distance of which from its
            cell is foretold: to the logits comes b - a (x - x0)^2 - c (y - y0)^2.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        num_conv: int,
        norm: str,
        length: int,
        local: bool,
    ) -> None:
        super().__init__()
        self.length = length
        self.kernel_layers = convolutions(in_channels + 2, channels, num_conv, norm)
        self.kernel = nn.Linear(channels, length * channels)
        nn.init.normal_(self.kernel.weight, std=0.01)
        nn.init.zeros_(self.kernel.bias)
        last = Conv2d(
            channels,
            channels,
            1,
            bias=not norm,
            norm=get_norm(norm, channels),
            activation=F.relu,
        )
        self.mask_layers = nn.Sequential(
            convolutions(in_channels + 2, channels, num_conv, norm), last
        )
        self.place = None
        if local:
            self.place = nn.Linear(channels, length * 5)
            nn.init.normal_(self.place.weight, std=0.01)
            steepness = -math.log(2 * _FIRST_REACH**2)
            first = torch.tensor([0.0, 0.0, steepness, steepness, 0.0])
            self.place.bias.data.copy_(first.repeat(length))

    def masks(self, features: Tensor, grid: Grid) -> Tensor:
        """Mask features: (B, C, h, w) -> (B, D, h, w)."""
        return self.mask_layers(_with(features, grid.map_coordinates()))

    def cells(self, sampled: Tensor, grid: Grid) -> Tensor:
        """What kernels are made of: (B, C, S, S) -> (B, S * S, D)."""
        coordinates = grid.cell_coordinates().expand(len(sampled), -1, -1, -1)
        cells = self.kernel_layers(_with(sampled, coordinates))
        return cells.flatten(2).transpose(1, 2)

    def kernels(self, cells: Tensor, number: Tensor, side: int) -> Kernels:
        """Of N cells.

        Args:
            cells: (N, D), as `cells` gives them.
            number: (N,) int64 of the cells in the grid.
            side: S, of the grid.
        """
        content = self.kernel(cells).view(-1, self.length, cells.shape[1])
        if self.place is None:
            return Kernels(content, None)
        place = self.place(cells).float().view(-1, self.length, 5)
        centre = torch.stack([number % side, number // side], dim=1) + 0.5
        at = centre[:, None] + place[..., :2]
        steep = place[..., 2:4].clamp(-8, 4).exp()
        height = place[..., 4] - (steep * at.square()).sum(dim=-1)
        factors = torch.cat([height[..., None], 2 * steep * at, -steep], dim=-1)
        return Kernels(content, factors)


def attention_logits(kernels: Kernels, masks: Tensor, coordinates: Tensor | None) -> Tensor:
    """Where N cells of one image look: (N * L, P) logits.

    Args:
        kernels: of the cells.
        masks: (D, P) mask features of P pixels.
        coordinates: (2, P) x and y of the pixels in cells; not needed by kernels without place.
    """
    logits = kernels.content.flatten(0, 1) @ masks
    if kernels.place is None:
        return logits
    device = masks.device.type
    # Large numbers that cancel out. (Where costs are counted, "meta", there is no autocast.)
    precise = nullcontext() if device == "meta" else torch.autocast(device, enabled=False)
    with precise:
        basis = torch.cat([torch.ones_like(coordinates[:1]), coordinates, coordinates.square()])
        return torch.addmm(logits.float(), kernels.place.flatten(0, 1), basis)


def _with(features: Tensor, coordinates: Tensor) -> Tensor:
    return torch.cat([features, coordinates.to(features.dtype)], dim=1)
