"""L_map: the student shall see text where the teacher sees it.

Ours, for spotters that detect by segmentation. The paper distils recognition alone, and names the
missing distillation of detection as its limitation.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dld_d2.distillation.terms.term import Term, register_term
from dld_d2.modeling.recognition.reading import Reading, ScoreMap

__all__ = ["ScoreMapTerm", "on_grid_of", "score_map_loss"]


def score_map_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Divergence of two maps, in units of the teacher's text.

    Each pixel tells text from background, by itself: KL( teacher || student ) of a coin. The sum
    over all pixels is divided by the area that the teacher takes for text, so that a missed word
    and a false alarm of its size weigh the same, however much background there is.

    Args:
        student: (C, h, w) logits; gets a gradient.
        teacher: (C, h, w) probabilities.

    Returns:
        A scalar, 0 where both are equal.
    """
    dtype = torch.promote_types(student.dtype, torch.float32)
    student, teacher = student.to(dtype), teacher.detach().to(dtype)
    cross_entropy = F.binary_cross_entropy_with_logits(student, teacher, reduction="sum")
    entropy = F.binary_cross_entropy(teacher, teacher, reduction="sum")
    return (cross_entropy - entropy) / teacher.sum().clamp(min=1)


def on_grid_of(student: ScoreMap, teacher: ScoreMap, image: int) -> tuple[Tensor, Tensor]:
    """Both maps of an image, without padding, on the student's grid.

    The teacher's probabilities are averaged where its map is finer.

    Returns:
        Logits (C, h, w) of the student, and probabilities (C, h, w) of the teacher.
    """
    height, width = (max(1, round(side)) for side in student.sizes[image])
    own = student.logits[image, :, :height, :width]
    rows, columns = (max(1, round(side)) for side in teacher.sizes[image])
    seen = teacher.logits[image, :, :rows, :columns]
    seen = seen.to(torch.promote_types(seen.dtype, torch.float32)).sigmoid()
    if seen.shape != own.shape:
        seen = F.interpolate(
            seen[None], size=own.shape[-2:], mode="bilinear", align_corners=False, antialias=True
        )[0].clamp(0, 1)
    return own, seen


@register_term("score_map")
class ScoreMapTerm(Term):
    """L_map, averaged over the images of a batch, those without words as well."""

    needs = frozenset({"score_map"})

    def forward(self, student: Reading, teacher: Reading) -> dict[str, Tensor]:
        own, seen = student.features["score_map"], teacher.features["score_map"]
        losses = [score_map_loss(*on_grid_of(own, seen, image)) for image in range(len(own.logits))]
        return {"loss_map": self.weight * torch.stack(losses).mean()}
