"""What the head learns by: Dice losses of the score maps, smooth-L1 losses of the offsets."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dld_d2.modeling.spotters.text_perceptron.head import KINDS, DetectionMaps
from dld_d2.modeling.spotters.text_perceptron.targets import MapTargets

__all__ = ["detection_loss_per_image", "detection_losses", "dice_loss"]

# Of each offset that counts, in the released code.
_OFFSET_WEIGHT = 16 / (256 * 64)
_BETA = 0.11
# Images of a batch there; sums over a batch are scaled to it.
_REFERENCE_BATCH = 8


def dice_loss(probability: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """One minus the Dice coefficient with squares in its denominator (Milletari et al., 2016),
    1 - (2 sum(wp wt) + 1) / (sum (wp)^2 + sum (wt)^2 + 1).

    Args:
        probability, target, weight: (..., h, w) float.

    Returns:
        (...,) in [0, 1].
    """
    p, t = (probability * weight).flatten(-2), (target * weight).flatten(-2)
    return 1 - (2 * (p * t).sum(-1) + 1) / ((p * p).sum(-1) + (t * t).sum(-1) + 1)


def detection_losses(maps: DetectionMaps, wanted: MapTargets) -> dict[str, Tensor]:
    """Losses of a training step, without their weights.

    Args:
        maps: of B images.
        wanted: of that size.

    Returns:
        Scalars: `loss_seg_centre`, `loss_seg_head`, `loss_seg_tail` and `loss_seg_boundary`, over
        all cells of the batch together; `loss_reg_head`, `loss_reg_tail` and `loss_reg_centre`,
        summed over batch and cells as in the released code, but as if a batch held 8 images.
    """
    # All images' cells in one plane.
    scores = maps.scores.sigmoid().transpose(0, 1).flatten(1, 2)
    kinds = wanted.kinds().transpose(0, 1).flatten(1, 2)
    seg = dice_loss(scores, kinds, wanted.weight.flatten(0, 1).to(scores.dtype))
    losses = {f"loss_seg_{kind}": loss for kind, loss in zip(KINDS, seg, strict=True)}

    error = F.smooth_l1_loss(maps.offsets, wanted.offsets, beta=_BETA, reduction="none")
    error = (error * wanted.offset_valid).sum(dim=(2, 3)).unflatten(1, (3, 4)).sum(dim=(0, 2))
    error = error * (_OFFSET_WEIGHT * _REFERENCE_BATCH / len(maps.offsets))
    for kind, loss in zip(("head", "tail", "centre"), error, strict=True):
        losses[f"loss_reg_{kind}"] = loss
    return losses


def detection_loss_per_image(scores: Tensor, wanted: MapTargets) -> Tensor:
    """How badly the words of each image show in its score maps: the mean of the four Dice losses,
    which are shares of areas, and so do not depend on the resolution itself.

    Args:
        scores: (B, 4, h, w) logits.
        wanted: of that size.

    Returns:
        (B,) in [0, 1].
    """
    weight = wanted.weight[:, None].to(torch.promote_types(scores.dtype, torch.float32))
    return dice_loss(scores.to(weight.dtype).sigmoid(), wanted.kinds(), weight).mean(dim=1)
