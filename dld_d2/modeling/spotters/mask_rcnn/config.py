"""Configuration keys of Mask R-CNN with a text head, beyond Detectron2's and the head's."""

from __future__ import annotations

from collections.abc import Mapping

from detectron2.config import CfgNode

from dld_d2.modeling.spotters.mask_rcnn import detectron2_keys
from dld_d2.modeling.spotters.mask_rcnn.detectron2_keys import conflicts
from dld_d2.structures.allowed import Rule, number

__all__ = ["ALLOWED", "add_config", "conflicts"]


def add_config(cfg: CfgNode) -> None:
    """Add the keys, in place."""
    # A region whose intersection with a don't-care region exceeds this fraction of its own area is
    # never sampled as a negative, neither by the RPN nor by the box head.
    cfg.MODEL.IGNORE_IOA_THRESH = 0.5
    # A pixel belongs to a word when its mask probability exceeds this.
    cfg.TEST.MASK_THRESH = 0.5
    # Polygons are simplified with this tolerance, as a fraction of their perimeter.
    cfg.TEST.POLYGON_TOLERANCE = 0.01


ALLOWED: Mapping[str, Rule] = {
    **detectron2_keys.ALLOWED,
    "MODEL.IGNORE_IOA_THRESH": number(0, 1),
    "TEST.MASK_THRESH": number(0, 1, note="a probability"),
    "TEST.POLYGON_TOLERANCE": number(0, 1, note="a fraction of the perimeter"),
}
"""Full name of a key -> what it may be."""
