"""Mask R-CNN with a text head: the paper's two-stage spotter."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import (
    FPN,
    META_ARCH_REGISTRY,
    Backbone,
    build_backbone,
    build_proposal_generator,
    build_roi_heads,
)
from detectron2.structures import ImageList, Instances
from torch import Tensor, nn

import dld_d2.modeling.spotters.attention_text_head
import dld_d2.modeling.spotters.mask_rcnn.rpn  # noqa: F401 (these register)
from dld_d2.modeling.backbones.single_level import single_level_features
from dld_d2.modeling.cost.multiply_adds import module_cost
from dld_d2.modeling.cost.parts import PartCost
from dld_d2.modeling.onnx_graphs import OnnxSpotter
from dld_d2.modeling.recognition.reading import Pyramid, Reading
from dld_d2.modeling.recognition.regions import Regions
from dld_d2.modeling.spotters.backbone_spotter import BackboneSpotter
from dld_d2.modeling.spotters.contract import Look, Spotter
from dld_d2.modeling.spotters.mask_rcnn.onnx_graphs import graphs
from dld_d2.modeling.spotters.mask_rcnn.roi_heads import TextROIHeads
from dld_d2.modeling.spotters.rows import Rows

__all__ = ["MaskRCNNSpotter"]


@META_ARCH_REGISTRY.register()
class MaskRCNNSpotter(BackboneSpotter):
    """Backbone, proposals, and heads for box, mask and text, as Detectron2 builds them.

    Args:
        backbone: an FPN.
        proposal_generator: an RPN.
        roi_heads: `TextROIHeads`, or what derives from them.
        **kwargs: of `BackboneSpotter`.
    """

    inference_keys = (
        *Spotter.inference_keys,
        "MODEL.BACKBONE.NAME",
        "MODEL.RESNETS.*",
        "MODEL.FPN.*",
        "MODEL.ANCHOR_GENERATOR.*",
        "MODEL.PROPOSAL_GENERATOR.*",
        "MODEL.RPN.HEAD_NAME",
        "MODEL.RPN.IN_FEATURES",
        "MODEL.RPN.CONV_DIMS",
        "MODEL.RPN.BBOX_REG_WEIGHTS",
        "MODEL.RPN.NMS_THRESH",
        "MODEL.RPN.*_TEST",
        "MODEL.MASK_ON",
        "MODEL.ROI_HEADS.NAME",
        "MODEL.ROI_HEADS.IN_FEATURES",
        "MODEL.ROI_HEADS.NUM_CLASSES",
        "MODEL.ROI_HEADS.*_TEST",
        "MODEL.ROI_BOX_HEAD.NAME",
        "MODEL.ROI_BOX_HEAD.NORM",
        "MODEL.ROI_BOX_HEAD.*_DIM",
        "MODEL.ROI_BOX_HEAD.NUM_*",
        "MODEL.ROI_BOX_HEAD.POOLER_*",
        "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG",
        "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS",
        "MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE",
        "MODEL.ROI_MASK_HEAD.*",
        "MODEL.ROI_TEXT_HEAD.NAME",
        "MODEL.ROI_TEXT_HEAD.IN_FEATURE",
        "MODEL.ROI_TEXT_HEAD.NORM",
        "MODEL.ROI_TEXT_HEAD.POOLER_*",
        "MODEL.ROI_TEXT_HEAD.*.*",
        "TEST.DETECTIONS_PER_IMAGE",
        "TEST.MASK_THRESH",
        "TEST.POLYGON_TOLERANCE",
    )

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        proposal_generator: nn.Module,
        roi_heads: TextROIHeads,
        **kwargs: Any,
    ) -> None:
        super().__init__(backbone=backbone, **kwargs)
        self.proposal_generator = proposal_generator
        self.roi_heads = roi_heads
        # Convolutions are faster with channels last, on CPUs by a third and more, on GPUs in mixed
        # precision; RoI masking reads rows of channels anyway.
        self.to(memory_format=torch.channels_last)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        backbone = build_backbone(cfg)
        shape = backbone.output_shape()
        return {
            "backbone": backbone,
            "proposal_generator": build_proposal_generator(cfg, shape),
            "roi_heads": build_roi_heads(cfg, shape),
            **super().from_config(cfg),
        }

    @property
    def feature_shapes(self) -> Mapping[str, tuple[int, ...] | None]:
        levels = self.backbone.output_shape().values()
        widths = {level.channels for level in levels}
        strides = [level.stride for level in levels]
        return {
            **self.roi_heads.text_head.feature_shapes,
            "pyramid": (*widths, *strides) if len(widths) == 1 else None,
        }

    @property
    def score_threshold(self) -> float:
        return self.roi_heads.box_predictor.test_score_thresh

    @score_threshold.setter
    def score_threshold(self, value: float) -> None:
        self.roi_heads.box_predictor.test_score_thresh = value

    @property
    def max_proposals(self) -> int:
        return self.proposal_generator.post_nms_topk[False]

    def perturb(self, targets: list[Instances]) -> list[Instances]:
        return self.roi_heads.text_head.perturb(targets)

    def read_rows(self, images: ImageList, rows: Rows, want: Collection[str]) -> Reading:
        if "pyramid" in want:
            features = self.backbone(images.tensor)
        else:
            level = self.roi_heads.text_head.in_feature
            features = single_level_features(self.backbone, images.tensor, level)
        reading = self.roi_heads.read_rows(features, rows, want)
        return self._with_pyramid(reading, images, features, want)

    def losses_and_rows(
        self, images: ImageList, targets: list[Instances], rows: Rows, want: Collection[str]
    ) -> tuple[dict[str, Tensor], Reading]:
        """The losses of detection have Detectron2's names."""
        features = self.backbone(images.tensor)
        losses, reading = self.head_losses(images, features, targets, rows, want)
        return losses, self._with_pyramid(reading, images, features, want)

    def head_losses(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        targets: list[Instances],
        rows: Rows,
        want: Collection[str] = (),
    ) -> tuple[dict[str, Tensor], Reading]:
        """`losses_and_rows` of feature maps that are there already; a pyramid is not looked for."""
        proposals, losses = self.proposal_generator(images, features, targets)
        head_losses, reading = self.roi_heads.losses(
            images, features, proposals, targets, rows, want
        )
        return losses | head_losses, reading

    def features(self, images: ImageList) -> dict[str, Tensor]:
        return self.backbone(images.tensor)

    def find(self, images: ImageList, features: dict[str, Tensor]) -> list[Instances]:
        proposals, _ = self.proposal_generator(images, features, None)
        return self.roi_heads(images, features, proposals, None)[0]

    def read(self, look: Look, regions: Instances) -> list[str]:
        found = Regions.from_targets([regions]).in_image(look.index)
        return self.roi_heads.text_head.read(look.features, found).texts

    def onnx(self) -> OnnxSpotter:
        heads = self.roi_heads
        return OnnxSpotter(
            kind="mask_rcnn",
            graphs=graphs(self),
            settings={
                "score_threshold": self.score_threshold,
                "mask_threshold": heads.mask_thresh,
                "polygon_tolerance": heads.polygon_tolerance,
                "max_length": self.max_length,
            },
        )

    def image_cost(self, image: Tensor) -> list[PartCost]:
        rpn, head = self.proposal_generator, self.roi_heads.text_head
        features = self.backbone(image)
        whole = module_cost(self.backbone, image)
        if isinstance(self.backbone, FPN):
            bottom_up = module_cost(self.backbone.bottom_up, image)
            backbone = [
                PartCost("backbone, bottom-up", per_image=bottom_up, published=True),
                PartCost("FPN", per_image=whole - bottom_up, published=True),
            ]
        else:
            backbone = [PartCost("backbone", per_image=whole, published=True)]
        rpn_cost = module_cost(rpn.rpn_head, [features[name] for name in rpn.in_features])
        return [
            *backbone,
            PartCost("RPN head", per_image=rpn_cost, published=True),
            *head.map_cost(features[head.in_feature]),
        ]

    def region_cost(self) -> list[PartCost]:
        heads, shapes = self.roi_heads, self.backbone.output_shape()
        box = module_cost(
            lambda x: heads.box_predictor(heads.box_head(x)),
            _pooled(heads.box_pooler, shapes[heads.box_in_features[0]].channels),
        )
        mask = module_cost(
            heads.mask_head.layers,
            _pooled(heads.mask_pooler, shapes[heads.mask_in_features[0]].channels),
        )
        return [
            PartCost("box head", per_proposal=box),
            PartCost("mask head", per_region=mask),
            *heads.text_head.region_cost(),
        ]

    def _with_pyramid(
        self,
        reading: Reading,
        images: ImageList,
        features: dict[str, Tensor],
        want: Collection[str],
    ) -> Reading:
        if "pyramid" not in want:
            return reading
        strides = {name: level.stride for name, level in self.backbone.output_shape().items()}
        return reading.with_feature("pyramid", Pyramid(features, strides, images.image_sizes))


def _pooled(pooler: Any, channels: int) -> Tensor:
    """A region's features, one alone, as a pooler gives them."""
    size = pooler.output_size
    size = (size, size) if isinstance(size, int) else tuple(size)
    return torch.empty(1, channels, *size, device="meta")
