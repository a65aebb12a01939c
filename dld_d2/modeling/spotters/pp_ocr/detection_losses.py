"""What the detector learns by, put together of its parts."""

from __future__ import annotations

import torch
from torch import Tensor

from dld_d2.modeling.spotters.pp_ocr.score_map_losses import (
    approximate_binary,
    balanced_bce,
    border_l1,
    dice,
)
from dld_d2.modeling.spotters.pp_ocr.score_map_targets import ScoreMapTargets

__all__ = ["detection_loss_per_image", "detection_losses"]


def detection_losses(score: Tensor, border: Tensor, wanted: ScoreMapTargets) -> dict[str, Tensor]:
    """Losses of a training step (equation 6 of Liao et al., AAAI 2020), without their weights.

    Args:
        score, border: (B, H, W) logits of both maps.
        wanted: tensors of that size.

    Returns:
        Scalars, averaged over the images: `loss_score`, the balanced cross-entropy of the score
        map; `loss_border`, the distance of the border map; `loss_binary`, one minus the Dice
        coefficient of both together.
    """
    probability, threshold = _sigmoid(score), _sigmoid(border)
    binary = approximate_binary(probability, threshold)
    return {
        "loss_score": balanced_bce(score, wanted.shrunk, wanted.shrunk_mask).mean(),
        "loss_border": border_l1(threshold, wanted.border, wanted.border_mask).mean(),
        "loss_binary": dice(binary, wanted.shrunk, wanted.shrunk_mask).mean(),
    }


def detection_loss_per_image(score: Tensor, wanted: ScoreMapTargets) -> Tensor:
    """How badly the words of each image show in its score map: one minus the Dice coefficient.

    It is a share of areas, so that it does not depend on the resolution itself, but on what is seen
    at it.

    Args:
        score: (B, H, W) logits.
        wanted: tensors of that size.

    Returns:
        (B,) in [0, 1].
    """
    return dice(_sigmoid(score), wanted.shrunk, wanted.shrunk_mask)


def _sigmoid(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).sigmoid()
