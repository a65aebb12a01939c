"""One step of the attention decoder as a network."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dld_d2.modeling.onnx_graphs import OnnxGraph
from dld_d2.modeling.recognition.decoder import AttentionDecoder, DecoderState, Memory

__all__ = ["decoder_graph"]


class _Cell(nn.Module):
    """`torch.nn.LSTMCell`, which has no counterpart in ONNX."""

    def __init__(self, cell: nn.LSTMCell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        hidden, memory = state
        gates = F.linear(x, self.cell.weight_ih, self.cell.bias_ih)
        gates = gates + F.linear(hidden, self.cell.weight_hh, self.cell.bias_hh)
        i, f, g, o = gates.chunk(4, dim=1)
        memory = f.sigmoid() * memory + i.sigmoid() * g.tanh()
        return o.sigmoid() * memory.tanh(), memory


class _DecoderGraph(nn.Module):
    def __init__(self, decoder: AttentionDecoder) -> None:
        super().__init__()
        self.decoder = copy.copy(decoder)
        # The copy has its own list of modules, and the decoder keeps its cell.
        self.decoder._modules = {**decoder._modules, "cell": _Cell(decoder.cell)}
        begin = torch.arange(decoder.num_classes) == decoder.begin
        self.register_buffer("begin", begin, persistent=False)

    def forward(
        self, context: Tensor, keys: Tensor, previous: Tensor, hidden: Tensor, cell: Tensor
    ) -> tuple[Tensor, ...]:
        """
        Args:
            context: (N, L, C) and
            keys: (N, L, D), of N >= 1 words.
            previous: (N,) int64, the classes before; `begin` at first.
            hidden, cell: (N, D), 0 at first.

        Returns:
            The most probable classes, their log probabilities, hidden and cell.
        """
        state = DecoderState(hidden, cell)
        logits, state = self.decoder.step(Memory(context, keys), previous, state)
        # A word does not begin within itself.
        logits = logits.masked_fill(self.begin, float("-inf"))
        best, predicted = logits.log_softmax(dim=1).max(dim=1)
        return predicted, best, *state


def decoder_graph(decoder: AttentionDecoder, length: int) -> OnnxGraph:
    """See `_DecoderGraph`.

    Args:
        decoder: whose step it is.
        length: L, elements of a word's context.
    """
    device, words = decoder.energy.weight.device, 2
    units = decoder.cell.hidden_size
    names = ("context", "keys", "previous", "hidden", "cell")
    outputs = ("classes", "log_probabilities", "next_hidden", "next_cell")
    return OnnxGraph(
        _DecoderGraph(decoder).to(device),
        {
            "context": torch.zeros(words, length, decoder.key.in_features),
            "keys": torch.zeros(words, length, units),
            "previous": torch.full((words,), decoder.begin),
            "hidden": torch.zeros(words, units),
            "cell": torch.zeros(words, units),
        },
        outputs,
        {name: {0: "words"} for name in (*names, *outputs)},
    )
