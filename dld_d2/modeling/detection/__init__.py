"""Finding words: what Mask R-CNN needs beyond Detectron2's own parts."""

from .backbone import build_narrow_resnet_fpn_backbone
from .polygons import polygons_from_masks
from .roi_heads import TextROIHeads
from .rpn import TextRPN
from .single_level import single_level_features

__all__ = [
    "TextROIHeads",
    "TextRPN",
    "build_narrow_resnet_fpn_backbone",
    "polygons_from_masks",
    "single_level_features",
]
