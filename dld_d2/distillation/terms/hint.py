"""L_hint: what the student's decoder sees of each character shall be what the teacher's sees."""

from __future__ import annotations

import torch
from detectron2.config import CfgNode
from torch import Tensor, nn

from dld_d2.distillation.terms.term import Term, aligned_width, mean_of_steps, register_term
from dld_d2.modeling.recognition.reading import Reading
from dld_d2.modeling.spotters.contract import Spotter

__all__ = ["HintTerm", "hint_loss"]


def hint_loss(student: Tensor, teacher: Tensor, valid: Tensor) -> Tensor:
    """Mean squared distance of the glimpses, over characters, ends and channels.

    A glimpse is what the decoder attends to at a step, so that the hint is localised at a character
    (Bhunia et al., Text is Text, No Matter What: Unifying Text Recognition using Knowledge
    Distillation, ICCV 2021).

    Args:
        student: (N, T, C), N >= 0; gets a gradient.
        teacher: (N, T, C).
        valid: (N, T) bool, the steps that count.

    Returns:
        A scalar; 0 (with a gradient of 0) if there is no step.

    Raises:
        ValueError: if the shapes differ.
    """
    if student.shape != teacher.shape:
        raise ValueError(
            f"L_hint: the student's glimpses are {tuple(student.shape)}, the teacher's "
            f"{tuple(teacher.shape)}; they cannot be compared"
        )
    dtype = torch.promote_types(student.dtype, torch.float32)
    difference = student.to(dtype) - teacher.detach().to(dtype)
    return mean_of_steps(difference.square().mean(dim=-1), valid)


@register_term("hint")
class HintTerm(Term):
    """L_hint.

    Args:
        weight: of the loss.
        aligner: brings the student's glimpses to the width of the teacher's; None if they are
            equally wide.
    """

    needs = frozenset({"glimpses"})

    def __init__(self, *, weight: float = 1.0, aligner: nn.Module | None = None) -> None:
        super().__init__(weight=weight)
        self.aligner = aligner

    @classmethod
    def add_config(cls, node: CfgNode) -> None:
        # Weight of L_hint, the distance of what the decoders see of each character.
        node.WEIGHT = 1.0

    @classmethod
    def from_config(cls, node: CfgNode, student: Spotter, teacher: Spotter) -> HintTerm:
        # Glimpses are means of contextual features, and as wide.
        small, large = (each.feature_shapes["context"] for each in (student, teacher))
        return cls(weight=node.WEIGHT, aligner=aligned_width(small, large, student.device))

    def forward(self, student: Reading, teacher: Reading) -> dict[str, Tensor]:
        glimpses = student.features["glimpses"]
        if self.aligner is not None:
            glimpses = self.aligner(glimpses)
        loss = hint_loss(glimpses, teacher.features["glimpses"], student.valid)
        return {"loss_hint": self.weight * loss}
