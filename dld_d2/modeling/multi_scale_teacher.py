"""A teacher whose feature maps are fused of full and half resolution."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.modeling import FPN, META_ARCH_REGISTRY
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from detectron2.structures import ImageList, Instances
from torch import Tensor, nn

from dld_d2.modeling.backbones.padding import cells_on_images
from dld_d2.modeling.recognition.reading import Pyramid, Reading
from dld_d2.modeling.selection.views import scale_images
from dld_d2.modeling.spotters.mask_rcnn.spotter import MaskRCNNSpotter
from dld_d2.modeling.spotters.rescale import scale_targets
from dld_d2.modeling.spotters.rows import Rows

__all__ = ["MultiScaleTeacher", "ScaleGate"]


class ScaleGate(nn.Module):
    """Weighs maps of two resolutions, image by image.

    The means of both maps go through two linear layers and a softmax, whose two shares (a, b) weigh
    them: a * high + b * low (Qi et al., CVPR 2021).

    Args:
        channels: C of either map.
        hidden_dim: between the layers.
    """

    def __init__(self, channels: int, hidden_dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 * channels, hidden_dim, bias=False),
            nn.ReLU(),
            nn.Linear(hidden_dim, 2, bias=False),
        )

    def forward(self, high: Tensor, low: Tensor, on_image: Tensor) -> Tensor:
        """
        Args:
            high, low: (B, C, h, w).
            on_image: (B, 1, h, w) bool, False in an image's padding, which is not looked at.

        Returns:
            (B, C, h, w).
        """
        # Sums over a map are no matter for half precision.
        both = torch.cat([high, low], dim=1).float() * on_image
        means = both.sum(dim=(2, 3)) / on_image.sum(dim=(2, 3)).clamp(min=1)
        a, b = self.layers(means).softmax(dim=1).to(high.dtype)[:, :, None, None, None].unbind(1)
        return a * high + b * low


@META_ARCH_REGISTRY.register()
class MultiScaleTeacher(MaskRCNNSpotter):
    """A Mask R-CNN spotter that is trained at full and at half resolution together, and by a fusion
    of both pyramids, whose levels line up: each of full resolution with the next finer one of half
    (Qi et al., Multi-Scale Aligned Distillation for Low-Resolution Detection, CVPR 2021).

    It finds and reads as any such spotter does, without the gate. The pyramid of its readings is
    the fused one, on the grid of half resolution; that is what it teaches (`PyramidTerm`).

    Args:
        backbone: an FPN whose last level is pooled of the one before.
        gate: of all levels.
        fused_loss_weight: of the losses of the fused maps; those of full and of half resolution
            have 1.
        **kwargs: of `MaskRCNNSpotter`.

    Raises:
        ValueError: for a backbone that is no FPN with a pooled last level.
    """

    inference_keys = (*MaskRCNNSpotter.inference_keys, "MODEL.MULTI_SCALE_TEACHER.*")
    teaches_only = True

    @configurable
    def __init__(
        self, *, backbone: FPN, gate: ScaleGate, fused_loss_weight: float, **kwargs: Any
    ) -> None:
        if not (isinstance(backbone, FPN) and isinstance(backbone.top_block, LastLevelMaxPool)):
            raise ValueError(
                "MODEL.BACKBONE.NAME: a MultiScaleTeacher fuses levels of an FPN whose last one is "
                f"pooled of the one before; this is a {type(backbone).__name__}"
            )
        super().__init__(backbone=backbone, **kwargs)
        self.gate = gate
        self.fused_loss_weight = fused_loss_weight

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        node = cfg.MODEL.MULTI_SCALE_TEACHER
        return {
            **super().from_config(cfg),
            "gate": ScaleGate(cfg.MODEL.FPN.OUT_CHANNELS, node.GATE_DIM),
            "fused_loss_weight": node.FUSED_LOSS_WEIGHT,
        }

    @property
    def feature_shapes(self) -> Mapping[str, tuple[int, ...] | None]:
        shapes = super().feature_shapes
        channels, *strides = shapes["pyramid"]
        # The finest level of full resolution has no partner, and the coarsest is made of another.
        return {**shapes, "pyramid": (channels, *strides[1:])}

    def student_state(self) -> dict[str, Tensor]:
        state = super().student_state()
        return {name: value for name, value in state.items() if not name.startswith("gate.")}

    def read_rows(self, images: ImageList, rows: Rows, want: Collection[str]) -> Reading:
        if "pyramid" not in want:
            return super().read_rows(images, rows, want)
        high, half = self.backbone(images.tensor), self._half(images)
        fused = self._fuse(high, self.backbone(half.tensor), half)
        return self._with_fused(self.roi_heads.read_rows(high, rows, want), images, fused)

    def losses_and_rows(
        self, images: ImageList, targets: list[Instances], rows: Rows, want: Collection[str]
    ) -> tuple[dict[str, Tensor], Reading]:
        """The losses thrice: as they are called, of full resolution; with `_half` and `_fused` at
        their end, of half resolution and of the fused maps."""
        high, half = self.backbone(images.tensor), self._half(images)
        low = self.backbone(half.tensor)
        fused = self._fuse(high, low, half)
        losses, reading = self.head_losses(images, high, targets, rows, want)
        targets = scale_targets(targets, half.image_sizes)
        rows = Rows.of(targets)
        for name, maps, weight in (("half", low, 1.0), ("fused", fused, self.fused_loss_weight)):
            found, _ = self.head_losses(half, maps, targets, rows)
            losses |= {f"{loss}_{name}": weight * value for loss, value in found.items()}
        return losses, self._with_fused(reading, images, fused) if "pyramid" in want else reading

    def _half(self, images: ImageList) -> ImageList:
        return self.batch(scale_images(images, [0.5] * len(images)))

    def _fuse(
        self, high: dict[str, Tensor], low: dict[str, Tensor], half: ImageList
    ) -> dict[str, Tensor]:
        """Maps in place of those of half resolution, with the same names and sizes."""
        shapes, fused = self.backbone.output_shape(), {}
        for name, coarser in itertools.pairwise(low):
            own = low[name]
            (height, width), (rows, columns) = own.shape[2:], high[coarser].shape[2:]
            # Both are padded by themselves; what differs lies beyond the images.
            above = F.pad(high[coarser], (0, width - columns, 0, height - rows))
            on_image = cells_on_images(
                half.image_sizes, shapes[name].stride, (height, width), own.device
            )
            fused[name] = self.gate(above, own, on_image)
        coarsest, top = list(low)[-1], self.backbone.top_block
        (fused[coarsest],) = top(fused[top.in_feature])
        return fused

    def _with_fused(self, reading: Reading, images: ImageList, fused: dict[str, Tensor]) -> Reading:
        """With fused maps by the names that they have at full resolution."""
        strides = {name: level.stride for name, level in self.backbone.output_shape().items()}
        levels = {coarser: fused[name] for name, coarser in itertools.pairwise(strides)}
        strides = {name: strides[name] for name in levels}
        return reading.with_feature("pyramid", Pyramid(levels, strides, images.image_sizes))
