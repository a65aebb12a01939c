"""From a configuration to the parts of a dynamic spotter."""

from __future__ import annotations

import os

import torch
from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor

from dld_d2.modeling.cost.resizing import full_resolution_sizes
from dld_d2.modeling.cost.scale_costs import power_law_cost, read_cost_table
from dld_d2.modeling.selection.policies import DynamicScale, FixedScale, RandomScale, ScalePolicy
from dld_d2.modeling.selection.selector import ResolutionSelector
from dld_d2.modeling.spotter_cost import SpotterCost
from dld_d2.modeling.spotters.contract import Spotter

__all__ = ["build_policy", "build_selector", "build_spotter", "relative_cost"]


def build_spotter(cfg: CfgNode) -> Spotter:
    """The spotter MODEL.DYNAMIC.SPOTTER with random weights, on MODEL.DEVICE.

    Raises:
        ValueError: if no spotter has that name.
    """
    name = cfg.MODEL.DYNAMIC.SPOTTER
    found = META_ARCH_REGISTRY.get(name) if name in META_ARCH_REGISTRY else None
    if not (isinstance(found, type) and issubclass(found, Spotter)):
        known = sorted(
            key
            for key, value in META_ARCH_REGISTRY
            if isinstance(value, type) and issubclass(value, Spotter)
        )
        raise ValueError(
            f"MODEL.DYNAMIC.SPOTTER: there is no spotter {name!r}; registered are "
            f"{', '.join(known)}"
        )
    return found(cfg).to(cfg.MODEL.DEVICE)


def build_selector(cfg: CfgNode) -> ResolutionSelector:
    """The selector of MODEL.DYNAMIC.SELECTOR with random weights.

    Raises:
        ValueError: as `ResolutionSelector`.
    """
    selector = cfg.MODEL.DYNAMIC.SELECTOR
    return ResolutionSelector(
        num_scales=len(cfg.MODEL.DYNAMIC.SCALES),
        channels=selector.CHANNELS,
        norm=selector.NORM,
        input_scale=selector.INPUT_SCALE,
        pooling=selector.POOLING,
    )


def build_policy(cfg: CfgNode) -> ScalePolicy:
    """What chooses among MODEL.DYNAMIC.SCALES.

    Raises:
        ValueError: naming the key, for a value that cannot be used.
    """
    dynamic = cfg.MODEL.DYNAMIC
    scales = dynamic.SCALES
    if not scales or not all(0 < s <= 1 for s in scales) or len(set(scales)) < len(scales):
        raise ValueError(f"MODEL.DYNAMIC.SCALES: {scales} are not different numbers in (0, 1]")
    if dynamic.POLICY == "selector":
        return DynamicScale(build_selector(cfg), cost_bias=dynamic.COST_BIAS)
    kinds = {"fixed": FixedScale, "random": RandomScale}
    if dynamic.POLICY not in kinds:
        raise ValueError(
            f'MODEL.DYNAMIC.POLICY: {dynamic.POLICY!r} is none of "selector", "fixed" and "random"'
        )
    if dynamic.FIXED_SCALE not in scales:
        raise ValueError(
            f"MODEL.DYNAMIC.FIXED_SCALE: {dynamic.FIXED_SCALE} is not among SCALES {scales}"
        )
    index = list(scales).index(dynamic.FIXED_SCALE)
    return kinds[dynamic.POLICY](index, len(scales))


def relative_cost(cfg: CfgNode, spotter: Spotter) -> Tensor:
    """Forward cost at each scale, (k,), the full resolution's being 1, as MODEL.DYNAMIC.COST says.

    Raises:
        ValueError: if that is none of what it can be, and as `read_cost_table`.
    """
    dynamic = cfg.MODEL.DYNAMIC
    scales = dynamic.SCALES
    if dynamic.COST == "power":
        cost = power_law_cost(scales, dynamic.COST_EXPONENT)
    elif dynamic.COST == "measured":
        # A photograph of 1080p stands for the data set that nobody has measured.
        limits = cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST
        (size,) = full_resolution_sizes([(1080, 1920)], *limits)
        meter = SpotterCost(spotter)
        full = meter.table(*size).published
        cost = [meter.table(*size, scale=scale).published / full for scale in scales]
    elif os.path.isfile(dynamic.COST):
        cost = read_cost_table(dynamic.COST, scales)
    else:
        raise ValueError(
            f'MODEL.DYNAMIC.COST: {dynamic.COST!r} is neither "measured" nor "power" nor a file '
            "(tools/flops.py --write-cost-table makes one)"
        )
    return torch.tensor(cost, dtype=torch.float32)
