"""The recogniser: from straightened words to a sequence of features, which CTC reads.

As PP-OCRv6 small has it: a light backbone that keeps the columns of the image apart, and two layers
of self-attention over them. Batch norms are folded into the convolutions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from dld_d2.modeling.spotters.pp_ocr.backbone import LightBackbone

__all__ = ["Encoded", "Recogniser"]


class Encoded(NamedTuple):
    """N words of one width W.

    Attributes:
        early: (N, 96, 12, W / 4), what the stem gives.
        context: (N, W / 8, 120), what the decoder reads.
    """

    early: Tensor | None
    context: Tensor


class Recogniser(nn.Module):
    """From words to sequences of contextual features."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = LightBackbone(
            stem=48,
            channels=(96, 192, 384),
            excited=(
                (True, False, False),
                (True, False, True, False, True, False),
                (True, False),
            ),
            strides=((2, 1), (2, 1)),
        )
        self.dim = 120
        self.short = _ConvAct(self.backbone.channels[-1], self.dim)
        self.reduce = _ConvAct(self.backbone.channels[-1], self.dim)
        self.local = _ConvAct(self.dim, self.dim, 7, groups=self.dim)
        self.layers = nn.ModuleList(_Layer(self.dim, heads=8, hidden=240) for _ in range(2))
        self.norm = nn.LayerNorm(self.dim, eps=1e-6)

    @property
    def early_channels(self) -> int:
        return self.backbone.channels[0]

    def forward(self, words: Tensor) -> Encoded:
        """(N, 3, 48, W), normalised, W a multiple of 8, N >= 1."""
        early = self.backbone.stem(words)
        x = F.avg_pool2d(self.backbone.stages_of(early)[-1], (3, 2))
        short = self.short(x)
        x = self.reduce(x)
        x = x + self.local(x)
        sequence = x.flatten(2).transpose(1, 2)
        for layer in self.layers:
            sequence = layer(sequence)
        return Encoded(early, self.norm(sequence) + short.flatten(2).transpose(1, 2))


class _ConvAct(nn.Module):
    """A convolution along the word and SiLU: (N, in, 1, L) -> (N, out, 1, L)."""

    def __init__(
        self, in_channels: int, out_channels: int, width: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        padding = (0, width // 2)
        self.conv = nn.Conv2d(in_channels, out_channels, (1, width), 1, padding, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.conv(x))


class _Layer(nn.Module):
    """Self-attention and a perceptron, each after a layer norm and added to its input."""

    def __init__(self, dim: int, *, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(dim, eps=1e-5)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.project = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-5)
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(N, L, dim) -> (N, L, dim)."""
        n, length, _ = x.shape
        qkv = self.qkv(self.norm1(x)).view(n, length, 3, self.heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value)
        x = x + self.project(seen.transpose(1, 2).reshape(n, length, -1))
        return x + self.fc2(F.silu(self.fc1(self.norm2(x))))
