"""Which parts a spotter has, and what each costs for an input of a given size.

A spotter that is to be measured registers a function with `trace_spotter`.
"""

from __future__ import annotations

from functools import singledispatch
from typing import NamedTuple

import torch
from detectron2.modeling import FPN
from torch import Tensor, nn

from dld_d2.modeling.recognition import RecognitionBranch
from dld_d2.modeling.spotters.mask_rcnn import MaskRCNNSpotter

from .cost_table import PartCost
from .multiply_adds import module_cost

__all__ = ["TracedSpotter", "trace_spotter"]


class TracedSpotter(NamedTuple):
    """Parts in the order in which they run, and proposals per image in testing, at most."""

    parts: tuple[PartCost, ...]
    max_proposals: int


@singledispatch
def trace_spotter(spotter: nn.Module, image: Tensor) -> TracedSpotter:
    """Measure the parts of a spotter.

    Args:
        spotter: as `on_meta` gives it.
        image: (1, 3, H, W) on the "meta" device, padded as the spotter pads it.

    Raises:
        TypeError: for a class of spotter that nothing is registered for.
    """
    raise TypeError(
        f"the cost of a {type(spotter).__name__} is not known; register a function for it with "
        "dld_d2.analysis.spotter_parts.trace_spotter"
    )


@trace_spotter.register
def _(spotter: MaskRCNNSpotter, image: Tensor) -> TracedSpotter:
    features = spotter.backbone(image)
    rpn, heads = spotter.proposal_generator, spotter.roi_heads
    rpn_features = [features[name] for name in rpn.in_features]
    box_channels = features[heads.box_in_features[0]].shape[1]
    mask_channels = features[heads.mask_in_features[0]].shape[1]
    pooled = torch.empty(1, box_channels, *_pair(heads.box_pooler.output_size), device="meta")
    masked = torch.empty(1, mask_channels, *_pair(heads.mask_pooler.output_size), device="meta")
    parts = (
        *_backbone_parts(spotter.backbone, image),
        PartCost("RPN head", per_image=module_cost(rpn.rpn_head, rpn_features), published=True),
        PartCost(
            "box head",
            per_proposal=module_cost(lambda x: heads.box_predictor(heads.box_head(x)), pooled),
        ),
        PartCost("mask head", per_region=module_cost(heads.mask_head.layers, masked)),
        *_recognition_parts(spotter.recognition, features),
    )
    return TracedSpotter(parts, rpn.post_nms_topk[False])


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)


def _backbone_parts(backbone: nn.Module, image: Tensor) -> list[PartCost]:
    whole = module_cost(backbone, image)
    if not isinstance(backbone, FPN):
        return [PartCost("backbone", per_image=whole, published=True)]
    bottom_up = module_cost(backbone.bottom_up, image)
    return [
        PartCost("backbone, bottom-up", per_image=bottom_up, published=True),
        PartCost("FPN", per_image=whole - bottom_up, published=True),
    ]


def _recognition_parts(branch: RecognitionBranch, features: dict[str, Tensor]) -> list[PartCost]:
    roi_masking = branch.roi_masking
    feature_map = features[branch.in_feature]
    height, width = roi_masking.size
    if roi_masking.conv_on == "map":
        conv = PartCost(
            "RoI masking, conv on map", per_image=module_cost(roi_masking.conv, feature_map)
        )
    else:
        halo = feature_map.new_empty(1, feature_map.shape[1], height + 2, width + 2)
        conv = PartCost(
            "RoI masking, conv on crops", per_region=module_cost(roi_masking.conv, halo)
        )
    crops = feature_map.new_empty(1, roi_masking.conv.out_channels, height, width)
    sequence = branch.encoder(crops)
    decoder = branch.decoder
    memory = decoder.memory(sequence)
    previous = torch.empty(1, dtype=torch.int64, device="meta")
    return [
        conv,
        PartCost("encoder", per_region=module_cost(branch.encoder, crops)),
        PartCost("context", per_region=module_cost(branch.context, sequence)),
        PartCost(
            "decoder",
            per_region=module_cost(decoder.memory, sequence),
            per_character=module_cost(
                decoder.step, memory, previous, decoder.initial_state(sequence)
            ),
        ),
    ]
