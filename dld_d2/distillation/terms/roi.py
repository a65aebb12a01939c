"""L_roi: the student's pooled features of a word shall be the teacher's."""

from __future__ import annotations

from detectron2.config import CfgNode
from torch import Tensor, nn

from dld_d2.distillation.terms.term import Term, mean_squared_distance, register_term
from dld_d2.modeling.recognition.reading import Reading
from dld_d2.modeling.spotters.contract import Spotter

__all__ = ["FeatureAligner", "RoITerm", "roi_loss"]


def roi_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """L_roi: mean squared distance of the pooled RoI features (equation 7 of the paper).

    Args:
        student: (N, C, H, W), N >= 0; gets a gradient.
        teacher: (N, C, H, W).

    Raises:
        ValueError: if the shapes differ.
    """
    return mean_squared_distance(student, teacher, "RoI features")


class FeatureAligner(nn.ConvTranspose2d):
    """A deconvolution that doubles height and width: (N, C, H, W) -> (N, C, 2H, 2W).

    The paper's ablation distils a teacher with RoI features of 16 x 64 into a student with 8 x 32,
    whose features must be enlarged. Every output element is a sum over 2 x 2 input elements, so
    that no grid shows.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, kernel_size=4, stride=2, padding=1)


@register_term("roi")
class RoITerm(Term):
    """L_roi.

    Args:
        weight: of the loss.
        aligner: brings the student's features to the size of the teacher's; None if they are of
            one size.
    """

    needs = frozenset({"roi"})

    def __init__(self, *, weight: float = 1.0, aligner: nn.Module | None = None) -> None:
        super().__init__(weight=weight)
        self.aligner = aligner

    @classmethod
    def from_config(cls, node: CfgNode, student: Spotter, teacher: Spotter) -> RoITerm:
        small, large = student.feature_shapes["roi"], teacher.feature_shapes["roi"]
        if small == large:
            return cls(weight=node.WEIGHT)
        channels, height, width = small
        if large != (channels, 2 * height, 2 * width):
            raise ValueError(
                f"L_roi: RoI features (C, H, W) are {small} for the student and {large} for the "
                "teacher; they must be equal, or the teacher's twice as high and wide "
                "(MODEL.ROI_TEXT_HEAD.POOLER_RESOLUTION)"
            )
        aligner = FeatureAligner(channels).to(student.device)
        return cls(weight=node.WEIGHT, aligner=aligner)

    def forward(self, student: Reading, teacher: Reading) -> dict[str, Tensor]:
        features = student.features["roi"]
        if self.aligner is not None:
            features = self.aligner(features)
        return {"loss_roi": self.weight * roi_loss(features, teacher.features["roi"])}
