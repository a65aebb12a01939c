"""An FPN of which one level is used."""

from __future__ import annotations

from detectron2.modeling.backbone import FPN
from torch import nn

__all__ = ["drop_other_levels"]


def drop_other_levels(backbone: FPN, level: str) -> FPN:
    """Take the output convolutions of other levels out of an FPN, in place.

    `single_level_features` does not compute them. Left in, they would be parameters without a
    gradient, on which distributed training waits, and weights to be stored for nothing.

    Raises:
        ValueError: for a backbone that is no FPN, or a level that it does not have.
    """
    if not isinstance(backbone, FPN):
        raise ValueError(f"{level} is a level of an FPN, but the backbone is none")
    levels = list(backbone.output_shape())[: len(backbone.in_features)]
    if level not in levels:
        raise ValueError(f"the FPN has no convolution for {level!r}, only {levels}")
    for index, other in enumerate(reversed(levels)):
        if other == level:
            continue
        unused = backbone.output_convs[index]
        (name,) = (name for name, child in backbone.named_children() if child is unused)
        nothing = nn.Identity()
        setattr(backbone, name, nothing)
        backbone.output_convs[index] = nothing
    return backbone
