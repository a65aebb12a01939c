"""The head that says where words are: score maps, and offsets to their corners and outlines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from detectron2.layers import Conv2d, get_norm
from torch import Tensor, nn

__all__ = ["KINDS", "DetectionMaps", "OrderAwareHead"]

KINDS = ("centre", "head", "tail", "boundary")
"""Of the score maps, in this order."""


class DetectionMaps(NamedTuple):
    """What the head says of each cell at stride 4.

    Attributes:
        scores: (B, 4, h, w) logits, of `KINDS`.
        offsets: (B, 12, h, w), from a point to the cell, in units of `OFFSET_UNIT`: x and y from
            the word's top left and bottom left corner, which count in heads; from the top right and
            bottom right one, in tails; and from the word's outline to the left (x), above (y), to
            the right (x, below 0) and below (y, below 0), in centres.
    """

    scores: Tensor
    offsets: Tensor


class OrderAwareHead(nn.Module):
    """Convolutions on one feature map, as in the code released with Qiao et al., Text Perceptron,
    AAAI 2020: long ones see along a word.

    Args:
        in_channels: of the feature map.
        channels: of all hidden layers.
        norm: a Detectron2 normalisation name after each convolution, "" for none.
    """

    def __init__(self, *, in_channels: int, channels: int, norm: str) -> None:
        super().__init__()

        def conv(in_channels: int, kernel: Sequence[int]) -> Conv2d:
            layer = Conv2d(
                in_channels,
                channels,
                kernel_size=kernel,
                padding=(kernel[0] // 2, kernel[1] // 2),
                bias=not norm,
                norm=get_norm(norm, channels),
                activation=F.relu,
            )
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if not norm:
                nn.init.zeros_(layer.bias)
            return layer

        self.near = conv(in_channels, (3, 3))
        self.near_along = conv(channels, (1, 7))
        self.along = conv(in_channels, (1, 7))
        self.fuse = conv(channels, (3, 3))
        self.last = conv(channels, (3, 3))
        self.scores = nn.Conv2d(channels, len(KINDS), 1)
        self.offsets = nn.Conv2d(channels, 12, 1)
        for layer in (self.scores, self.offsets):
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, feature: Tensor) -> DetectionMaps:
        """(B, in_channels, h, w) -> maps of that size, in float32 at least."""
        near = self.near(feature)
        x = self.fuse(near + self.near_along(near) + self.along(feature))
        x = self.last(x)
        return DetectionMaps(_precise(self.scores(x)), _precise(self.offsets(x)))


def _precise(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
