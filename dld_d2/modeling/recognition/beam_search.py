"""The most probable texts of words, by beam search."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from dld_d2.modeling.recognition.decoding import BestSequences, check_search
from dld_d2.structures.vocabulary import Vocabulary

__all__ = ["SteppingDecoder", "beam_search"]


class SteppingDecoder(Protocol):
    """A decoder that predicts one character after the other.

    `memory` and `initial_state` are named tuples of tensors, a row for each word.
    """

    num_classes: int
    begin: int
    end: int

    def memory(self, context: Tensor) -> Any:
        """What is computed once per word out of contextual features (N, L, C); its first element
        has N rows and the features' type."""

    def initial_state(self, context: Tensor) -> Any:
        """Before the first character; `context` has N rows."""

    def step(self, memory: Any, previous: Tensor, state: Any) -> tuple[Tensor, Any]:
        """(N, V) logits of the next character after classes `previous`, (N,), and the new state.
        The logits are the caller's to write to."""


@torch.no_grad()
def beam_search(
    decoder: SteppingDecoder,
    context: Tensor,
    *,
    width: int,
    num_sequences: int,
    max_length: int,
) -> BestSequences:
    """Search for the texts that the decoder finds most probable.

    All beams of all words are extended together, each fed with its own characters. What ends leaves
    the beams for a list of the K most probable texts that have ended, so that longer beams, however
    probable, cannot push it out. Sequences are compared by their probability as it is, not
    normalised by length, since L_seq (Dynamic Low-Resolution Distillation for Cost-Efficient
    End-to-End Text Spotting, ECCV 2022) asks for the K most probable ones. `begin` never occurs
    within a word: the other classes share its probability. A word of `max_length` characters can
    only end, with the probability that the decoder gives to that.

    Args:
        decoder: what extends the beams.
        context: (N, L, C) contextual features of N >= 1 words.
        width: number of beams kept per word; more find better sequences at proportional cost.
        num_sequences: K, how many of them to return.
        max_length: characters of the longest word.

    Raises:
        ValueError: unless 1 <= num_sequences <= width and max_length >= 1.
    """
    check_search(num_sequences=num_sequences, width=width, max_length=max_length)
    N, K, end = len(context), num_sequences, decoder.end
    device, never = context.device, float("-inf")
    memory = decoder.memory(context)
    memory = type(memory)(*(x.repeat_interleave(width, dim=0) for x in memory))
    state = decoder.initial_state(memory[0])
    previous = torch.full((N * width,), decoder.begin, device=device)
    first_beams = torch.arange(0, N * width, width, device=device)[:, None]

    beams = torch.full((N, width, max_length + 1), Vocabulary.PADDING, device=device)
    log_probability = torch.full((N, width), never, device=device)
    log_probability[:, 0] = 0  # all begin alike: one beam is there, the others are absent
    ended = beams.new_full((N, K, max_length + 1), Vocabulary.PADDING)
    best = log_probability.new_full((N, K), never)

    for t in range(max_length + 1):
        logits, state = decoder.step(memory, previous, state)
        logits[:, decoder.begin] = never
        extension = logits.float().log_softmax(dim=1).view(N, width, -1)
        total = log_probability[..., None] + extension

        # Those that end here, beside the best that ended before.
        ending = beams.clone()
        ending[..., t] = end
        best, kept = torch.cat([best, total[..., end]], dim=1).topk(K, dim=1)
        ended = _rows(torch.cat([ended, ending], dim=1), kept)
        if t == max_length:
            break

        total[..., end] = never
        log_probability, chosen = total.flatten(1).topk(width, dim=1)
        # What has not ended can only become less probable.
        # Looking costs one wait for the device per character; a word has five on average.
        if (log_probability[:, 0] <= best[:, -1]).all():
            break
        parent, token = chosen // decoder.num_classes, chosen % decoder.num_classes
        beams = _rows(beams, parent)
        beams[..., t] = token
        previous = token.flatten()
        state = type(state)(*(x[(first_beams + parent).flatten()] for x in state))

    ended = ended.masked_fill(best.isneginf()[..., None], Vocabulary.PADDING)
    longest = int((ended != Vocabulary.PADDING).sum(dim=2).max())
    return BestSequences(ended[..., :longest], best)


def _rows(sequences: Tensor, index: Tensor) -> Tensor:
    """(N, K, T), of sequences (N, M, T) those that index (N, K) tells."""
    return sequences.gather(1, index[..., None].expand(-1, -1, sequences.shape[2]))
