"""One level of a feature pyramid without the cost of the others."""

from __future__ import annotations

import torch.nn.functional as F
from detectron2.modeling.backbone import FPN
from torch import Tensor

__all__ = ["single_level_features"]


def single_level_features(backbone: FPN, image: Tensor, level: str) -> dict[str, Tensor]:
    """What `backbone(image)[level]` is, without the output convolutions of the other levels.

    Reading words needs one level only.

    Args:
        backbone: Detectron2's FPN.
        image: (B, 3, H, W).
        level: a level that has a lateral convolution, such as "p2".

    Returns:
        {level: (B, C, H / stride, W / stride)}.

    Raises:
        ValueError: for another level.
    """
    bottom_up = backbone.bottom_up(image)
    # From the coarsest level to the finest, the order of the FPN's lists of convolutions.
    inputs = backbone.in_features[::-1]
    levels = list(backbone.output_shape())[: len(inputs)][::-1]
    if level not in levels:
        raise ValueError(f"the FPN has no lateral convolution for {level!r}, only {levels}")
    wanted = levels.index(level)
    merged = backbone.lateral_convs[0](bottom_up[inputs[0]])
    for i in range(1, wanted + 1):
        above = F.interpolate(merged, scale_factor=2.0, mode="nearest")
        merged = backbone.lateral_convs[i](bottom_up[inputs[i]]) + above
        if backbone._fuse_type == "avg":
            merged = merged / 2
    return {level: backbone.output_convs[wanted](merged)}
