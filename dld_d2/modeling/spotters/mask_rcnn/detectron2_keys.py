"""What Detectron2's keys of Mask R-CNN may be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from detectron2.config import CfgNode
from detectron2.modeling import (
    ANCHOR_GENERATOR_REGISTRY,
    BACKBONE_REGISTRY,
    PROPOSAL_GENERATOR_REGISTRY,
    ROI_BOX_HEAD_REGISTRY,
    ROI_HEADS_REGISTRY,
    ROI_MASK_HEAD_REGISTRY,
)
from detectron2.modeling.proposal_generator.rpn import RPN_HEAD_REGISTRY

from dld_d2.modeling.norms import NORMS
from dld_d2.structures.allowed import Rule, each, empty_or, number, one_of, whole

__all__ = ["ALLOWED", "conflicts"]


def _names(registry: Any) -> Callable[[], list[str]]:
    return lambda: sorted(name for name, _ in registry)


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) else "the name of a feature map"


def _conv_dims(value: Any) -> str | None:
    rule = each(whole(1, 8192), least=1)
    return None if list(value) == [-1] else rule(value)


_SHARE = number(0, 1)
_CHANNELS = whole(1, 8192, note="channels")
_UNITS = whole(1, 65536, note="units")
_LAYERS = whole(0, 100, note="layers")
_NORM = one_of(NORMS)
_REGIONS = whole(1, 1_000_000, note="regions")
_POOLER = one_of(("ROIAlignV2", "ROIAlign", "ROIPool"))
_BOX_LOSS = one_of(("smooth_l1", "giou", "diou", "ciou"))
_FEATURES = each(_text, least=1, different=True)
_STAGES = each(one_of(("stem", "res2", "res3", "res4", "res5")), different=True)

ALLOWED: Mapping[str, Rule] = {
    "MODEL.BACKBONE.NAME": one_of(_names(BACKBONE_REGISTRY)),
    "MODEL.BACKBONE.FREEZE_AT": whole(0, 5, note="stages that stay as they are"),
    "MODEL.RESNETS.DEPTH": one_of((18, 34, 50, 101, 152)),
    "MODEL.RESNETS.OUT_FEATURES": _STAGES,
    "MODEL.RESNETS.NORM": _NORM,
    "MODEL.RESNETS.NUM_GROUPS": whole(1, 1024),
    "MODEL.RESNETS.WIDTH_PER_GROUP": whole(1, 8192),
    "MODEL.RESNETS.RES5_DILATION": one_of((1, 2)),
    "MODEL.RESNETS.RES2_OUT_CHANNELS": _CHANNELS,
    "MODEL.RESNETS.STEM_OUT_CHANNELS": _CHANNELS,
    "MODEL.FPN.IN_FEATURES": _STAGES,
    "MODEL.FPN.OUT_CHANNELS": _CHANNELS,
    "MODEL.FPN.NORM": _NORM,
    "MODEL.FPN.FUSE_TYPE": one_of(("sum", "avg")),
    "MODEL.PROPOSAL_GENERATOR.NAME": one_of(_names(PROPOSAL_GENERATOR_REGISTRY)),
    "MODEL.PROPOSAL_GENERATOR.MIN_SIZE": number(0),
    "MODEL.ANCHOR_GENERATOR.NAME": one_of(_names(ANCHOR_GENERATOR_REGISTRY)),
    "MODEL.ANCHOR_GENERATOR.SIZES": each(each(number(above=0), least=1), least=1),
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": each(each(number(above=0), least=1), least=1),
    "MODEL.ANCHOR_GENERATOR.OFFSET": number(0, below=1),
    "MODEL.RPN.HEAD_NAME": one_of(_names(RPN_HEAD_REGISTRY)),
    "MODEL.RPN.IN_FEATURES": _FEATURES,
    "MODEL.RPN.IOU_THRESHOLDS": each(_SHARE, 2, rising=True),
    "MODEL.RPN.IOU_LABELS": each(one_of((-1, 0, 1)), 3),
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE": _REGIONS,
    "MODEL.RPN.POSITIVE_FRACTION": number(above=0, most=1),
    "MODEL.RPN.BBOX_REG_LOSS_TYPE": _BOX_LOSS,
    "MODEL.RPN.BBOX_REG_LOSS_WEIGHT": number(0),
    "MODEL.RPN.BBOX_REG_WEIGHTS": each(number(above=0), 4),
    "MODEL.RPN.SMOOTH_L1_BETA": number(0),
    "MODEL.RPN.LOSS_WEIGHT": number(0),
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": _REGIONS,
    "MODEL.RPN.PRE_NMS_TOPK_TEST": _REGIONS,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": _REGIONS,
    "MODEL.RPN.POST_NMS_TOPK_TEST": _REGIONS,
    "MODEL.RPN.NMS_THRESH": number(above=0, most=1),
    "MODEL.RPN.CONV_DIMS": _conv_dims,
    "MODEL.ROI_HEADS.NAME": one_of(_names(ROI_HEADS_REGISTRY)),
    "MODEL.ROI_HEADS.NUM_CLASSES": whole(1),
    "MODEL.ROI_HEADS.IN_FEATURES": _FEATURES,
    "MODEL.ROI_HEADS.IOU_THRESHOLDS": each(_SHARE, 1),
    "MODEL.ROI_HEADS.IOU_LABELS": each(one_of((0, 1)), 2),
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": _REGIONS,
    "MODEL.ROI_HEADS.POSITIVE_FRACTION": number(above=0, most=1),
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": _SHARE,
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": number(above=0, most=1),
    "MODEL.ROI_BOX_HEAD.NAME": empty_or(one_of(_names(ROI_BOX_HEAD_REGISTRY))),
    "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE": _BOX_LOSS,
    "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT": number(0),
    "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": each(number(above=0), 4),
    "MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA": number(0),
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": whole(1, 512),
    "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": whole(0, 64, note="0 adapts it to the region"),
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": _POOLER,
    "MODEL.ROI_BOX_HEAD.NUM_FC": _LAYERS,
    "MODEL.ROI_BOX_HEAD.FC_DIM": _UNITS,
    "MODEL.ROI_BOX_HEAD.NUM_CONV": _LAYERS,
    "MODEL.ROI_BOX_HEAD.CONV_DIM": _CHANNELS,
    "MODEL.ROI_BOX_HEAD.NORM": _NORM,
    "MODEL.ROI_MASK_HEAD.NAME": one_of(_names(ROI_MASK_HEAD_REGISTRY)),
    "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION": whole(1, 512),
    "MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO": whole(0, 64, note="0 adapts it to the region"),
    "MODEL.ROI_MASK_HEAD.POOLER_TYPE": _POOLER,
    "MODEL.ROI_MASK_HEAD.NUM_CONV": _LAYERS,
    "MODEL.ROI_MASK_HEAD.CONV_DIM": _CHANNELS,
    "MODEL.ROI_MASK_HEAD.NORM": _NORM,
}
"""Full name of a key -> what it may be."""

# Those that make a pyramid of Detectron2's ResNet.
_PYRAMIDS = ("build_resnet_fpn_backbone", "build_narrow_resnet_fpn_backbone")


def conflicts(cfg: CfgNode) -> Iterator[tuple[str, str]]:
    """Keys whose value does not go with that of another one, and what is expected."""
    model = cfg.MODEL
    yield from _groups(cfg)
    if "MaskRCNNSpotter" not in (
        model.META_ARCHITECTURE,
        model.DYNAMIC.SPOTTER if model.META_ARCHITECTURE == "DynamicSpotter" else "",
    ):
        return
    if not model.MASK_ON:
        yield "MODEL.MASK_ON", "True: words are found by their masks"
    if model.KEYPOINT_ON:
        yield "MODEL.KEYPOINT_ON", "False: words have no keypoints"
    if model.ROI_HEADS.NUM_CLASSES != 1:
        yield "MODEL.ROI_HEADS.NUM_CLASSES", "1: there is one class, text"
    if not model.ROI_BOX_HEAD.NAME:
        yield "MODEL.ROI_BOX_HEAD.NAME", 'a head, such as "FastRCNNConvFCHead"'
    if model.BACKBONE.NAME in _PYRAMIDS:
        yield from _features(cfg)
    levels = len(model.RPN.IN_FEATURES)
    for key in ("SIZES", "ASPECT_RATIOS"):
        if len(model.ANCHOR_GENERATOR[key]) not in (1, levels):
            yield (
                f"MODEL.ANCHOR_GENERATOR.{key}",
                f"one list for all feature maps, or one for each of the {levels} of "
                "MODEL.RPN.IN_FEATURES",
            )


def _features(cfg: CfgNode) -> Iterator[tuple[str, str]]:
    """Names of feature maps that no other part makes."""
    model = cfg.MODEL
    made = list(model.RESNETS.OUT_FEATURES)
    if not model.FPN.IN_FEATURES or not set(model.FPN.IN_FEATURES) <= set(made):
        yield "MODEL.FPN.IN_FEATURES", f"some of MODEL.RESNETS.OUT_FEATURES, {made}"
        return
    levels = sorted(int(name[-1]) for name in model.FPN.IN_FEATURES if name != "stem")
    pyramid = [f"p{level}" for level in levels]
    # Another level is pooled from the last one.
    whole_pyramid = [*pyramid, f"p{levels[-1] + 1}"] if levels else []
    for key, names, known in (
        ("MODEL.RPN.IN_FEATURES", model.RPN.IN_FEATURES, whole_pyramid),
        ("MODEL.ROI_HEADS.IN_FEATURES", model.ROI_HEADS.IN_FEATURES, pyramid),
        ("MODEL.ROI_TEXT_HEAD.IN_FEATURE", [model.ROI_TEXT_HEAD.IN_FEATURE], pyramid),
    ):
        if not set(names) <= set(known):
            yield key, f"of the feature maps that MODEL.FPN.IN_FEATURES makes, {known}"


def _groups(cfg: CfgNode) -> Iterator[tuple[str, str]]:
    """Channels that cannot be normalised in groups."""
    model = cfg.MODEL
    for norm, keys in (
        ("RESNETS", ("RESNETS.STEM_OUT_CHANNELS", "RESNETS.RES2_OUT_CHANNELS")),
        ("FPN", ("FPN.OUT_CHANNELS",)),
        ("ROI_BOX_HEAD", ("ROI_BOX_HEAD.CONV_DIM",)),
        ("ROI_MASK_HEAD", ("ROI_MASK_HEAD.CONV_DIM",)),
        ("ROI_TEXT_HEAD", ("ROI_TEXT_HEAD.POOLER_CONV_DIM", "ROI_TEXT_HEAD.ENCODER.CONV_DIM")),
    ):
        if model[norm].NORM != "GN":
            continue
        for key in keys:
            node = model
            for name in key.split("."):
                node = node[name]
            if node % 32:
                yield (
                    f"MODEL.{key}",
                    f'a multiple of 32, because MODEL.{norm}.NORM "GN" takes 32 groups of channels',
                )
