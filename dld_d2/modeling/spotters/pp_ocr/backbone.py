"""The backbone that detector and recogniser share: a stem, and stages of light blocks.

In the manner of PP-LCNet (Cui et al., 2021), as PP-OCRv6 has it. As in the released inference
graphs, batch norms are folded into the convolutions: there is none.

Maps at a quarter of an image's size take tens of megabytes, and on a CPU a new one takes longer to
get than to fill: operations work in place where no gradient needs what was there.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["LightBackbone", "SqueezeExcite"]


class SqueezeExcite(nn.Module):
    """Weighs channels by what the whole map holds (Hu et al., 2018), by a piecewise linear gate.

    Args:
        channels: C.
        slope: of the gate, 1/6 or 0.2 in these networks.
    """

    def __init__(self, channels: int, slope: float) -> None:
        super().__init__()
        self.slope = slope
        self.reduce = nn.Conv2d(channels, channels // 4, 1)
        self.expand = nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, 1, 1) in [0, 1].

        As released, the mean is over the whole map, padding included.
        """
        mean = x.mean(dim=(2, 3), keepdim=True)
        gate = self.expand(F.relu(self.reduce(mean)))
        return (self.slope * gate + 0.5).clamp(0, 1)


class Block(nn.Module):
    """A depthwise 3x3 convolution that mixes places, then two 1x1 that mix channels.

    Args:
        in_channels, out_channels: channels in and out.
        stride: of the depthwise convolution; above 1 the block has no shortcut.
        excite: whether channels are weighed in between.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: tuple[int, int], *, excite: bool
    ) -> None:
        super().__init__()
        self.places = nn.Conv2d(in_channels, in_channels, 3, stride, 1, groups=in_channels)
        self.excite = SqueezeExcite(in_channels, 1 / 6) if excite else None
        self.expand = nn.Conv2d(in_channels, 2 * in_channels, 1)
        self.project = nn.Conv2d(2 * in_channels, out_channels, 1)
        self.shortcut = stride == (1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H / stride, W / stride)."""
        x = self.places(x)
        if self.excite is not None:
            x = x * self.excite(x)
        mixed = self.project(F.gelu(self.expand(x)))
        return mixed.add_(x) if self.shortcut else mixed


class Stem(nn.Module):
    """Two convolutions of stride 2, and between them the strongest of four neighbours beside what
    two convolutions of 2x2 make of them.

    Args:
        channels: within.
        out_channels: of the result.
    """

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, channels, 3, 2, 1)
        self.narrow = nn.Conv2d(channels, channels // 2, 2)
        self.wide = nn.Conv2d(channels // 2, channels, 2)
        self.second = nn.Conv2d(2 * channels, channels, 3, 2, 1)
        self.last = nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, out_channels, H / 4, W / 4)."""
        padded = _pad(self.first(x).relu_())
        branch = self.wide(_pad(self.narrow(padded).relu_())).relu_()
        # The second convolution of both, side by side, without laying them side by side.
        weight, channels = self.second.weight, branch.shape[1]
        x = F.conv2d(_strongest(padded), weight[:, :channels], self.second.bias, 2, 1)
        x = x.add_(F.conv2d(branch, weight[:, channels:], None, 2, 1)).relu_()
        return self.last(x).relu_()


def _pad(x: Tensor) -> Tensor:
    """One row below and one column to the right, so that a 2x2 window keeps the size."""
    return F.pad(x, (0, 1, 0, 1))


def _strongest(padded: Tensor) -> Tensor:
    """Of each 2x2 window, what `F.max_pool2d(padded, 2, 1)` gives, in a tenth of its time."""
    rows = torch.maximum(padded[:, :, :-1], padded[:, :, 1:])
    return torch.maximum(rows[..., :-1], rows[..., 1:])


class LightBackbone(nn.Module):
    """A stem of stride 4, and stages of blocks.

    Args:
        stem: channels within the stem.
        channels: of each stage's maps.
        excited: for each stage, for each of its blocks of stride 1 whether it weighs channels.
        strides: of the blocks that begin the stages after the first, (vertical, horizontal).
    """

    def __init__(
        self,
        *,
        stem: int,
        channels: Sequence[int],
        excited: Sequence[Sequence[bool]],
        strides: Sequence[tuple[int, int]],
    ) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.stem = Stem(stem, channels[0])
        stages = []
        before = channels[0]
        for width, flags, stride in zip(channels, excited, (None, *strides), strict=True):
            blocks = [] if stride is None else [Block(before, width, stride, excite=False)]
            blocks += [Block(width, width, (1, 1), excite=flag) for flag in flags]
            stages.append(nn.Sequential(*blocks))
            before = width
        self.stages = nn.ModuleList(stages)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W), normalised -> what each stage gives, the first at a quarter of the size."""
        return self.stages_of(self.stem(images))

    def stages_of(self, x: Tensor) -> list[Tensor]:
        """What the stages make of what the stem gave."""
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return outputs
