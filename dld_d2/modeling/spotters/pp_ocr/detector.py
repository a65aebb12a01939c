"""The detector: for every pixel, whether it lies in the core of a line of text.

Differentiable binarisation (Liao et al., AAAI 2020) on a light feature pyramid, as PP-OCRv6 small
has it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dld_d2.modeling.spotters.pp_ocr.backbone import LightBackbone, SqueezeExcite

__all__ = ["Detector"]


class Detector(nn.Module):
    """From images to maps of scores, at their own size.

    `border` takes part in training alone: it says how near a pixel is to a word's outline, which
    sharpens the score there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.backbone = LightBackbone(
            stem=24,
            channels=(48, 96, 192, 384),
            excited=((True, False), (True, False), (True, False, True, False), (True, False)),
            strides=((2, 2), (2, 2), (2, 2)),
        )
        self.neck = _Neck(self.backbone.channels, 96)
        self.score = _MapHead(96)
        self.border = _MapHead(96)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W), normalised, H and W multiples of 32 -> (B, H, W) logits of the score."""
        return self.score(self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """What both heads look at, (B, 96, H / 4, W / 4)."""
        return self.neck(self.backbone(images))


class _ExcitedConv(nn.Module):
    """A convolution of 1x1 whose channels are weighed, on top of themselves."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.excite = SqueezeExcite(out_channels, 0.2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x * (1 + self.excite(x))


class _Neck(nn.Module):
    """A feature pyramid whose levels are enlarged to the first one's size and laid side by side.

    Args:
        channels: of the backbone's stages.
        width: channels of the result, a share of it for each level.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(_ExcitedConv(c, width) for c in channels)
        self.places = nn.ModuleList(
            nn.Conv2d(width, width, 7, 1, 3, groups=width) for _ in channels
        )
        self.output = nn.ModuleList(_ExcitedConv(width, width // len(channels)) for _ in channels)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        maps = [lateral(x) for lateral, x in zip(self.lateral, features, strict=True)]
        for level in reversed(range(len(maps) - 1)):
            coarser = F.interpolate(maps[level + 1], scale_factor=2.0, mode="nearest")
            maps[level] = maps[level].add_(coarser)
        outputs = []
        for level, x in enumerate(maps):
            x = self.output[level](self.places[level](x))
            if level > 0:
                x = F.interpolate(x, scale_factor=float(2**level), mode="nearest")
            outputs.append(x)
        return torch.cat(outputs[::-1], dim=1)


class _MapHead(nn.Module):
    """Up from a quarter of the image's size to its own: (B, C, H / 4, W / 4) -> (B, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels // 4, 3, 1, 1)
        self.up1 = nn.ConvTranspose2d(channels // 4, channels // 4, 2, 2)
        self.up2 = nn.ConvTranspose2d(channels // 4, 1, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.up2(self.up1(self.conv(x).relu_()).relu_())[:, 0]
