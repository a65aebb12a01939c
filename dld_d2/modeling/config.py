"""Configuration keys of the models: what all spotters share, and what chooses a scale."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY

from dld_d2.modeling.cost.scale_costs import read_cost_table
from dld_d2.modeling.norms import NORMS
from dld_d2.modeling.selection.selector import POOLINGS
from dld_d2.modeling.spotters.contract import Spotter
from dld_d2.structures.allowed import Rule, each, empty_or, file, number, one_of, whole
from dld_d2.structures.vocabulary import Vocabulary

__all__ = [
    "ALLOWED",
    "add_dynamic_config",
    "add_multi_scale_teacher_config",
    "add_spotter_config",
    "conflicts",
]


def add_spotter_config(cfg: CfgNode) -> None:
    """Add what holds for every spotter, or all that look through a backbone, in place."""
    # Keep the statistics with which the backbone's batch norms start, those of ImageNet or of the
    # teacher, while their weights and biases learn: a few images per GPU, padded to one size, are
    # no better. It takes MODEL.WEIGHTS.
    cfg.MODEL.BACKBONE.FREEZE_STATISTICS = False

    rec = cfg.MODEL.RECOGNITION = CfgNode()
    # File with the characters that can be read, one line, in order. Empty: the 95 printable ASCII
    # characters, space first.
    rec.VOCABULARY = ""
    # Longest word in characters. Longer words train detection only.
    rec.MAX_LENGTH = 32


def add_dynamic_config(cfg: CfgNode) -> None:
    """Add what the meta-architecture DynamicSpotter is made of, in place."""
    dynamic = cfg.MODEL.DYNAMIC = CfgNode()
    # The meta-architecture that finds and reads words.
    dynamic.SPOTTER = "MaskRCNNSpotter"
    # Candidate scales of the sides of the full-resolution image.
    dynamic.SCALES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    # How an image's scale is chosen: by the "selector"; "fixed", at FIXED_SCALE; or "random" among
    # SCALES in training and FIXED_SCALE at inference.
    dynamic.POLICY = "selector"
    dynamic.FIXED_SCALE = 0.5
    # Relative cost of a scale: "measured" on this configuration, "power" for
    # scale ** COST_EXPONENT (the released code), or a file that tools/flops.py wrote.
    dynamic.COST = "measured"
    dynamic.COST_EXPONENT = 1.5
    # At inference this times the relative cost is subtracted from the selector's logits: above 0
    # cheaper, below 0 more accurate than trained.
    dynamic.COST_BIAS = 0.0

    selector = dynamic.SELECTOR = CfgNode()
    # The selector looks at the full-resolution image, shrunk by this factor.
    selector.INPUT_SCALE = 1.0
    selector.CHANNELS = (32, 64, 128, 256)
    selector.NORM = "BN"
    # How its features are pooled over the image: "mean" as published, or "mean_max", which sees
    # small words sooner.
    selector.POOLING = "mean"


def add_multi_scale_teacher_config(cfg: CfgNode) -> None:
    """Add what the meta-architecture MultiScaleTeacher has beyond a MaskRCNNSpotter, in place."""
    node = cfg.MODEL.MULTI_SCALE_TEACHER = CfgNode()
    # Weight of the losses of the fused maps; those of full and of half resolution have 1.
    node.FUSED_LOSS_WEIGHT = 0.4
    # Channels between the two layers that weigh full against half resolution.
    node.GATE_DIM = 32


def _spotters() -> list[str]:
    return sorted(
        name
        for name, model in META_ARCH_REGISTRY
        if isinstance(model, type) and issubclass(model, Spotter)
    )


def _cost(value: Any) -> str | None:
    if value in ("measured", "power") or os.path.isfile(value):
        return None
    return '"measured", "power", or a file (tools/flops.py --write-cost-table makes one)'


ALLOWED: Mapping[str, Rule] = {
    "MODEL.RECOGNITION.VOCABULARY": empty_or(file(Vocabulary.from_file)),
    "MODEL.RECOGNITION.MAX_LENGTH": whole(1, 1000, note="characters"),
    "MODEL.DYNAMIC.SPOTTER": one_of(_spotters),
    "MODEL.DYNAMIC.SCALES": each(number(0.05, 1), least=1, different=True),
    "MODEL.DYNAMIC.POLICY": one_of(("selector", "fixed", "random")),
    "MODEL.DYNAMIC.FIXED_SCALE": number(0.05, 1),
    "MODEL.DYNAMIC.COST": _cost,
    "MODEL.DYNAMIC.COST_EXPONENT": number(above=0, most=10),
    "MODEL.DYNAMIC.COST_BIAS": number(-1_000_000, 1_000_000),
    "MODEL.DYNAMIC.SELECTOR.INPUT_SCALE": number(0.05, 1),
    "MODEL.DYNAMIC.SELECTOR.CHANNELS": each(whole(1, 8192), least=1),
    "MODEL.DYNAMIC.SELECTOR.NORM": one_of(NORMS),
    "MODEL.DYNAMIC.SELECTOR.POOLING": one_of(POOLINGS),
    "MODEL.MULTI_SCALE_TEACHER.FUSED_LOSS_WEIGHT": number(above=0),
    "MODEL.MULTI_SCALE_TEACHER.GATE_DIM": whole(1, 8192),
}
"""Full name of a key -> what it may be."""


def conflicts(cfg: CfgNode) -> Iterator[tuple[str, str]]:
    """Keys whose value does not go with that of another one, and what is expected."""
    dynamic = cfg.MODEL.DYNAMIC
    if dynamic.POLICY in ("fixed", "random") and dynamic.FIXED_SCALE not in dynamic.SCALES:
        yield "MODEL.DYNAMIC.FIXED_SCALE", f"one of MODEL.DYNAMIC.SCALES, {dynamic.SCALES}"
    if os.path.isfile(dynamic.COST):
        try:
            read_cost_table(dynamic.COST, dynamic.SCALES)
        except (OSError, ValueError) as error:
            yield "MODEL.DYNAMIC.COST", f"a file that tools/flops.py wrote ({error})"
    selector = dynamic.SELECTOR
    if selector.NORM == "GN" and any(channels % 32 for channels in selector.CHANNELS):
        yield (
            "MODEL.DYNAMIC.SELECTOR.CHANNELS",
            'multiples of 32, because MODEL.DYNAMIC.SELECTOR.NORM "GN" takes 32 groups of them',
        )
