"""Configuration keys of the text head, whichever spotter has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detectron2.config import CfgNode

from dld_d2.modeling.norms import NORMS
from dld_d2.modeling.spotters.text_head import ROI_TEXT_HEAD_REGISTRY
from dld_d2.structures.allowed import Rule, each, number, one_of, whole

__all__ = ["ALLOWED", "add_config"]


def add_config(cfg: CfgNode) -> None:
    """Add the keys, in place."""
    head = cfg.MODEL.ROI_TEXT_HEAD = CfgNode()
    # The head that reads; registered with ROI_TEXT_HEAD_REGISTRY.
    head.NAME = "AttentionTextHead"
    # FPN level that it reads. The published head uses p2 only (stride 4).
    head.IN_FEATURE = "p2"
    # Factor of the recognition loss, lambda 1 of the paper.
    head.LOSS_WEIGHT = 1.0
    # Weight of a CTC loss on the contextual features, which helps the decoder to find out where to
    # look, in training only. The published head learns without, 0.
    head.CTC_WEIGHT = 0.0
    # Normalisation of all its convolutions: "BN", "SyncBN", "GN" or "FrozenBN".
    head.NORM = "BN"
    # In training the sides of ground-truth regions move at random by up to this fraction of their
    # shorter side, so that the head gets used to regions as the detector finds them. In
    # distillation teacher and student look at the same ones. The published head learns on exact
    # regions, 0.
    head.JITTER = 0.0

    # Height and width of a region's features. (16, 64) is the paper's ablation.
    head.POOLER_RESOLUTION = (8, 32)
    # Feature pixels by which a region is enlarged on each side before it is cropped.
    head.POOLER_ENLARGE = 1
    # A region higher than this many widths is transposed, so that vertical words lie down.
    head.POOLER_TRANSPOSE_RATIO = 1.5
    # Where the 3x3 convolution before cropping runs: "map", on the whole feature map as published;
    # or "crop", on the resized regions with a halo of one pixel, which costs the same for each
    # region, a fifth of the network less (configs/fast, configs/tiny).
    head.POOLER_CONV_ON = "map"
    head.POOLER_CONV_DIM = 256

    head.ENCODER = CfgNode()
    # Channels of the six convolutions and number of 3x3 ones among them.
    head.ENCODER.CONV_DIM = 256
    head.ENCODER.NUM_CONV = 4

    head.CONTEXT = CfgNode()
    # Stacked bidirectional LSTMs and their hidden units per direction.
    head.CONTEXT.NUM_LAYERS = 2
    head.CONTEXT.HIDDEN_DIM = 256

    head.DECODER = CfgNode()
    # Units of the attention and of the decoder's LSTM cell.
    head.DECODER.HIDDEN_DIM = 256


def _text_heads() -> list[str]:
    return sorted(name for name, _ in ROI_TEXT_HEAD_REGISTRY)


def _pooler_resolution(value: Any) -> str | None:
    expected = each(whole(1, 512), 2)(value)
    if expected is None and value[0] < 8:
        # The encoder's pooling and convolutions leave less than one row of fewer.
        return "a height of at least 8 and a width"
    return expected


_UNITS = whole(1, 8192)
_CHANNELS = whole(1, 8192, note="channels")

ALLOWED: Mapping[str, Rule] = {
    "MODEL.ROI_TEXT_HEAD.NAME": one_of(_text_heads),
    "MODEL.ROI_TEXT_HEAD.LOSS_WEIGHT": number(0),
    "MODEL.ROI_TEXT_HEAD.CTC_WEIGHT": number(0, note="0 leaves it out"),
    "MODEL.ROI_TEXT_HEAD.NORM": one_of(NORMS),
    "MODEL.ROI_TEXT_HEAD.JITTER": number(0, below=0.5),
    "MODEL.ROI_TEXT_HEAD.POOLER_RESOLUTION": _pooler_resolution,
    "MODEL.ROI_TEXT_HEAD.POOLER_ENLARGE": whole(0, 100, note="feature pixels"),
    "MODEL.ROI_TEXT_HEAD.POOLER_TRANSPOSE_RATIO": number(above=0),
    "MODEL.ROI_TEXT_HEAD.POOLER_CONV_ON": one_of(("map", "crop")),
    "MODEL.ROI_TEXT_HEAD.POOLER_CONV_DIM": _CHANNELS,
    "MODEL.ROI_TEXT_HEAD.ENCODER.CONV_DIM": _CHANNELS,
    "MODEL.ROI_TEXT_HEAD.ENCODER.NUM_CONV": whole(1, 100),
    "MODEL.ROI_TEXT_HEAD.CONTEXT.NUM_LAYERS": whole(0, 100),
    "MODEL.ROI_TEXT_HEAD.CONTEXT.HIDDEN_DIM": _UNITS,
    "MODEL.ROI_TEXT_HEAD.DECODER.HIDDEN_DIM": _UNITS,
}
"""Full name of a key -> what it may be."""
