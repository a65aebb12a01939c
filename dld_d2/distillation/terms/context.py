"""L_con: the student's contextual features of a word shall be the teacher's."""

from __future__ import annotations

import torch.nn.functional as F
from detectron2.config import CfgNode
from torch import Tensor, nn

from dld_d2.distillation.terms.term import (
    Term,
    aligned_width,
    mean_squared_distance,
    reads_by_position,
    register_term,
)
from dld_d2.modeling.recognition.reading import Reading
from dld_d2.modeling.spotters.contract import Spotter

__all__ = ["ContextTerm", "context_loss", "resample_context"]


def context_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """L_con: mean squared distance of the contextual features (equation 8 of the paper).

    Args:
        student: (N, L, C), N >= 0; gets a gradient.
        teacher: (N, L, C).

    Raises:
        ValueError: if the shapes differ.
    """
    return mean_squared_distance(student, teacher, "contextual features")


def resample_context(context: Tensor, *, rows: int, length: int) -> Tensor:
    """Bring a sequence that goes over several rows of a word to one row of another length.

    For a teacher with larger RoI features than the student's the paper says nothing: its sequence
    has three rows of 65 elements, the student's one row of 33. Here the teacher's is brought to the
    student's grid, which needs no parameters. Rows are averaged, which is where the decoder's
    attention can end up too, and columns are interpolated linearly, first on first and last on
    last: of 65 columns, 33 are every second.

    Args:
        context: (N, rows * columns, C), row after row.
        rows: of the sequence; 3 for 16 x 64.
        length: L of the result; 33 for 8 x 32.

    Returns:
        (N, length, C).

    Raises:
        ValueError: if the sequence does not divide into `rows`.
    """
    if context.shape[1] % rows:
        raise ValueError(
            f"a sequence of {context.shape[1]} elements does not divide into {rows} rows"
        )
    columns = context.unflatten(1, (rows, -1)).mean(dim=1).transpose(1, 2)
    if len(columns) == 0:
        return columns.new_zeros(0, length, context.shape[2])
    resampled = F.interpolate(columns, size=length, mode="linear", align_corners=True)
    return resampled.transpose(1, 2)


@register_term("context")
class ContextTerm(Term):
    """L_con.

    Args:
        weight: of the loss, eta 1.
        teacher_rows: of the teacher's sequence, if it must be resampled; else None.
        aligner: brings the student's features to the width of the teacher's; None if they are
            equally wide.
    """

    needs = frozenset({"context"})

    def __init__(
        self,
        *,
        weight: float = 1.0,
        teacher_rows: int | None = None,
        aligner: nn.Module | None = None,
    ) -> None:
        super().__init__(weight=weight)
        self.teacher_rows = teacher_rows
        self.aligner = aligner

    @classmethod
    def add_config(cls, node: CfgNode) -> None:
        # Weight of L_con, eta 1 of the paper.
        node.WEIGHT = 1.0

    @classmethod
    def from_config(cls, node: CfgNode, student: Spotter, teacher: Spotter) -> ContextTerm:
        small, large = student.feature_shapes["context"], teacher.feature_shapes["context"]
        aligner = aligned_width(small, large, student.device)
        if small == large or (small and large and small[:2] == large[:2]):
            return cls(weight=node.WEIGHT, aligner=aligner)
        by_position = reads_by_position(student) or reads_by_position(teacher)
        if small is None or large is None or small[0] != 1 or by_position:
            raise ValueError(
                f"L_con: contextual features (rows, columns, C) are {small} for the student and "
                f"{large} for the teacher; a teacher's can be resampled where the student's are "
                "one row of places in a word"
            )
        return cls(weight=node.WEIGHT, teacher_rows=large[0], aligner=aligner)

    def forward(self, student: Reading, teacher: Reading) -> dict[str, Tensor]:
        features, target = student.features["context"], teacher.features["context"]
        if self.aligner is not None:
            features = self.aligner(features)
        if self.teacher_rows is not None:
            target = resample_context(target, rows=self.teacher_rows, length=features.shape[1])
        return {"loss_con": self.weight * context_loss(features, target)}
