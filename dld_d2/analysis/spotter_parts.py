"""Which parts a spotter has, and what each costs for an input of a given size.

A spotter that is to be measured registers a function with `trace_spotter`.
"""

from __future__ import annotations

from functools import singledispatch
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from detectron2.modeling import FPN, StandardROIHeads
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


# What costs the same in an image of any size is measured once per spotter.
_REGION_PARTS: WeakKeyDictionary[nn.Module, list[PartCost]] = WeakKeyDictionary()


@trace_spotter.register
def _(spotter: MaskRCNNSpotter, image: Tensor) -> TracedSpotter:
    features = spotter.backbone(image)
    rpn, branch = spotter.proposal_generator, spotter.recognition
    rpn_features = [features[name] for name in rpn.in_features]
    if spotter not in _REGION_PARTS:
        _REGION_PARTS[spotter] = [
            *_detection_parts(spotter.roi_heads, features),
            *_recognition_parts(branch, features[branch.in_feature]),
        ]
    parts = [
        *_backbone_parts(spotter.backbone, image),
        PartCost("RPN head", per_image=module_cost(rpn.rpn_head, rpn_features), published=True),
        *_REGION_PARTS[spotter],
    ]
    if branch.roi_masking.conv_on == "map":
        cost = module_cost(branch.roi_masking.conv, features[branch.in_feature])
        parts.append(PartCost("RoI masking, conv on map", per_image=cost))
    return TracedSpotter(tuple(parts), rpn.post_nms_topk[False])


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


def _detection_parts(heads: StandardROIHeads, features: dict[str, Tensor]) -> list[PartCost]:
    box_channels = features[heads.box_in_features[0]].shape[1]
    mask_channels = features[heads.mask_in_features[0]].shape[1]
    pooled = torch.empty(1, box_channels, *_pair(heads.box_pooler.output_size), device="meta")
    masked = torch.empty(1, mask_channels, *_pair(heads.mask_pooler.output_size), device="meta")
    box = module_cost(lambda x: heads.box_predictor(heads.box_head(x)), pooled)
    return [
        PartCost("box head", per_proposal=box),
        PartCost("mask head", per_region=module_cost(heads.mask_head.layers, masked)),
    ]


def _recognition_parts(branch: RecognitionBranch, feature_map: Tensor) -> list[PartCost]:
    roi_masking, decoder = branch.roi_masking, branch.decoder
    height, width = roi_masking.size
    parts = []
    if roi_masking.conv_on == "crop":
        halo = feature_map.new_empty(1, feature_map.shape[1], height + 2, width + 2)
        cost = module_cost(roi_masking.conv, halo)
        parts.append(PartCost("RoI masking, conv on crops", per_region=cost))
    crops = feature_map.new_empty(1, roi_masking.conv.out_channels, height, width)
    sequence = branch.encoder(crops)
    memory = decoder.memory(sequence)
    previous = torch.empty(1, dtype=torch.int64, device="meta")
    step = module_cost(decoder.step, memory, previous, decoder.initial_state(sequence))
    return [
        *parts,
        PartCost("encoder", per_region=module_cost(branch.encoder, crops)),
        PartCost("context", per_region=module_cost(branch.context, sequence)),
        PartCost("decoder", per_region=module_cost(decoder.memory, sequence), per_character=step),
    ]
