"""Configuration keys of the models: what all spotters share, and what chooses a scale."""

from __future__ import annotations

from detectron2.config import CfgNode

__all__ = ["add_dynamic_config", "add_recognition_config"]


def add_recognition_config(cfg: CfgNode) -> None:
    """Add what holds for every spotter, in place."""
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
