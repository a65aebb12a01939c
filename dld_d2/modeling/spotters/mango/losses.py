"""Losses of the one-stage spotter. Everything is computed in float32 at least."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dld_d2.modeling.spotters.mango.gathering import Gathered
from dld_d2.modeling.spotters.mango.targets import NOBODY, CenterLineTargets, WordCells

__all__ = ["category_loss", "center_line_loss", "dice", "mask_loss"]


def dice(inside: Tensor, squares: Tensor, wanted: Tensor) -> Tensor:
    """1 - (2 I + 1) / (P + T + 1).

    Args:
        inside: I, sum of the probabilities where there shall be something.
        squares: P, sum of the probabilities' squares everywhere.
        wanted: T, number of the places where there shall be something.
    """
    return 1 - (2 * inside + 1) / (squares + wanted + 1)


def center_line_loss(logits: Tensor, targets: CenterLineTargets) -> Tensor:
    """Dice loss of the centre lines of each image, where they are to be learnt.

    It is a share of areas, and so does not depend on the resolution itself.

    Args:
        logits: (B, h, w).
        targets: of the same size.

    Returns:
        (B,) in [0, 1].
    """
    probability = logits.to(torch.promote_types(logits.dtype, torch.float32)).sigmoid()
    probability = (probability * targets.counts).flatten(1)
    wanted = (targets.wanted & targets.counts).flatten(1)
    return dice(
        (probability * wanted).sum(dim=1), probability.square().sum(dim=1), wanted.sum(dim=1)
    )


def category_loss(logits: Tensor, cells: WordCells) -> Tensor:
    """Mean binary cross-entropy of which cells read a word, where that is to be learnt.

    Args:
        logits: (B, S, S).
        cells: of the same grid.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32)).flatten(1)
    loss = F.binary_cross_entropy_with_logits(
        logits, (cells.owner != NOBODY).to(logits.dtype), reduction="none"
    )
    return (loss * cells.counts).sum() / cells.counts.sum().clamp(min=1)


def mask_loss(gathered: Gathered, wanted: Tensor, counts: Tensor) -> Tensor:
    """Dice loss of where characters are: of each position over all words, averaged over positions.

    Args:
        gathered: of N words, with their slices.
        wanted: (N, L) pixels of each slice.
        counts: (N, L) bool, the positions that are to be learnt.
    """
    counts = counts.to(gathered.inside.dtype)
    sums = [(value * counts).sum(dim=0) for value in (gathered.inside, gathered.squares, wanted)]
    return dice(*sums).mean()
