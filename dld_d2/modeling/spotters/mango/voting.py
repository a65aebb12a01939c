"""What the cells of words say together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dld_d2.modeling.spotters.mango.found_words import FoundWords
from dld_d2.modeling.transfer import to_device

__all__ = ["gather_cells", "vote"]


def gather_cells(
    found: Sequence[FoundWords], device: torch.device
) -> tuple[Tensor, Tensor, Tensor, int]:
    """The cells of a batch: their numbers, words and weights, (K,) each, the words counted over all
    images; and the number W of words."""
    numbers = np.array([len(words.scores) for words in found])
    first = np.cumsum(numbers) - numbers
    word = [words.word + start for words, start in zip(found, first, strict=True)]
    parts = (
        np.concatenate([words.cells for words in found]),
        np.concatenate(word),
        np.concatenate([words.weight for words in found]),
    )
    return (*(to_device(part, device) for part in parts), int(numbers.sum()))


def vote(
    logits: Tensor, word: Tensor, weight: Tensor, num_words: int, end: int
) -> tuple[Tensor, Tensor]:
    """Texts of words by the votes of their cells, position by position, until the end wins.

    Args:
        logits: (K, L, V) of the cells' readings.
        word: (K,) int64, whose they are.
        weight: (K,) of the votes; those of a word add up to 1.
        num_words: W.
        end: the class of a word's end.

    Returns:
        (W, L) int64 classes, from a word's end on `end`; and (W,) scores in [0, 1]: the geometric
        mean, over a word's characters and its end, of the winner's votes, each of which counts by
        the probability that its cell gives to it.
    """
    probability, classes = logits.softmax(dim=-1).max(dim=-1)
    # After its own end a cell goes on to say that the word has ended.
    classes = classes.masked_fill((classes == end).cumsum(dim=1) > 0, end)
    length = logits.shape[1]
    place = (word[:, None] * length + torch.arange(length, device=word.device)).flatten()
    place = place * logits.shape[2] + classes.flatten()
    size = num_words * length * logits.shape[2]
    votes = weight[:, None].expand(-1, length)
    shares, sure = (
        torch.zeros(size, device=logits.device)
        .index_add(0, place, value.flatten().float())
        .view(num_words, length, -1)
        for value in (votes, votes * probability)
    )
    winner = shares.argmax(dim=-1)
    certainty = sure.gather(-1, winner[..., None]).squeeze(-1).clamp(1e-12, 1)
    ended = (winner == end).cumsum(dim=1) > 0
    counts = ~ended | (ended.cumsum(dim=1) == 1)
    total = certainty.log().masked_fill(~counts, 0).sum(dim=1)
    return winner.masked_fill(ended, end), (total / counts.sum(dim=1)).exp()
