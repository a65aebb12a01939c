"""The reader: the published one, on words that are laid straight between their sides."""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec

from dld_d2.modeling.spotters.attention_text_head import AttentionTextHead
from dld_d2.modeling.spotters.text_perceptron.shape_transform import ShapeTransform

__all__ = ["StraightenedTextHead"]


class StraightenedTextHead(AttentionTextHead):
    """`AttentionTextHead` whose regions are `SideRegions`; all but its first stage is the same, and
    that stage keeps its name, so that weights fit."""

    first_stage_name = "shape transform"

    @classmethod
    def first_stage(cls, cfg: CfgNode, shape: ShapeSpec) -> ShapeTransform:
        head = cfg.MODEL.ROI_TEXT_HEAD
        return ShapeTransform(
            in_channels=shape.channels,
            out_channels=head.POOLER_CONV_DIM,
            size=head.POOLER_RESOLUTION,
            stride=shape.stride,
            conv_on=head.POOLER_CONV_ON,
            norm=head.NORM,
        )

    @classmethod
    def in_feature_of(cls, cfg: CfgNode) -> str:
        return cfg.MODEL.TEXT_PERCEPTRON.IN_FEATURE
