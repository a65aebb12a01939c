"""Where characters are, as far as the sides of a word tell: it is cut into equal slices.

The published first stage learns from boxes of characters. Slices are right enough to begin with,
and real photographs have no others.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dld_d2.modeling.spotters.mango.grid import Grid
from dld_d2.modeling.spotters.mango.rasterize import rasterize
from dld_d2.structures.sides import POINTS_PER_SIDE
from dld_d2.structures.vocabulary import Vocabulary

__all__ = ["Slices", "along_sides", "slices_of"]


class Slices(NamedTuple):
    """Pixels of the map in slices of words, row after row.

    Attributes:
        row: (E,) int64, the word.
        channel: (E,) int64, the position of the character.
        pixel: (E,) int64, of the flattened map of the word's image.
        stops: where each row's elements end, N numbers.
    """

    row: Tensor
    channel: Tensor
    pixel: Tensor
    stops: list[int]

    def of_rows(self, start: int, stop: int) -> Slices:
        """Those of some rows, which are counted from 0 again."""
        first = self.stops[start - 1] if start else 0
        last = self.stops[stop - 1] if stop else 0
        return Slices(
            self.row[first:last] - start,
            self.channel[first:last],
            self.pixel[first:last],
            [end - first for end in self.stops[start:stop]],
        )

    def flat(self, pixels: int, length: int) -> Tensor:
        """(E,) indices into a flattened (N, length, pixels)."""
        return (self.row * length + self.channel) * pixels + self.pixel

    def counts(self, rows: int, length: int) -> Tensor:
        """(rows, length) float32, pixels of each slice."""
        return (
            torch.bincount(self.row * length + self.channel, minlength=rows * length)
            .view(rows, length)
            .float()
        )


def along_sides(sides: Tensor, places: Tensor) -> Tensor:
    """Points on both sides of words.

    Args:
        sides: (N, 14, 2), seven points of the upper side and seven of the lower.
        places: (N, K), from 0, the beginning of a word, to 1, its end.

    Returns:
        (N, 2, K, 2), on the upper and on the lower side.
    """
    steps = places.clamp(0, 1) * (POINTS_PER_SIDE - 1)
    before = steps.floor().clamp(max=POINTS_PER_SIDE - 2).long()
    share = (steps - before)[:, None, :, None]
    lines = sides.unflatten(1, (2, POINTS_PER_SIDE))
    index = before[:, None, :, None].expand(-1, 2, -1, 2)
    return torch.lerp(lines.gather(2, index), lines.gather(2, index + 1), share)


def slices_of(sides: Tensor, texts: Tensor, image_index: Tensor, grid: Grid) -> Slices:
    """Cut words into as many slices as they have characters; their ends have none.

    A slice so thin that it holds no pixel's middle gets the pixel that its own middle lies in.

    Args:
        sides: (N, 14, 2) x and y as fractions of the image's width and height.
        texts: (N, T) int64 as `Vocabulary.encode` gives them.
        image_index: (N,) int64.
        grid: of the batch.
    """
    device = sides.device
    length = ((texts != Vocabulary.PADDING).sum(dim=1) - 1).clamp(min=0)
    most = texts.shape[1]
    scale = grid.image_sizes()[image_index] / grid.stride
    edges = torch.arange(most + 1, device=device) / length.clamp(min=1)[:, None]
    upper, lower = along_sides(sides * scale[:, None], edges).unbind(dim=1)
    corners = torch.stack([upper[:, :-1], upper[:, 1:], lower[:, 1:], lower[:, :-1]], dim=2)
    word, channel = (torch.arange(most, device=device) < length[:, None]).nonzero().unbind(dim=1)
    corners = corners[word, channel]

    height, width = grid.shape
    found = rasterize(corners, grid.shape)
    limit = corners.new_tensor([width - 1, height - 1])
    middle = corners.mean(dim=1).floor().clamp(min=0).minimum(limit).long()
    missing = torch.bincount(found.owner, minlength=len(corners)) == 0
    thin = missing.nonzero()[:, 0]
    owner = torch.cat([found.owner, thin])
    pixel = torch.cat([found.row * width + found.column, middle[thin, 1] * width + middle[thin, 0]])
    owner, order = owner.sort(stable=True)
    row = word[owner]
    stops = torch.bincount(row, minlength=len(sides)).cumsum(0).tolist()
    return Slices(row, channel[owner], pixel[order], stops)
