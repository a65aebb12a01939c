"""The most probable texts of words, by beam search."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .decoder import AttentionDecoder, DecoderState, Memory
from .vocabulary import Vocabulary

__all__ = ["BeamResult", "beam_search"]


class BeamResult(NamedTuple):
    """The K most probable texts of each of N words, best first.

    Attributes:
        sequences: (N, K, T) int64 as `Vocabulary.encode` gives them: characters, then `end`, then
            `PADDING`; T is the length of the longest. A sequence may be `end` alone.
        log_probabilities: (N, K) of the sequences, `end` included. Where fewer than K sequences
            exist, -inf, and the sequence is all `PADDING`.
    """

    sequences: Tensor
    log_probabilities: Tensor


@torch.no_grad()
def beam_search(
    decoder: AttentionDecoder,
    context: Tensor,
    *,
    width: int,
    num_sequences: int,
    max_length: int,
) -> BeamResult:
    """Search for the texts that the decoder finds most probable.

    All beams of all words are extended together, each fed with its own characters. A beam that has
    ended stays and competes with its probability. Sequences are compared by their probability as
    it is, not normalised by length, since L_seq (Dynamic Low-Resolution Distillation for
    Cost-Efficient End-to-End Text Spotting, ECCV 2022) asks for the K most probable ones. `begin`
    never occurs within a word: the other classes share its probability. A word of `max_length`
    characters can only end, with the probability that the decoder gives to that.

    Args:
        decoder: what extends the beams.
        context: (N, L, C) contextual features of N >= 1 words.
        width: number of beams kept per word; more find better sequences at proportional cost.
        num_sequences: K, how many of them to return.
        max_length: characters of the longest word.

    Raises:
        ValueError: unless 1 <= num_sequences <= width and max_length >= 1.
    """
    if not 1 <= num_sequences <= width:
        raise ValueError(
            f"a beam search of width {width} cannot return {num_sequences} sequences; "
            "take 1 <= num_sequences <= width"
        )
    if max_length < 1:
        raise ValueError(f"max_length is {max_length}; a word has at least one character")
    N, device, end = len(context), context.device, decoder.end
    memory = Memory(*(x.repeat_interleave(width, dim=0) for x in decoder.memory(context)))
    state = decoder.initial_state(memory.context)
    previous = torch.full((N * width,), decoder.begin, device=device)
    first_beams = torch.arange(0, N * width, width, device=device)[:, None]

    sequences = torch.full((N, width, max_length + 1), Vocabulary.PADDING, device=device)
    log_probability = torch.full((N, width), float("-inf"), device=device)
    log_probability[:, 0] = 0  # all begin alike: one beam is there, the others are absent
    ended = torch.zeros_like(log_probability, dtype=torch.bool)
    only_end = torch.full((decoder.num_classes,), float("-inf"), device=device)
    only_end[end] = 0

    for t in range(max_length + 1):
        logits, state = decoder.step(memory, previous, state)
        logits[:, decoder.begin] = float("-inf")
        extension = logits.float().log_softmax(dim=1).view(N, width, -1)
        if t == max_length:
            extension = extension + only_end
        extension = torch.where(ended[..., None], only_end, extension)
        total = (log_probability[..., None] + extension).flatten(1)
        log_probability, chosen = total.topk(width, dim=1)

        parent, token = chosen // decoder.num_classes, chosen % decoder.num_classes
        sequences = sequences.gather(1, parent[..., None].expand_as(sequences))
        sequences[..., t] = token.masked_fill(ended.gather(1, parent), Vocabulary.PADDING)
        ended = token == end
        previous = token.flatten()
        state = DecoderState(*(x[(first_beams + parent).flatten()] for x in state))
        # What has not ended can only become less probable: once the K best have, they stay.
        # Looking costs one wait for the device per character; a word has five on average.
        if (ended | log_probability.isneginf())[:, :num_sequences].all():
            break

    log_probability = log_probability[:, :num_sequences]
    absent = log_probability.isneginf()[..., None]
    sequences = sequences[:, :num_sequences].masked_fill(absent, Vocabulary.PADDING)
    longest = int((sequences != Vocabulary.PADDING).sum(dim=2).max())
    return BeamResult(sequences[..., :longest], log_probability)
