"""L_pyr: the student's feature maps at half resolution shall be the teacher's, one level up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import torch
from detectron2.config import CfgNode
from detectron2.utils.events import get_event_storage, has_event_storage
from torch import Tensor, nn

from dld_d2.distillation.terms.term import Term, register_term
from dld_d2.modeling.backbones.padding import cells_on_images
from dld_d2.modeling.recognition.reading import Pyramid, Reading
from dld_d2.modeling.spotters.contract import Spotter
from dld_d2.structures.allowed import Rule, whole
from dld_d2.structures.sizes import scaled_size

__all__ = ["PyramidTerm", "pyramid_distance"]

SCALE = 0.5
"""Of the student's images in units of the teacher's: one level of a pyramid."""


def pyramid_distance(
    student: Tensor, teacher: Tensor, sizes: Sequence[tuple[int, int]], stride: int
) -> Tensor:
    """Mean absolute difference of two maps, over what lies on the images.

    Args:
        student: (B, C, h, w); gets a gradient.
        teacher: (B, C, h', w') whose cells lie where the student's do; what is larger is cut off
            below and on the right.
        sizes: (height, width) of each of the student's images in pixels, without padding.
        stride: of the student's map in pixels.

    Returns:
        A scalar.

    Raises:
        ValueError: if the widths C differ.
    """
    if student.shape[1] != teacher.shape[1]:
        raise ValueError(
            f"L_pyr: the student's maps have {student.shape[1]} channels, the teacher's "
            f"{teacher.shape[1]}; they cannot be compared"
        )
    dtype = torch.promote_types(student.dtype, torch.float32)
    height, width = (min(student.shape[i], teacher.shape[i]) for i in (2, 3))
    own = student[..., :height, :width].to(dtype)
    seen = teacher[..., :height, :width].detach().to(dtype)
    on_image = cells_on_images(sizes, stride, (height, width), student.device)
    total = (own - seen).abs().masked_fill(~on_image, 0).sum()
    return total / (on_image.sum() * own.shape[1]).clamp(min=1)


@register_term("pyramid")
class PyramidTerm(Term):
    """L_pyr: the sum over the pairs of levels of their mean distances (Qi et al., Multi-Scale
    Aligned Distillation for Low-Resolution Detection, CVPR 2021).

    A cell of the student's level covers what one of the teacher's next level covers. Of p2 to p6
    that makes four pairs; published are five, of p2 to p7. The teacher is an ordinary one, or a
    `MultiScaleTeacher`, whose levels are fused of both resolutions.

    Args:
        weight: of the loss.
        ramp: iterations over which the weight rises from 0; 0 for none.
        aligners: by the student's stride, what brings its maps to the width of the teacher's.
    """

    needs = frozenset({"pyramid"})
    allowed: ClassVar[Mapping[str, Rule]] = {"RAMP_ITERS": whole(0)}

    def __init__(
        self,
        *,
        weight: float = 0.6,
        ramp: int = 500,
        aligners: Mapping[int, nn.Module] | None = None,
    ) -> None:
        super().__init__(weight=weight)
        self.ramp = ramp
        self.aligners = nn.ModuleDict({str(key): value for key, value in (aligners or {}).items()})

    @classmethod
    def add_config(cls, node: CfgNode) -> None:
        # Weight of L_pyr. Of the code released with it: weight 0.2, times tau^2 for features that
        # are divided by tau, 3, which makes 0.2 * 9 / 3.
        node.WEIGHT = 0.6
        # Iterations over which the weight rises from 0; 0: it is there from the beginning.
        node.RAMP_ITERS = 500

    @classmethod
    def conflicts(cls, cfg: CfgNode) -> Iterator[tuple[str, str]]:
        dynamic = cfg.MODEL.DYNAMIC
        why = "where MODEL.DISTILL.TERMS has pyramid, whose levels line up at that scale alone"
        if dynamic.POLICY != "fixed" and set(dynamic.SCALES) != {SCALE}:
            yield "MODEL.DYNAMIC.POLICY", f"'fixed', with MODEL.DYNAMIC.FIXED_SCALE {SCALE}, {why}"
        elif dynamic.POLICY == "fixed" and dynamic.FIXED_SCALE != SCALE:
            yield "MODEL.DYNAMIC.FIXED_SCALE", f"{SCALE} {why}"

    @classmethod
    def from_config(cls, node: CfgNode, student: Spotter, teacher: Spotter) -> PyramidTerm:
        small, large = student.feature_shapes["pyramid"], teacher.feature_shapes["pyramid"]
        pairs = [s for s in (small or ())[1:] if 2 * s in (large or ())[1:]]
        if not pairs:
            raise ValueError(
                f"L_pyr: feature maps (C, stride, ...) are {small} for the student and {large} for "
                "the teacher; there must be levels of the student and such of the teacher with "
                'twice the stride, all equally wide: take "pyramid" out of MODEL.DISTILL.TERMS'
            )
        aligners = {}
        if small[0] != large[0]:
            for stride in pairs:
                aligner = nn.Conv2d(small[0], large[0], kernel_size=1)
                aligners[stride] = aligner.to(student.device)
        return cls(weight=node.WEIGHT, ramp=node.RAMP_ITERS, aligners=aligners)

    def forward(self, student: Reading, teacher: Reading) -> dict[str, Tensor]:
        own, seen = student.features["pyramid"], teacher.features["pyramid"]
        _check_scale(own, seen)
        names = {stride: name for name, stride in seen.strides.items()}
        losses = []
        for name, stride in own.strides.items():
            if 2 * stride not in names:
                continue
            maps = own.levels[name]
            if str(stride) in self.aligners:
                maps = self.aligners[str(stride)](maps)
            target = seen.levels[names[2 * stride]]
            losses.append(pyramid_distance(maps, target, own.sizes, stride))
        return {"loss_pyramid": self.weight * self._ramped() * torch.stack(losses).sum()}

    def _ramped(self) -> float:
        """The factor of this iteration; 1 outside of a training."""
        if self.ramp == 0 or not has_event_storage():
            return 1.0
        return min(1.0, (get_event_storage().iter + 1) / self.ramp)


def _check_scale(student: Pyramid, teacher: Pyramid) -> None:
    for own, seen in zip(student.sizes, teacher.sizes, strict=True):
        if scaled_size(seen, SCALE) != tuple(own):
            raise ValueError(
                f"L_pyr: the student sees an image of {tuple(seen)} pixels at {tuple(own)}; levels "
                f"line up at half of it alone (MODEL.DYNAMIC.POLICY fixed, FIXED_SCALE {SCALE})"
            )
