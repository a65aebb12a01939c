"""The RoI head that reads: registered and named in the configuration as box and mask heads are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.structures import Instances
from detectron2.utils.registry import Registry
from torch import Tensor, nn

from dld_d2.modeling.cost.parts import PartCost
from dld_d2.modeling.recognition.reading import Reading, Transcripts
from dld_d2.modeling.recognition.regions import Regions

__all__ = ["ROI_TEXT_HEAD_REGISTRY", "ROITextHead", "build_text_head"]

ROI_TEXT_HEAD_REGISTRY = Registry("ROI_TEXT_HEAD")
ROI_TEXT_HEAD_REGISTRY.__doc__ = """
Heads that read regions, subclasses of `ROITextHead`; called with `cfg` and the feature maps'
`ShapeSpec` by name.
"""


def build_text_head(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> ROITextHead:
    """The head that MODEL.ROI_TEXT_HEAD.NAME names.

    Raises:
        ValueError: if no head has that name.
    """
    name = cfg.MODEL.ROI_TEXT_HEAD.NAME
    if name not in ROI_TEXT_HEAD_REGISTRY:
        known = ", ".join(sorted(key for key, _ in ROI_TEXT_HEAD_REGISTRY))
        raise ValueError(
            f"MODEL.ROI_TEXT_HEAD.NAME: there is no text head {name!r}; registered are {known}"
        )
    return ROI_TEXT_HEAD_REGISTRY.get(name)(cfg, input_shape)


class ROITextHead(nn.Module, ABC):
    """Reads regions of feature maps.

    Feature maps are (B, C, H, W) by name.
    """

    @property
    @abstractmethod
    def feature_shapes(self) -> Mapping[str, tuple[int, ...] | None]:
        """As `Spotter.feature_shapes`, but for the feature maps themselves."""

    @property
    @abstractmethod
    def in_feature(self) -> str:
        """Name of the feature map that is read."""

    @abstractmethod
    def forward(
        self,
        features: dict[str, Tensor],
        regions: Regions,
        texts: Tensor,
        want: Collection[str] = (),
    ) -> Reading:
        """Read N >= 1 regions along their texts, (N, T) int64 as `Vocabulary.encode` gives them."""

    @abstractmethod
    def losses(self, reading: Reading) -> dict[str, Tensor]:
        """Weighted losses of what `forward` gave; 0 where no text has a character."""

    @abstractmethod
    def read(self, features: dict[str, Tensor], regions: Regions) -> Transcripts:
        """Read N >= 0 regions, without gradient."""

    @abstractmethod
    def map_cost(self, feature: Tensor) -> list[PartCost]:
        """Parts that go over the whole feature map; everything is on the "meta" device."""

    @abstractmethod
    def region_cost(self) -> list[PartCost]:
        """Parts that are paid per region and per character."""

    def perturb(self, targets: list[Instances]) -> list[Instances]:
        """See `Spotter.perturb`."""
        return targets
