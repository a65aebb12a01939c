"""L_roi: the student's pooled features of a word shall be the teacher's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from torch import Tensor, nn

from dld_d2.distillation.terms.term import (
    Term,
    mean_squared_distance,
    reads_by_position,
    register_term,
)
from dld_d2.modeling.recognition.reading import Reading
from dld_d2.modeling.spotters.contract import Spotter

__all__ = ["FeatureAligner", "ResamplingAligner", "RoITerm", "roi_aligner", "roi_loss"]


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
    """A deconvolution that doubles height and width: (N, C, H, W) -> (N, C', 2H, 2W).

    The paper's ablation distils a teacher with RoI features of 16 x 64 into a student with 8 x 32,
    whose features must be enlarged. Every output element is a sum over 2 x 2 input elements, so
    that no grid shows.

    Args:
        channels: C.
        out_channels: C'; None for C.
    """

    def __init__(self, channels: int, out_channels: int | None = None) -> None:
        super().__init__(channels, out_channels or channels, kernel_size=4, stride=2, padding=1)


class ResamplingAligner(nn.Module):
    """A 1 x 1 convolution, and bilinear interpolation: (N, C, H, W) -> (N, C', H', W').

    Args:
        channels: C.
        out_channels: C'.
        size: H', W'.
    """

    def __init__(self, channels: int, out_channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels, kernel_size=1)
        self.size = size

    def forward(self, features: Tensor) -> Tensor:
        features = self.conv(features)
        return F.interpolate(
            features.to(torch.promote_types(features.dtype, torch.float32)),
            size=self.size,
            mode="bilinear",
            align_corners=False,
            antialias=True,
        )


def roi_aligner(student: tuple[int, ...], teacher: tuple[int, ...]) -> nn.Module | None:
    """What brings the student's RoI features to the shape of the teacher's.

    Both cover the same region, so that features of any size can be brought together. A student of
    half the height and width gets the paper's deconvolution, another size is resampled, and where
    the width alone differs a 1 x 1 convolution will do.

    Args:
        student: (C, H, W).
        teacher: (C', H', W').

    Returns:
        None if nothing differs.
    """
    if student == teacher:
        return None
    (channels, *own), (out_channels, *size) = student, teacher
    if own == size:
        return nn.Conv2d(channels, out_channels, kernel_size=1)
    if size == [2 * side for side in own]:
        return FeatureAligner(channels, out_channels)
    return ResamplingAligner(channels, out_channels, tuple(size))


@register_term("roi")
class RoITerm(Term):
    """L_roi.

    Args:
        weight: of the loss.
        aligner: brings the student's features to the shape of the teacher's; None if they are of
            one shape.
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
        if small is None or large is None:
            raise ValueError(
                f"L_roi: RoI features (C, H, W) are {small or 'of no fixed size'} for the student "
                f"and {large or 'of no fixed size'} for the teacher; they cannot be brought "
                'together: take "roi" out of MODEL.DISTILL.TERMS'
            )
        if small[1:] != large[1:] and (reads_by_position(student) or reads_by_position(teacher)):
            raise ValueError(
                f"L_roi: features (C, 1, characters) are {small} for the student and {large} for "
                "the teacher; those of characters cannot be resampled, so there must be as many "
                "(MODEL.RECOGNITION.MAX_LENGTH)"
            )
        return cls(weight=node.WEIGHT, aligner=roi_aligner(small, large).to(student.device))

    def forward(self, student: Reading, teacher: Reading) -> dict[str, Tensor]:
        features = student.features["roi"]
        if self.aligner is not None:
            features = self.aligner(features)
        return {"loss_roi": self.weight * roi_loss(features, teacher.features["roi"])}
