"""L_attn: the student's decoder shall look where the teacher's looks, character by character."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from torch import Tensor

from dld_d2.distillation.terms.term import Term, mean_of_steps, register_term
from dld_d2.modeling.recognition.reading import Reading
from dld_d2.modeling.spotters.contract import Spotter

__all__ = ["AttentionTerm", "attention_loss"]

# Attention below it gets no gradient of its own; the inverse is finite in float32.
_LEAST = 1e-30


def attention_loss(student: Tensor, teacher: Tensor, valid: Tensor) -> Tensor:
    """Mean of KL( teacher || student ) over characters and ends.

    Bhunia et al. (ICCV 2021) match the attention of every step; that they do it by this divergence
    and not by a squared distance is recalled, not read.

    Args:
        student: (N, T, L) that sums to 1 over L, N >= 0; gets a gradient.
        teacher: (N, T, L), likewise.
        valid: (N, T) bool, the steps that count.

    Returns:
        A scalar; 0 (with a gradient of 0) if there is no step.

    Raises:
        ValueError: if the shapes differ.
    """
    if student.shape != teacher.shape:
        raise ValueError(
            f"L_attn: the student's attention is {tuple(student.shape)}, the teacher's "
            f"{tuple(teacher.shape)}; they cannot be compared"
        )
    dtype = torch.promote_types(student.dtype, torch.float32)
    own = student.to(dtype).clamp(min=_LEAST).log()
    seen = teacher.detach().to(dtype)
    return mean_of_steps(F.kl_div(own, seen, reduction="none").sum(dim=-1), valid)


@register_term("attention")
class AttentionTerm(Term):
    """L_attn."""

    needs = frozenset({"attention"})

    @classmethod
    def add_config(cls, node: CfgNode) -> None:
        # Weight of L_attn, the divergence of where the decoders look.
        node.WEIGHT = 1.0

    @classmethod
    def from_config(cls, node: CfgNode, student: Spotter, teacher: Spotter) -> AttentionTerm:
        small, large = (each.feature_shapes["context"][:2] for each in (student, teacher))
        if small != large:
            raise ValueError(
                "L_attn: the sequences (rows, columns) that are attended to are "
                f"{tuple(small)} for the student and {tuple(large)} for the teacher; they must be "
                "equal (MODEL.ROI_TEXT_HEAD.POOLER_RESOLUTION), or take "
                '"attention" out of MODEL.DISTILL.TERMS'
            )
        return cls(weight=node.WEIGHT)

    def forward(self, student: Reading, teacher: Reading) -> dict[str, Tensor]:
        own, seen = student.features["attention"], teacher.features["attention"]
        return {"loss_attention": self.weight * attention_loss(own, seen, student.valid)}
