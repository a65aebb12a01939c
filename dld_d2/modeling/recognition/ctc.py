"""Connectionist temporal classification: every position of a sequence says what it shows."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dld_d2.structures.vocabulary import Vocabulary

__all__ = ["ctc_loss"]


def ctc_loss(logits: Tensor, texts: Tensor) -> Tensor:
    """Negative log-likelihood of texts (Graves et al., 2006).

    Beside an attention decoder it tells every position what it shows, where the decoder has to find
    out by itself where to look: learnt together, reading begins many times sooner (Watanabe et al.,
    2017).

    Args:
        logits: (N, L, characters + 1), N >= 1; the last class is the blank.
        texts: (N, T) int64 as `Vocabulary.encode` gives them.

    Returns:
        A scalar: negative log-likelihood over the number of characters, words without any left out,
        and those that L positions cannot hold.
    """
    log_probability = logits.float().log_softmax(dim=-1).transpose(0, 1)
    # All but the end, which every text has.
    lengths = ((texts != Vocabulary.PADDING).sum(dim=1) - 1).clamp(min=0)
    losses = F.ctc_loss(
        log_probability,
        texts.clamp(min=0),
        torch.full_like(lengths, logits.shape[1]),
        lengths,
        blank=logits.shape[2] - 1,
        reduction="none",
        zero_infinity=True,
    )
    return (losses * (lengths > 0)).sum() / lengths.sum().clamp(min=1)
