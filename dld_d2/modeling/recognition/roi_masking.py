"""RoI masking: the features of each word, cut out along its shape and laid down in a fixed size.

The operation of the two-stage spotter that the paper distils: crop a box from the feature map,
multiply it by the instance's mask so that neighbouring words do not leak in, transpose crops of
vertical words, and resize bilinearly. All regions of a batch are handled at once.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from detectron2.layers import Conv2d, get_norm, shapes_to_tensor
from torch import Tensor, nn

from dld_d2.modeling.recognition.regions import Regions
from dld_d2.modeling.recognition.weighted_rows import weighted_rows

__all__ = ["RoIMasking"]


class _Window(NamedTuple):
    """Where the output's rows and columns lie in the feature map, per region.

    A transposed region's rows run along x. `begin` and `size` are in feature pixels.
    """

    transposed: Tensor  # N, bool
    row_begin: Tensor  # N, int64
    row_size: Tensor
    column_begin: Tensor
    column_size: Tensor


class RoIMasking(nn.Module):
    """Convolution, crop, mask, transpose and resize of word regions.

    Args:
        in_channels: channels of the feature map.
        out_channels: channels of the 3x3 convolution.
        size: height and width of the result, in feature pixels.
        stride: pixels of the network's input per feature pixel.
        enlarge: feature pixels added to each side of a box.
        transpose_ratio: regions higher than this many widths are transposed.
        conv_on: "map": the convolution runs on the whole feature map, then crops are masked and
            resized (the published order). "crop": crops are resized with a halo of one pixel, the
            convolution runs on them without padding, then the resized mask is applied; its cost
            does not depend on the image's size.
        norm: a Detectron2 normalisation name.

    Raises:
        ValueError: for another `conv_on`.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        size: tuple[int, int],
        stride: int,
        enlarge: int,
        transpose_ratio: float,
        conv_on: str,
        norm: str,
    ) -> None:
        super().__init__()
        if conv_on not in ("map", "crop"):
            raise ValueError(f'conv_on must be "map" or "crop", got {conv_on!r}')
        self.size = tuple(size)
        self.stride = stride
        self.enlarge = enlarge
        self.transpose_ratio = transpose_ratio
        self.conv_on = conv_on
        self.conv = Conv2d(
            in_channels,
            out_channels,
            kernel_size=3,
            padding=1 if conv_on == "map" else 0,
            bias=not norm,
            norm=get_norm(norm, out_channels),
            activation=F.relu,
        )
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, features: Tensor, regions: Regions) -> Tensor:
        """Cut the regions out.

        Args:
            features: (B, C, H, W).
            regions: N >= 1 regions in those B images.

        Returns:
            (N, out_channels, *size).
        """
        if self.conv_on == "map":
            features = self.conv(features)
            return self._crop(features, regions, self._windows(features, regions), mask=True)
        windows = self._windows(features, regions)
        crops = self.conv(self._crop(features, regions, windows, halo=1))
        ones = features.new_ones(len(features), 1, *features.shape[-2:])
        return crops * self._crop(ones, regions, windows, mask=True)

    def _windows(self, features: Tensor, regions: Regions) -> _Window:
        height, width = features.shape[-2:]
        boxes = regions.boxes / self.stride
        limit = shapes_to_tensor([width, height], boxes.device).to(boxes.dtype)
        begin = (boxes[:, :2].floor() - self.enlarge).clamp(min=0).minimum(limit - 1)
        end = (boxes[:, 2:].ceil() + self.enlarge).minimum(limit).maximum(begin + 1)
        begin, size = begin.long(), (end - begin).long()
        x, y, w, h = begin[:, 0], begin[:, 1], size[:, 0], size[:, 1]
        transposed = h > self.transpose_ratio * w
        return _Window(
            transposed,
            row_begin=torch.where(transposed, x, y),
            row_size=torch.where(transposed, w, h),
            column_begin=torch.where(transposed, y, x),
            column_size=torch.where(transposed, h, w),
        )

    def _crop(
        self,
        features: Tensor,
        regions: Regions,
        windows: _Window,
        *,
        mask: bool = False,
        halo: int = 0,
    ) -> Tensor:
        """Bilinear resize of all windows, (N, C, rows + 2 halo, columns + 2 halo).

        Without a halo a window's border pixels are repeated, as `interpolate` does to a crop; the
        halo reads what lies around the window, and repeats the map's border.
        """
        channels, height, width = features.shape[1:]
        t = windows.transposed
        row = _taps(
            windows.row_begin, windows.row_size, self.size[0], halo, torch.where(t, width, height)
        )
        column = _taps(
            windows.column_begin,
            windows.column_size,
            self.size[1],
            halo,
            torch.where(t, height, width),
        )
        # Every output element mixes 2 x 2 feature pixels: N, rows, columns, 2, 2.
        along_row = row[0][:, :, None, :, None]
        along_column = column[0][:, None, :, None, :]
        t = t.view(-1, 1, 1, 1, 1)
        y = torch.where(t, along_column, along_row)
        x = torch.where(t, along_row, along_column)
        weight = row[1][:, :, None, :, None] * column[1][:, None, :, None, :]
        if mask:
            centre = (torch.stack([x, y], dim=-1) + 0.5) * self.stride
            inside = regions.shape.contains(centre.flatten(1, -2))
            weight = weight * inside.view_as(weight)
        pixel = (regions.image_index.view(-1, 1, 1, 1, 1) * height + y) * width + x
        output = weighted_rows(features, pixel.reshape(-1, 4), weight.reshape(-1, 4))
        return output.view(*pixel.shape[:3], channels).permute(0, 3, 1, 2).contiguous()


def _taps(
    begin: Tensor, size: Tensor, length: int, halo: int, limit: Tensor
) -> tuple[Tensor, Tensor]:
    """The two feature pixels, and their weights, behind each output element along one axis.

    Args:
        begin: (N,) int64, first feature pixel of each window.
        size: (N,) int64, feature pixels in each window.
        length: output elements per window.
        halo: further output elements on both sides.
        limit: (N,) int64, feature pixels in the map along this axis.

    Returns:
        (N, length + 2 halo, 2) int64 pixels and (N, length + 2 halo, 2) float weights.
    """
    steps = torch.arange(-halo, length + halo, device=begin.device) + 0.5
    position = steps * (size[:, None] / length) - 0.5
    if halo:
        first, last = -begin[:, None], (limit - begin)[:, None] - 1
    else:
        first, last = torch.zeros_like(begin)[:, None], size[:, None] - 1
    position = position.clamp(min=first.to(position), max=last.to(position))
    low = position.floor()
    fraction = position - low
    low = low.long()
    high = (low + 1).minimum(last)
    taps = torch.stack([low, high], dim=-1) + begin[:, None, None]
    return taps, torch.stack([1 - fraction, fraction], dim=-1)
