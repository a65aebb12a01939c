"""Attention decoder: one character after the other from a sequence of contextual features."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dld_d2.modeling.recognition.beam_search import beam_search
from dld_d2.modeling.recognition.decoding import BestSequences, CharacterDecoder
from dld_d2.modeling.recognition.initialization import initialize_lstm
from dld_d2.structures.vocabulary import Vocabulary

__all__ = ["AttentionDecoder", "DecoderState", "Memory", "Trace"]


class Memory(NamedTuple):
    """What the decoder attends to: computed once per word, read at every step."""

    context: Tensor  # N, L, C
    keys: Tensor  # N, L, hidden_dim


class DecoderState(NamedTuple):
    """Hidden and cell state of the decoder's LSTM, both (N, hidden_dim)."""

    hidden: Tensor
    cell: Tensor


class Trace(NamedTuple):
    """Decoding of N words along texts of T characters, step by step.

    Attributes:
        logits: (N, T, V).
        attention: (N, T, L), where the decoder looked at each step; sums to 1 over L.
        glimpses: (N, T, C), what it saw there: the contextual features' mean by that attention.
    """

    logits: Tensor
    attention: Tensor
    glimpses: Tensor


class AttentionDecoder(CharacterDecoder):
    """An LSTM cell that attends additively (Bahdanau et al., 2015) to the contextual features.

    At each step the previous state asks for a context vector; the cell is fed that vector and the
    previous character as one-hot; a linear layer classifies its new state.

    Args:
        channels: width C of the contextual features.
        hidden_dim: units of the attention and of the cell.
        vocabulary: the classes.
    """

    def __init__(self, *, channels: int, hidden_dim: int, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.num_classes = len(vocabulary)
        self.begin, self.end = vocabulary.begin, vocabulary.end
        self.key = nn.Linear(channels, hidden_dim, bias=False)
        self.query = nn.Linear(hidden_dim, hidden_dim)
        self.energy = nn.Linear(hidden_dim, 1, bias=False)
        self.cell = nn.LSTMCell(channels + self.num_classes, hidden_dim)
        self.classifier = nn.Linear(hidden_dim, self.num_classes)
        initialize_lstm(self.cell)

    def memory(self, context: Tensor) -> Memory:
        """Prepare (N, L, C) contextual features for `step`."""
        return Memory(context, self.key(context))

    def initial_state(self, context: Tensor) -> DecoderState:
        """The all-zero state for N words."""
        zeros = context.new_zeros(len(context), self.cell.hidden_size)
        return DecoderState(zeros, zeros)

    def step(
        self, memory: Memory, previous: Tensor, state: DecoderState
    ) -> tuple[Tensor, DecoderState]:
        """Predict the next character.

        Args:
            memory: of N words.
            previous: (N,) int64, the class before; `begin` at first.
            state: of N words.

        Returns:
            (N, V) logits and the new state.
        """
        logits, state, _, _ = self._step(memory, previous, state)
        return logits, state

    def _step(
        self, memory: Memory, previous: Tensor, state: DecoderState
    ) -> tuple[Tensor, DecoderState, Tensor, Tensor]:
        energy = self.energy(torch.tanh(memory.keys + self.query(state.hidden)[:, None]))
        attention = energy.softmax(dim=1)  # N, L, 1
        attended = (attention * memory.context).sum(dim=1)
        one_hot = F.one_hot(previous, self.num_classes).to(attended.dtype)
        state = DecoderState(*self.cell(torch.cat([attended, one_hot], dim=1), state))
        return self.classifier(state.hidden), state, attention.squeeze(-1), attended

    def forward(self, context: Tensor, texts: Tensor) -> Tensor:
        """Logits along given texts (teacher forcing).

        Args:
            context: (N, L, C).
            texts: (N, T) int64 as `Vocabulary.encode` gives them.

        Returns:
            (N, T, V): element t is predicted from the characters before t. What stands at padded
            positions means nothing.
        """
        return self.trace(context, texts).logits

    def trace(self, context: Tensor, texts: Tensor) -> Trace:
        """As `forward`, with what the decoder attended to."""
        memory, state = self.memory(context), self.initial_state(context)
        # Padding is no class; any class will do there, since those positions are not judged.
        known = texts.clamp(min=0)
        first = torch.full_like(known[:, :1], self.begin)
        steps = []
        for previous in torch.cat([first, known[:, :-1]], dim=1).unbind(dim=1):
            logits, state, attention, attended = self._step(memory, previous, state)
            steps.append((logits, attention, attended))
        return Trace(*(torch.stack(parts, dim=1) for parts in zip(*steps, strict=True)))

    @torch.no_grad()
    def greedy(self, context: Tensor, max_length: int) -> tuple[Tensor, Tensor]:
        """Read words, taking the most probable character at each step.

        Args:
            context: (N, L, C).
            max_length: characters after which a word ends whether it says so or not.

        Returns:
            (N, T) int64 classes, `end` from a word's end on, with T <= max_length the length of
            the longest word; and (N,) scores in [0, 1], the geometric mean of the probabilities of
            a word's characters and its end.
        """
        memory, state = self.memory(context), self.initial_state(context)
        previous = torch.full((len(context),), self.begin, device=context.device)
        ended = torch.zeros_like(previous, dtype=torch.bool)
        log_probability = torch.zeros(len(context), device=context.device)
        steps = torch.zeros_like(log_probability)
        classes = []
        for _ in range(max_length):
            logits, state = self.step(memory, previous, state)
            logits[:, self.begin] = float("-inf")  # a word does not begin within itself
            best, predicted = logits.float().log_softmax(dim=1).max(dim=1)
            log_probability += best.masked_fill(ended, 0)
            steps += ~ended
            previous = predicted.masked_fill(ended, self.end)
            ended = previous == self.end
            # One look at the device per character is what stopping early costs; a word has five
            # characters on average, a full decode would take 33 steps.
            if ended.all():
                break
            classes.append(previous)
        tokens = (
            torch.stack(classes, dim=1)
            if classes
            else torch.empty((len(context), 0), dtype=torch.int64, device=context.device)
        )
        return tokens, (log_probability / steps.clamp(min=1)).exp()

    def k_best(
        self, context: Tensor, *, num_sequences: int, width: int, max_length: int
    ) -> BestSequences:
        """By `beam_search`."""
        return beam_search(
            self, context, width=width, num_sequences=num_sequences, max_length=max_length
        )
