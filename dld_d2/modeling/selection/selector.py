"""Choosing the scale at which to read an image.

The dynamic resolution selector of the paper (Dynamic Low-Resolution Distillation for
Cost-Efficient End-to-End Text Spotting, ECCV 2022): a small network looks at the image and gives
a logit per candidate scale; training draws from them, inference takes the largest.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from detectron2.layers import Conv2d, get_norm
from torch import Tensor, nn

__all__ = ["POOLINGS", "ResolutionSelector", "select"]

POOLINGS = ("mean", "mean_max")


def _conv(in_channels: int, out_channels: int, kernel_size: int, stride: int, norm: str) -> Conv2d:
    layer = Conv2d(
        in_channels,
        out_channels,
        kernel_size=kernel_size,
        stride=stride,
        padding=kernel_size // 2,
        bias=not norm,
        norm=get_norm(norm, out_channels),
    )
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


class _ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a 1x1 shortcut, at half the resolution of the input."""

    def __init__(self, in_channels: int, out_channels: int, norm: str) -> None:
        super().__init__()
        self.conv1 = _conv(in_channels, out_channels, 3, 2, norm)
        self.conv2 = _conv(out_channels, out_channels, 3, 1, norm)
        self.shortcut = _conv(in_channels, out_channels, 1, 1, norm)

    def forward(self, x: Tensor, sizes: Tensor | None) -> Tensor:
        """(B, in, H, W) -> (B, out, H/2, W/2); of that, `sizes`, (B, 2) or None, is no padding."""
        y = self.conv2(_zero_padding(F.relu(self.conv1(x)), sizes))
        # A 1x1 convolution of stride 2, but that oneDNN 3.13 (PyTorch 2.15 on CPUs) writes out of
        # bounds in the backward pass of such a one with channels last and fewer than 16 of them.
        return _zero_padding(F.relu(y + self.shortcut(x[..., ::2, ::2])), sizes)


class ResolutionSelector(nn.Module):
    """From images to one logit per candidate scale.

    A 7x7 convolution of stride 2, four residual blocks of stride 2, pooling over the image, one
    linear layer. Padding is zeroed before every convolution, so that, with batch norm in
    evaluation mode, the logits of an image do not depend on how far it was padded, nor on what
    else is in the batch. (In training, batch norm's statistics include the padding; norms over
    the whole map, such as "GN", see it always.)

    Args:
        num_scales: k, the number of candidate scales.
        channels: of the residual blocks, each halving the resolution; the first convolution has
            as many as the first block.
        norm: a Detectron2 normalisation name.
        input_scale: factor, in (0, 1], by which images are shrunk first (bilinear, antialiased).
            The cost of choosing goes with its square.
        pooling: "mean" over the image, as published, or "mean_max", both side by side: the
            smallest words decide, and the mean over the image hardly sees them.

    Raises:
        ValueError: if `input_scale` is not in (0, 1], or for another `pooling`.
    """

    def __init__(
        self,
        *,
        num_scales: int,
        channels: tuple[int, ...] = (32, 64, 128, 256),
        norm: str = "BN",
        input_scale: float = 1.0,
        pooling: str = "mean",
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise ValueError(
                f"MODEL.DYNAMIC.SELECTOR.POOLING is {pooling!r}; known are {', '.join(POOLINGS)}"
            )
        if not 0 < input_scale <= 1:
            raise ValueError(
                f"MODEL.DYNAMIC.SELECTOR.INPUT_SCALE is {input_scale}; take one in (0, 1]"
            )
        self.input_scale = input_scale
        self.pooling = pooling
        # Of antialiased bilinear interpolation by a half.
        self.register_buffer("taps", torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8, persistent=False)
        self.stem = _conv(3, channels[0], 7, 2, norm)
        self.blocks = nn.ModuleList(
            _ResidualBlock(i, o, norm)
            for i, o in zip((channels[0], *channels), channels, strict=False)
        )
        self.num_features = channels[-1] * (2 if pooling == "mean_max" else 1)
        self.classifier = nn.Linear(self.num_features, num_scales)
        # Small, so that training begins with all scales about equally likely.
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, images: Tensor, image_sizes: list[tuple[int, int]]) -> Tensor:
        """Logits of the scales.

        Args:
            images: (B, 3, H, W), normalised, padded at the right and at the bottom.
            image_sizes: B times (height, width) without padding, in pixels.

        Returns:
            (B, k).
        """
        return self.classifier(self.features(images, image_sizes))

    def features(self, images: Tensor, image_sizes: list[tuple[int, int]]) -> Tensor:
        """What `forward` chooses by.

        Returns:
            (B, num_features).
        """
        shape = tuple(images.shape[-2:])
        # Most images at inference come alone; then nothing is padding and nothing need be zeroed.
        padded = any(tuple(size) != shape for size in image_sizes)
        sizes = torch.tensor(image_sizes, device=images.device) if padded else None
        x = _zero_padding(images, sizes)
        if self.input_scale < 1:
            x = (
                _halve(x, sizes, self.taps)
                if self.input_scale == 0.5
                else _shrink(x, sizes, self.input_scale)
            )
            if sizes is not None:
                sizes = torch.tensor(
                    [
                        [max(1, math.floor(s * self.input_scale)) for s in size]
                        for size in image_sizes
                    ],
                    device=images.device,
                )
            x = _zero_padding(x, sizes)
        return self.features_of_shrunk(x, sizes)

    def features_of_shrunk(self, x: Tensor, sizes: Tensor | None = None) -> Tensor:
        """As `features`, of images at `input_scale`.

        Args:
            x: (B, 3, h, w).
            sizes: (B, 2) int64, of the images without padding, which is 0; None if there is none.
        """
        x = F.relu(self.stem(x))
        sizes = _halved(sizes)
        x = _zero_padding(x, sizes)
        for block in self.blocks:
            sizes = _halved(sizes)
            x = block(x, sizes)
        # Sums over a map overflow half precision.
        area = x.shape[2] * x.shape[3] if sizes is None else sizes.prod(dim=1, keepdim=True)
        pooled = (x.float().sum(dim=(2, 3)) / area).to(x.dtype)
        if self.pooling == "mean_max":
            # Padding is 0, and nothing is below that after a ReLU.
            pooled = torch.cat([pooled, x.amax(dim=(2, 3))], dim=1)
        return pooled


def _halved(sizes: Tensor | None) -> Tensor | None:
    """Sizes after a convolution of stride 2."""
    return None if sizes is None else (sizes + 1) // 2


def _valid(x: Tensor, sizes: Tensor) -> Tensor:
    """(B, 1, H, W) of `x`'s dtype: 1 on each image, 0 on its padding; sizes are (B, 2)."""
    rows, columns = _inside(x.shape[2], x.shape[3], sizes)
    return (rows[:, None, :, None] & columns[:, None, None, :]).to(x.dtype)


def _inside(height: int, width: int, sizes: Tensor) -> tuple[Tensor, Tensor]:
    """(B, H) and (B, W) bool: which rows and which columns belong to each image."""
    rows = torch.arange(height, device=sizes.device) < sizes[:, :1]
    columns = torch.arange(width, device=sizes.device) < sizes[:, 1:]
    return rows, columns


def _zero_padding(x: Tensor, sizes: Tensor | None) -> Tensor:
    """`x`, (B, C, H, W), with 0 outside of sizes, (B, 2); None says that there is no padding."""
    return x if sizes is None else x * _valid(x, sizes)


def _shrink(images: Tensor, sizes: Tensor | None, scale: float) -> Tensor:
    """Resize images, (B, C, H, W), that are 0 outside of their sizes, (B, 2) or None.

    At an image's border a filter finds only some of its pixels on the image; dividing by the
    weight of those is what it does where the tensor itself ends.
    """

    def resize(x: Tensor) -> Tensor:
        return F.interpolate(x.contiguous(), scale_factor=scale, mode="bilinear", antialias=True)

    if sizes is None:
        return resize(images)
    resized = resize(torch.cat([images, _valid(images, sizes)], dim=1))
    images, weight = resized.split([images.shape[1], 1], dim=1)
    return images / weight.clamp(min=1e-3)


def _halve(images: Tensor, sizes: Tensor | None, taps: Tensor) -> Tensor:
    """`_shrink` by 0.5: the filter, `taps` along both axes, is the same at every pixel then, and a
    convolution with it is twice as fast."""
    channels, height, width = images.shape[1:]
    kernel = torch.outer(taps, taps).repeat(channels, 1, 1, 1)
    sums = F.conv2d(images, kernel, stride=2, padding=1, groups=channels)
    if sizes is None:
        inside = taps.new_ones(1, height), taps.new_ones(1, width)
    else:
        inside = _inside(height, width, sizes)
    rows, columns = (
        F.conv1d(axis[:, None].to(taps.dtype), taps[None, None], stride=2, padding=1)[:, 0]
        for axis in inside
    )
    return sums / (rows[:, None, :, None] * columns[:, None, None, :]).clamp(min=1e-3)


def select(logits: Tensor, cost_bias: float = 0.0, relative_cost: Tensor | None = None) -> Tensor:
    """Choose a scale per image for inference, the same at every call.

    Args:
        logits: (B, k).
        cost_bias: b; above 0 makes cheap scales likelier, below 0 dear ones. The cost never rises
            with b.
        relative_cost: (k,), the teacher's cost being 1; needed for a bias only.

    Returns:
        (B,) int64, argmax_i(logits_i - b * relative_cost_i).

    Raises:
        ValueError: for a bias without costs.
    """
    if cost_bias:
        if relative_cost is None:
            raise ValueError(f"a cost bias of {cost_bias} needs the scales' relative_cost")
        logits = logits.float() - cost_bias * relative_cost
    return logits.argmax(dim=1)
