"""L_aff: characters of a word shall be as like each other for the student as for the teacher."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from torch import Tensor

from dld_d2.distillation.terms.term import Term, register_term
from dld_d2.modeling.recognition.reading import Reading

__all__ = ["AffinityTerm", "affinity_loss"]


def affinity_loss(student: Tensor, teacher: Tensor, valid: Tensor) -> Tensor:
    """Mean over the words of || A_T - A_S ||_F^2 / K^2, where A_ij is the cosine between the
    glimpses of steps i and j of a word, and K the number of its characters and its end.

    It passes on how characters of a word go together, however far apart (Bhunia et al., ICCV 2021).
    Only a word's own glimpses are compared, so neither their length nor their width matters.

    Args:
        student: (N, T, C), N >= 0; gets a gradient.
        teacher: (N, T, C'), of any width.
        valid: (N, T) bool, the steps that count.

    Returns:
        A scalar; 0 (with a gradient of 0) if there is no word.

    Raises:
        ValueError: if there are not as many words and steps in both.
    """
    if student.shape[:2] != teacher.shape[:2]:
        raise ValueError(
            f"L_aff: words and steps are {tuple(student.shape[:2])} for the student and "
            f"{tuple(teacher.shape[:2])} for the teacher; they cannot be compared"
        )
    difference = _affinities(student) - _affinities(teacher.detach())
    pairs = valid[:, :, None] & valid[:, None]
    squared = difference.square().masked_fill(~pairs, 0).sum(dim=(1, 2))
    counts = valid.sum(dim=1)
    return (squared / counts.clamp(min=1).square()).sum() / (counts > 0).sum().clamp(min=1)


def _affinities(glimpses: Tensor) -> Tensor:
    """(N, T, T) cosines in float32 at least, whatever autocast would have."""
    directions = F.normalize(
        glimpses.to(torch.promote_types(glimpses.dtype, torch.float32)), dim=-1
    )
    with torch.autocast(glimpses.device.type, enabled=False):
        return directions @ directions.transpose(1, 2)


@register_term("affinity")
class AffinityTerm(Term):
    """L_aff."""

    needs = frozenset({"glimpses"})

    @classmethod
    def add_config(cls, node: CfgNode) -> None:
        # Weight of L_aff, the distance of how alike the characters of a word are.
        node.WEIGHT = 1.0

    def forward(self, student: Reading, teacher: Reading) -> dict[str, Tensor]:
        own, seen = student.features["glimpses"], teacher.features["glimpses"]
        return {"loss_affinity": self.weight * affinity_loss(own, seen, student.valid)}
