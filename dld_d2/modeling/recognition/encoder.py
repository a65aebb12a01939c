"""From a word's feature map to a sequence of contextual features."""

from __future__ import annotations

import torch.nn.functional as F
from detectron2.layers import Conv2d, get_norm
from torch import Tensor, nn

from dld_d2.modeling.recognition.initialization import initialize_lstm

__all__ = ["ContextEncoder", "SequenceEncoder"]


class SequenceEncoder(nn.Module):
    """Six convolutions that squeeze a word's height, so that an 8 x 32 crop becomes 1 x 33.

    Each convolution is followed by normalisation and ReLU: `num_conv` (four in the paper) of 3x3,
    a 2x2 max-pooling of stride (2, 1), a 2x2 convolution of stride (2, 1) and one of stride 1.

    Args:
        in_channels: channels of the crops.
        channels: channels of all convolutions.
        num_conv: number of 3x3 convolutions.
        norm: a Detectron2 normalisation name.
    """

    def __init__(self, *, in_channels: int, channels: int, num_conv: int, norm: str) -> None:
        super().__init__()

        def conv(in_channels: int, **kwargs) -> Conv2d:
            layer = Conv2d(
                in_channels,
                channels,
                bias=not norm,
                norm=get_norm(norm, channels),
                activation=F.relu,
                **kwargs,
            )
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            return layer

        self.layers = nn.Sequential(
            *[
                conv(in_channels if i == 0 else channels, kernel_size=3, padding=1)
                for i in range(num_conv)
            ],
            nn.MaxPool2d(kernel_size=2, stride=(2, 1), padding=(0, 1)),
            conv(channels, kernel_size=2, stride=(2, 1), padding=(0, 1)),
            conv(channels, kernel_size=2),
        )

    @staticmethod
    def output_size(height: int, width: int) -> tuple[int, int]:
        """Rows and columns that are left of crops of a size."""
        rows, columns = height // 2, width + 1  # pooling, padded at both sides of a row
        rows, columns = rows // 2, columns + 1  # the convolution of stride (2, 1), likewise
        return rows - 1, columns - 1

    def forward(self, crops: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, L, channels); rows that remain follow one another."""
        return self.layers(crops).flatten(2).transpose(1, 2)


class ContextEncoder(nn.Module):
    """Stacked bidirectional LSTMs, each followed by a linear layer back to the input's width.

    Args:
        channels: width of the sequence's elements, in and out.
        hidden_dim: units per direction.
        num_layers: number of LSTMs.
    """

    def __init__(self, *, channels: int, hidden_dim: int, num_layers: int) -> None:
        super().__init__()
        self.channels = channels
        self.lstms = nn.ModuleList(
            nn.LSTM(channels, hidden_dim, bidirectional=True, batch_first=True)
            for _ in range(num_layers)
        )
        self.linears = nn.ModuleList(nn.Linear(2 * hidden_dim, channels) for _ in range(num_layers))
        for lstm, linear in zip(self.lstms, self.linears, strict=True):
            initialize_lstm(lstm)
            # The LSTM's outputs are gated: on average half of a tanh of less than 1.
            nn.init.xavier_uniform_(linear.weight, gain=2)
            nn.init.zeros_(linear.bias)

    def forward(self, sequence: Tensor) -> Tensor:
        """(N, L, channels) -> (N, L, channels)."""
        for lstm, linear in zip(self.lstms, self.linears, strict=True):
            sequence = linear(lstm(sequence)[0])
        return sequence
