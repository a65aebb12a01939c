"""Where words are: their centre lines on the feature map, and the cells that read them."""

from __future__ import annotations

import torch.nn.functional as F
from detectron2.layers import Conv2d, get_norm
from torch import Tensor, nn

__all__ = ["CategoryHead", "CenterLineHead", "convolutions"]


def _convolution(
    in_channels: int, channels: int, norm: str, kernel: tuple[int, int] = (3, 3)
) -> Conv2d:
    """A convolution that keeps the size, with its norm, if any, and ReLU."""
    layer = Conv2d(
        in_channels,
        channels,
        kernel,
        padding=(kernel[0] // 2, kernel[1] // 2),
        bias=not norm,
        norm=get_norm(norm, channels),
        activation=F.relu,
    )
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


def convolutions(in_channels: int, channels: int, number: int, norm: str) -> nn.Sequential:
    """A stack of 3x3 convolutions, each with its norm and ReLU."""
    return nn.Sequential(
        *[_convolution(channels if i else in_channels, channels, norm) for i in range(number)]
    )


class CenterLineHead(nn.Module):
    """A map of logits, high where a word's polygon is once it is shrunk.

    A 3x3 convolution A; with `wide`, one of 1x7 on A, B, and another on the input, D; and a last
    one of 3x3 on their sum.

    Args:
        in_channels: of the feature map.
        channels: of all convolutions.
        wide: whether there are those of 1x7.
        norm: a Detectron2 normalisation name; "" for none.
    """

    def __init__(self, in_channels: int, channels: int, *, wide: bool, norm: str) -> None:
        super().__init__()
        self.first = _convolution(in_channels, channels, norm)
        if wide:
            self.along = _convolution(channels, channels, norm, (1, 7))
            self.across = _convolution(in_channels, channels, norm, (1, 7))
        self.wide = wide
        self.last = _convolution(channels, channels, norm)
        self.score = _score(channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, h, w)."""
        x = self.first(features)
        if self.wide:
            x = x + self.along(x) + self.across(features)
        return self.score(self.last(x))[:, 0]


class CategoryHead(nn.Module):
    """A logit for each cell: whether it reads a word.

    Args:
        in_channels: of the feature map.
        channels: of all convolutions.
        num_conv: how many there are before the last one.
        norm: a Detectron2 normalisation name.
    """

    def __init__(self, in_channels: int, channels: int, *, num_conv: int, norm: str) -> None:
        super().__init__()
        self.layers = convolutions(in_channels, channels, num_conv, norm)
        self.score = _score(channels, 3)

    def forward(self, sampled: Tensor) -> Tensor:
        """(B, C, S, S) -> (B, S, S)."""
        return self.score(self.layers(sampled))[:, 0]


def _score(channels: int, kernel: int) -> nn.Conv2d:
    layer = nn.Conv2d(channels, 1, kernel, padding=kernel // 2)
    nn.init.xavier_normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
