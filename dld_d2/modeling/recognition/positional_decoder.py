"""A decoder in parallel: element t of the sequence says character t, whatever the others say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dld_d2.modeling.recognition.beam_search import beam_search
from dld_d2.modeling.recognition.decoding import BestSequences, CharacterDecoder
from dld_d2.structures.vocabulary import Vocabulary

__all__ = ["PositionalDecoder"]


class Positions(NamedTuple):
    """What a search walks along: logits (N, L, V) of all positions."""

    logits: Tensor


class Position(NamedTuple):
    """How far the search has come, (N,) int64."""

    number: Tensor


class PositionalDecoder(CharacterDecoder):
    """Fully connected layers with ReLU, and one to the classes, the same at each position.

    A context has an element for each character of the longest word and one for its end.

    Args:
        channels: width C of the contextual features.
        hidden_dims: of the layers before the last.
        vocabulary: the classes.
    """

    def __init__(
        self, *, channels: int, hidden_dims: Sequence[int], vocabulary: Vocabulary
    ) -> None:
        super().__init__()
        self.num_classes = len(vocabulary)
        self.begin, self.end = vocabulary.begin, vocabulary.end
        layers: list[nn.Module] = []
        for width in hidden_dims:
            layers += [nn.Linear(channels, width), nn.ReLU()]
            channels = width
        self.layers = nn.Sequential(*layers, nn.Linear(channels, self.num_classes))
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, context: Tensor, texts: Tensor) -> Tensor:
        """(N, T, V), the first T positions; the texts themselves do not matter."""
        return self.layers(context[:, : texts.shape[1]])

    def positions(self, context: Tensor) -> Tensor:
        """(N, L, V) float32 at least: logits of all positions, `begin` being impossible."""
        logits = self.layers(context)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32), copy=True)
        logits[..., self.begin] = float("-inf")
        return logits

    @torch.no_grad()
    def greedy(self, context: Tensor, max_length: int) -> tuple[Tensor, Tensor]:
        """The most probable character at each position; see `AttentionDecoder.greedy`."""
        log_probability, classes = self.positions(context).log_softmax(dim=-1).max(dim=-1)
        log_probability, classes = log_probability[:, :max_length], classes[:, :max_length]
        ended = (classes == self.end).cumsum(dim=1) > 0
        counts = ~ended | (ended.cumsum(dim=1) == 1)  # characters, and the end itself
        total = log_probability.masked_fill(~counts, 0).sum(dim=1)
        scores = (total / counts.sum(dim=1).clamp(min=1)).exp()
        return classes.masked_fill(ended, self.end), scores

    def k_best(
        self, context: Tensor, *, num_sequences: int, width: int, max_length: int
    ) -> BestSequences:
        """By `beam_search`, which walks along the positions."""
        return beam_search(
            self, context, width=width, num_sequences=num_sequences, max_length=max_length
        )

    def memory(self, context: Tensor) -> Positions:
        return Positions(self.layers(context))

    def initial_state(self, context: Tensor) -> Position:
        return Position(torch.zeros(len(context), dtype=torch.int64, device=context.device))

    def step(self, memory: Positions, previous: Tensor, state: Position) -> tuple[Tensor, Position]:
        rows = torch.arange(len(previous), device=previous.device)
        # A copy, which the search may write to.
        return memory.logits[rows, state.number].clone(), Position(state.number + 1)
