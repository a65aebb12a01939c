"""What every decoder of texts answers, whether it reads along a text, in parallel, or by CTC."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dld_d2.structures.vocabulary import Vocabulary

__all__ = ["BestSequences", "CharacterDecoder", "Decoder", "check_search"]


class BestSequences(NamedTuple):
    """The K most probable texts of each of N words, best first.

    Attributes:
        sequences: (N, K, T) int64 as `Vocabulary.encode` gives them: characters, then `end`, then
            `PADDING`; T is the length of the longest. A sequence may be `end` alone.
        log_probabilities: (N, K) of the sequences, `end` included. Where fewer than K sequences
            exist, -inf, and the sequence is all `PADDING`.
    """

    sequences: Tensor
    log_probabilities: Tensor


class Decoder(nn.Module, ABC):
    """From contextual features (N, L, C) of N >= 0 words to texts.

    Texts are (N, T) int64 as `Vocabulary.encode` gives them. Position t of the logits may belong to
    character t of the text (see `CharacterDecoder`) or to a place in the word (CTC); `valid` and
    `negative_log_likelihood` are what makes the two look alike.
    """

    @abstractmethod
    def forward(self, context: Tensor, texts: Tensor) -> Tensor:
        """Logits (N, P, V) of V classes at P positions; a decoder that reads along a text reads
        along `texts`."""

    @abstractmethod
    def valid(self, logits: Tensor, texts: Tensor) -> Tensor:
        """(N, P) bool: the positions that say something."""

    @abstractmethod
    def negative_log_likelihood(self, logits: Tensor, texts: Tensor) -> Tensor:
        """(N,) float32 at least: -log p(text) by what `forward` gave; 0 for a text without end."""

    @abstractmethod
    def greedy(self, context: Tensor, max_length: int) -> tuple[Tensor, Tensor]:
        """Read words.

        Returns:
            (N, T) int64 classes with T <= max_length, from a word's end on `end`; and (N,) scores
            in [0, 1].
        """

    @abstractmethod
    def k_best(
        self, context: Tensor, *, num_sequences: int, width: int, max_length: int
    ) -> BestSequences:
        """The most probable texts, without gradient.

        Args:
            context: (N, L, C), N >= 1.
            num_sequences: K.
            width: of the search, where one is needed, >= K.
            max_length: characters of the longest word.
        """

    @abstractmethod
    def log_probability(self, context: Tensor, sequences: Tensor) -> Tensor:
        """Read along given sequences.

        Args:
            context: (N, L, C); gets a gradient.
            sequences: (N, K, T) int64, padded with `Vocabulary.PADDING`.

        Returns:
            (N, K) float32 at least: log p(sequence); 0 where a sequence is nothing but padding.
        """


class CharacterDecoder(Decoder):
    """A decoder whose position t belongs to character t: one that reads along a text character by
    character, or in parallel at numbered positions."""

    def valid(self, logits: Tensor, texts: Tensor) -> Tensor:
        return texts != Vocabulary.PADDING

    def negative_log_likelihood(self, logits: Tensor, texts: Tensor) -> Tensor:
        known = texts != Vocabulary.PADDING
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        characters = logits.log_softmax(dim=-1).gather(-1, texts.clamp(min=0)[..., None])
        return -characters.squeeze(-1).masked_fill(~known, 0).sum(dim=-1)

    def log_probability(self, context: Tensor, sequences: Tensor) -> Tensor:
        n, k, t = sequences.shape
        texts = sequences.reshape(n * k, t)
        logits = self(context.repeat_interleave(k, dim=0), texts)
        return -self.negative_log_likelihood(logits, texts).view(n, k)


def check_search(*, num_sequences: int, width: int, max_length: int) -> None:
    """Check what `Decoder.k_best` is asked for.

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
