"""Configuration keys of Text Perceptron; its reader's are those of MODEL.ROI_TEXT_HEAD."""

from __future__ import annotations

from collections.abc import Mapping

from detectron2.config import CfgNode

from dld_d2.modeling.norms import NORMS
from dld_d2.structures.allowed import Rule, name_of, number, one_of, whole

__all__ = ["ALLOWED", "add_config"]


def add_config(cfg: CfgNode) -> None:
    """Add the keys, in place."""
    node = cfg.MODEL.TEXT_PERCEPTRON = CfgNode()
    # FPN level in which words are sought and read; no other is computed.
    node.IN_FEATURE = "p2"

    node.HEAD = CfgNode()
    # Channels of the head's convolutions.
    node.HEAD.CONV_DIM = 256
    # Normalisation after each of them: "" (none) as published, or a name of Detectron2's.
    node.HEAD.NORM = ""

    # How the maps to be learnt are drawn: "cells", on the grid of the map itself, or "pixels", on
    # the input's pixels, of which every fourth is taken, as in the released code. At low resolution
    # that loses more of the thin parts. Words are put together accordingly.
    node.TARGETS = "cells"
    # Draw which cells of the background count, at random, so that they are fewer (the released
    # code: of G cells, F of words, 0.6 G - F do not).
    node.THIN_BACKGROUND = True

    # Factors of the losses: each of the four Dice losses, and the sums of smooth-L1 losses of the
    # corners seen from a word's head and tail, and of the outline seen from its centre.
    node.SEG_LOSS_WEIGHT = 1.0
    node.HEAD_LOSS_WEIGHT = 0.1
    node.TAIL_LOSS_WEIGHT = 0.1
    node.CENTRE_LOSS_WEIGHT = 0.01

    # Probabilities from which on a cell belongs to a centre, head, tail and boundary. Where several
    # do, the last of these counts.
    node.CENTRE_THRESH_TEST = 0.35
    node.HEAD_THRESH_TEST = 0.45
    node.TAIL_THRESH_TEST = 0.45
    node.BOUNDARY_THRESH_TEST = 0.35
    # A centre is a word if at least this part of what surrounds it is no background.
    node.BOND_THRESH_TEST = 0.6
    # Words whose mean centre probability is below this are left out. The released code knows no
    # such score, 0.
    node.SCORE_THRESH_TEST = 0.0


_PROBABILITY = number(0, 1, note="a probability")

ALLOWED: Mapping[str, Rule] = {
    "MODEL.TEXT_PERCEPTRON.IN_FEATURE": name_of("a feature map"),
    "MODEL.TEXT_PERCEPTRON.HEAD.CONV_DIM": whole(1, 8192, note="channels"),
    "MODEL.TEXT_PERCEPTRON.HEAD.NORM": one_of(NORMS),
    "MODEL.TEXT_PERCEPTRON.TARGETS": one_of(("cells", "pixels")),
    "MODEL.TEXT_PERCEPTRON.SEG_LOSS_WEIGHT": number(0),
    "MODEL.TEXT_PERCEPTRON.HEAD_LOSS_WEIGHT": number(0),
    "MODEL.TEXT_PERCEPTRON.TAIL_LOSS_WEIGHT": number(0),
    "MODEL.TEXT_PERCEPTRON.CENTRE_LOSS_WEIGHT": number(0),
    "MODEL.TEXT_PERCEPTRON.CENTRE_THRESH_TEST": _PROBABILITY,
    "MODEL.TEXT_PERCEPTRON.HEAD_THRESH_TEST": _PROBABILITY,
    "MODEL.TEXT_PERCEPTRON.TAIL_THRESH_TEST": _PROBABILITY,
    "MODEL.TEXT_PERCEPTRON.BOUNDARY_THRESH_TEST": _PROBABILITY,
    "MODEL.TEXT_PERCEPTRON.BOND_THRESH_TEST": number(0, 1, note="a share"),
    "MODEL.TEXT_PERCEPTRON.SCORE_THRESH_TEST": number(0, 1, note="0 leaves no word out"),
}
"""Full name of a key -> what it may be."""
