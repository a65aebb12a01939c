"""What spotters share that look at an image through one of Detectron2's backbones."""

from __future__ import annotations

from typing import Any, Self

from detectron2.config import CfgNode
from detectron2.modeling import Backbone
from torch import nn

from dld_d2.modeling.spotters.contract import Spotter

__all__ = ["BackboneSpotter"]


class BackboneSpotter(Spotter):
    """A spotter whose images are padded as its backbone wants them.

    Args:
        backbone: gives the features.
        freeze_statistics: whether the backbone's batch norms keep the statistics that they have.
        **kwargs: of `Spotter`.
    """

    def __init__(
        self, *, backbone: Backbone, freeze_statistics: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.freeze_statistics = freeze_statistics
        self.backbone = backbone

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """The arguments above but for the backbone, which a spotter builds itself."""
        return {
            "freeze_statistics": cfg.MODEL.BACKBONE.FREEZE_STATISTICS,
            **super().from_config(cfg),
        }

    def train(self, mode: bool = True) -> Self:
        """As for any module, but that frozen statistics stay as they are."""
        super().train(mode)
        if self.freeze_statistics:
            for module in self.backbone.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    @property
    def size_divisibility(self) -> int:
        return self.backbone.size_divisibility

    @property
    def padding_constraints(self) -> dict[str, int]:
        return self.backbone.padding_constraints
