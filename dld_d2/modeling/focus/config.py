"""Configuration keys of the network that looks first, FocusMap."""

from __future__ import annotations

from collections.abc import Mapping

from detectron2.config import CfgNode

from dld_d2.structures.allowed import Rule, number, whole

__all__ = ["ALLOWED", "add_config"]


def add_config(cfg: CfgNode) -> None:
    """Add the keys, in place."""
    focus = cfg.MODEL.FOCUS = CfgNode()
    # The network looks at the full-resolution image, shrunk by this factor.
    focus.INPUT_SCALE = 0.3
    # Parts of the backbone, counted from the image on, that stay as they start: 0 none, 1 the stem,
    # 2 the first stage as well, and so on.
    focus.FREEZE_AT = 2
    # A place with a word counts so often in the loss: few places have one.
    focus.POSITIVE_WEIGHT = 4.0
    focus.HEIGHT_LOSS_WEIGHT = 0.2
    # Probability of a word above which a place is looked at again; lower reads more, for more time.
    # Chosen on icdar2015_val, where 0.15 reads a seventh less and 2 points less well.
    focus.THRESHOLD = 0.1
    # Parts of an image are shrunk until their smallest words are so many pixels high. Chosen on
    # photographs of MLT2017, where 32 loses six words of 179, and 72 wins none.
    focus.TEXT_HEIGHT = 48.0


ALLOWED: Mapping[str, Rule] = {
    "MODEL.FOCUS.INPUT_SCALE": number(0.05, 1),
    "MODEL.FOCUS.FREEZE_AT": whole(0, 4),
    "MODEL.FOCUS.POSITIVE_WEIGHT": number(above=0),
    "MODEL.FOCUS.HEIGHT_LOSS_WEIGHT": number(0),
    "MODEL.FOCUS.THRESHOLD": number(above=0, below=1),
    "MODEL.FOCUS.TEXT_HEIGHT": number(1, 1000, note="pixels"),
}
"""Full name of a key -> what it may be."""
