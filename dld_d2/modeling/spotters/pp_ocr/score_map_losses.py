"""Losses of a detector by differentiable binarisation, image by image.

Liao et al., Real-time Scene Text Detection with Differentiable Binarization, AAAI 2020, section
"Optimization". All maps are (B, H, W), all losses (B,), so that they also tell at which of several
scales an image is learnt best. Everything is computed in float32 at least, under autocast too.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["approximate_binary", "balanced_bce", "border_l1", "dice"]


def approximate_binary(score: Tensor, border: Tensor, k: float = 50.0) -> Tensor:
    """Binarise a map in a way that can be differentiated: 1 / (1 + exp(-k (P - T))).

    Args:
        score: (B, H, W) float, P, probabilities of the shrunk words.
        border: (B, H, W) float, T, thresholds.
        k: the slope.

    Returns:
        (B, H, W) in [0, 1].
    """
    return torch.sigmoid(k * (_precise(score) - _precise(border)))


def balanced_bce(
    logits: Tensor,
    target: Tensor,
    mask: Tensor,
    negative_ratio: float = 3.0,
    negatives_without_text: int = 500,
) -> Tensor:
    """Mean binary cross-entropy of the positives and of the hardest negatives.

    Where the hardest negatives end among equal ones, these share the places that are left, so that
    the gradient does not depend on the order of pixels.

    Args:
        logits: (B, H, W) float.
        target: (B, H, W) float, 0 or 1.
        mask: (B, H, W) bool, pixels that count.
        negative_ratio: hard negatives for each positive; all if there are not as many.
        negatives_without_text: hard negatives of an image without positives, which would otherwise
            not learn to raise no false alarm.

    Returns:
        (B,), 0 for an image without a pixel that counts.
    """
    loss = F.binary_cross_entropy_with_logits(_precise(logits), _precise(target), reduction="none")
    loss, target, mask = loss.flatten(1), target.flatten(1) > 0.5, mask.flatten(1)
    positive, negative = mask & target, mask & ~target
    positives, negatives = positive.sum(dim=1), negative.sum(dim=1)
    wanted = (negative_ratio * positives).long()
    wanted = torch.where(positives > 0, wanted, negatives_without_text).minimum(negatives)
    with torch.no_grad():
        # Other pixels come after all negatives, the losses of which are not below 0.
        hardness = torch.where(negative, loss, -1.0).float()
        last = _largest(hardness, wanted)
        harder, equal = hardness > last, hardness == last
        left = wanted - harder.sum(dim=1)
        share = left / equal.sum(dim=1).clamp(min=1)
        weight = positive.to(loss) + harder + equal * share[:, None]
    return (weight * loss).sum(dim=1) / (positives + wanted).clamp(min=1)


def dice(probability: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """One minus the Dice coefficient, (2 sum(p t) + 1) / (sum(p) + sum(t) + 1).

    The one pixel that is added changes little in an image with text; in one without it makes the
    loss 0 where nothing is predicted, and teaches this.

    Args:
        probability: (B, H, W) float in [0, 1].
        target: (B, H, W) float, 0 or 1.
        mask: (B, H, W) bool, pixels that count.

    Returns:
        (B,) in [0, 1].
    """
    probability, target = _precise(probability).flatten(1), _precise(target).flatten(1)
    target = target * mask.flatten(1)
    both = (probability * target).sum(dim=1)
    either = (probability * mask.flatten(1)).sum(dim=1) + target.sum(dim=1)
    return 1 - (2 * both + 1) / (either + 1)


def border_l1(border: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute error of the thresholds where they are learnt.

    Args:
        border, target: (B, H, W) float.
        mask: (B, H, W) bool, pixels that count.

    Returns:
        (B,), 0 for an image without a pixel that counts.
    """
    error = (_precise(border) - _precise(target)).abs() * mask
    return error.flatten(1).sum(dim=1) / mask.flatten(1).sum(dim=1).clamp(min=1)


def _precise(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _largest(values: Tensor, k: Tensor) -> Tensor:
    """The k-th largest value of each row.

    Each row has its own k, which stays on the device, and k is large: `Tensor.topk` would have to
    wait for it, and sorting takes ten times as long on a CPU.

    Args:
        values: (B, N) float32; the k largest are not negative.
        k: (B,) int64.

    Returns:
        (B, 1) float32; NaN, which is neither below nor equal to anything, where k is 0.
    """
    # Floats that are not negative are ordered as their bits are, read as integers. So the highest
    # number that k values reach is found bit by bit.
    bits = torch.zeros(len(values), 1, dtype=torch.int32, device=values.device)
    reached = torch.empty_like(values)
    for bit in reversed(range(31)):
        candidate = bits | (1 << bit)
        # Written as float, because booleans are added up several times more slowly.
        torch.ge(values, candidate.view(torch.float32), out=reached)
        enough = reached.sum(dim=1, keepdim=True) >= k[:, None]
        bits = torch.where(enough, candidate, bits)
    return bits.view(torch.float32)
