"""Words of any shape laid straight: a convolution, and a thin-plate spline through their sides."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from detectron2.layers import Conv2d, get_norm
from torch import Tensor, nn

from dld_d2.modeling.recognition.weighted_rows import weighted_rows
from dld_d2.modeling.spotters.text_perceptron.side_regions import SideRegions
from dld_d2.modeling.transfer import shape_to_device
from dld_d2.structures.sides import POINTS_PER_SIDE

__all__ = ["ShapeTransform", "spline_matrix"]


def spline_matrix(height: int, width: int, halo: int = 0) -> Tensor:
    """The thin-plate spline (Bookstein, 1989) that carries a rectangle's sides to a word's.

    The 14 control points lie on the upper and the lower side of the square [-1, 1]^2, whose
    `height` x `width` equal cells are what the word is laid on. As they are always the same, where
    a cell's centre comes to lie is a constant linear map of where they come to lie.

    Args:
        height, width: cells of the square.
        halo: further cells around it.

    Returns:
        ((height + 2 halo) * (width + 2 halo), 14) float64: times the word's sides, (14, 2), it
        gives the cells' centres, row by row. Its rows sum to 1.
    """
    x = torch.linspace(-1, 1, POINTS_PER_SIDE, dtype=torch.float64)
    control = torch.stack([x.repeat(2), torch.ones(2 * POINTS_PER_SIDE, dtype=torch.float64)], 1)
    control[:POINTS_PER_SIDE, 1] = -1
    number = len(control)
    system = torch.zeros(number + 3, number + 3, dtype=torch.float64)
    system[:number, :number] = _kernel(control, control)
    system[:number, number:] = _affine(control)
    system[number:, :number] = _affine(control).t()

    rows = (2 * torch.arange(-halo, height + halo, dtype=torch.float64) + 1) / height - 1
    columns = (2 * torch.arange(-halo, width + halo, dtype=torch.float64) + 1) / width - 1
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    cells = torch.stack([x.flatten(), y.flatten()], dim=1)
    basis = torch.cat([_kernel(cells, control), _affine(cells)], dim=1)
    return torch.linalg.solve(system, basis.t())[:number].t().contiguous()


def _kernel(points: Tensor, control: Tensor) -> Tensor:
    """(N, 14) d^2 ln d of the distances d, 0 at 0."""
    distance = torch.cdist(points, control, compute_mode="donot_use_mm_for_euclid_dist")
    return distance * torch.xlogy(distance, distance)


def _affine(points: Tensor) -> Tensor:
    return torch.cat([torch.ones_like(points[:, :1]), points], dim=1)


class ShapeTransform(nn.Module):
    """Convolution, and straightening of words' features, all words of a batch at once.

    The released form reads ground-truth sides in training and found ones in testing: no gradient
    reaches them.

    Args:
        in_channels: channels of the feature map.
        out_channels: channels of the 3x3 convolution.
        size: height and width of the result, in feature pixels.
        stride: pixels of the network's input per feature pixel.
        conv_on: "map": the convolution runs on the whole feature map, as published. "crop": it runs
            on straightened words with a halo of one cell, without padding; its cost does not depend
            on the image's size.
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
        conv_on: str,
        norm: str,
    ) -> None:
        super().__init__()
        if conv_on not in ("map", "crop"):
            raise ValueError(f'conv_on must be "map" or "crop", got {conv_on!r}')
        self.size = tuple(size)
        self.stride = stride
        self.conv_on = conv_on
        self.halo = 1 if conv_on == "crop" else 0
        self.conv = Conv2d(
            in_channels,
            out_channels,
            kernel_size=3,
            padding=1 - self.halo,
            bias=not norm,
            norm=get_norm(norm, out_channels),
            activation=F.relu,
        )
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")
        matrix = spline_matrix(*self.size, self.halo).float()
        self.register_buffer("matrix", matrix, persistent=False)

    def forward(self, features: Tensor, regions: SideRegions) -> Tensor:
        """Lay words straight.

        Args:
            features: (B, C, H, W).
            regions: N >= 1 words in those B images.

        Returns:
            (N, out_channels, *size).
        """
        if self.conv_on == "map":
            return self._straighten(self.conv(features), regions)
        return self.conv(self._straighten(features, regions))

    def _straighten(self, features: Tensor, regions: SideRegions) -> Tensor:
        sides = regions.sides.float() / self.stride
        # In lower precision a position would be off by a pixel.
        with torch.autocast(sides.device.type, enabled=False):
            places = self.matrix @ sides - 0.5  # in units of pixel centres
        # As if the word's box had been cut out first, with a pixel around it for a halo: beyond it
        # the spline finds its border repeated.
        limit = _last_pixel(features).to(places.dtype)
        first = (sides.amin(dim=1, keepdim=True).floor() - self.halo).clamp(min=0).minimum(limit)
        last = sides.amax(dim=1, keepdim=True).ceil() - 1 + self.halo
        last = last.minimum(limit).maximum(first)
        places = places.clamp(min=first, max=last)
        sampled = _sample(features, regions.image_index, places)
        height, width = (side + 2 * self.halo for side in self.size)
        return sampled.reshape(*sampled.shape[:2], height, width)


def _sample(features: Tensor, image_index: Tensor, places: Tensor) -> Tensor:
    """(N, C, M) values of (B, C, H, W) maps at (N, M, 2) places x, y between pixel centres,
    bilinearly."""
    channels, height, width = features.shape[1:]
    low = places.floor()
    fraction = places - low
    low = low.long()
    high = (low + 1).minimum(_last_pixel(features))
    x = torch.stack([low[..., 0], high[..., 0]], dim=-1)[..., None, :]  # N, M, 1, 2
    y = torch.stack([low[..., 1], high[..., 1]], dim=-1)[..., None]
    weight_x = torch.stack([1 - fraction[..., 0], fraction[..., 0]], dim=-1)[..., None, :]
    weight_y = torch.stack([1 - fraction[..., 1], fraction[..., 1]], dim=-1)[..., None]
    pixel = (image_index.view(-1, 1, 1, 1) * height + y) * width + x
    weight = (weight_x * weight_y).reshape(-1, 4)
    sampled = weighted_rows(features, pixel.reshape(-1, 4), weight)
    return sampled.view(*places.shape[:2], channels).transpose(1, 2)


def _last_pixel(features: Tensor) -> Tensor:
    """(2,) int64, x and y."""
    return shape_to_device([features.shape[3], features.shape[2]], features.device) - 1
