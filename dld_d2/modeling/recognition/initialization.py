"""Initial weights of recurrent layers."""

from __future__ import annotations

from torch import nn

__all__ = ["initialize_lstm"]


def initialize_lstm(lstm: nn.LSTM | nn.LSTMCell) -> None:
    """Initial weights that let a stack of LSTMs pass its input on.

    With PyTorch's default, which is small for wide layers, what differs from word to word shrinks
    some fifty times on its way through two bidirectional LSTMs, and a decoder behind them first
    learns which characters follow one another, and only much later to look. Here input weights are
    Glorot uniform, recurrent ones orthogonal, each gate by itself, and forget gates begin open.
    """
    for name, parameter in lstm.named_parameters():
        if "bias" in name:
            nn.init.zeros_(parameter)
            if "bias_ih" in name:
                _, forget, _, _ = parameter.data.chunk(4)
                forget.fill_(1)
            continue
        initialize = nn.init.xavier_uniform_ if "weight_ih" in name else nn.init.orthogonal_
        for gate in parameter.data.chunk(4):
            initialize(gate)
