"""What of the one-stage spotter's configuration is no size of a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.utils.events import get_event_storage, has_event_storage
from torch import Tensor

__all__ = ["Options"]


@dataclass
class Options:
    """See `dld_d2.modeling.spotters.mango.config` for what each means."""

    grid_size: int
    grid_over: str
    pooling: str
    rows: str
    shrink_ratio: float
    center_line_loss_weight: float
    category_loss_weight: float
    reading_loss_weight: float
    mask_loss_weight: float
    empty_after_end: bool
    forced_masks_iters: int
    forced_masks_prob: float
    center_threshold: float
    category_threshold: float
    min_area: int
    unclip_ratio: float
    score_threshold: float

    @classmethod
    def from_config(cls, mango: CfgNode) -> Options:
        """Of the section MODEL.MANGO."""
        return cls(
            grid_size=mango.GRID_SIZE,
            grid_over=mango.GRID_OVER,
            pooling=mango.FUSION.POOLING,
            rows=mango.ROWS,
            shrink_ratio=mango.SHRINK_RATIO,
            center_line_loss_weight=mango.CENTER_LINE_LOSS_WEIGHT,
            category_loss_weight=mango.CATEGORY_LOSS_WEIGHT,
            reading_loss_weight=mango.READING_LOSS_WEIGHT,
            mask_loss_weight=mango.MASK_LOSS_WEIGHT,
            empty_after_end=mango.EMPTY_AFTER_END,
            forced_masks_iters=mango.FORCED_MASKS_ITERS,
            forced_masks_prob=mango.FORCED_MASKS_PROB,
            center_threshold=mango.CENTER_THRESH_TEST,
            category_threshold=mango.CATEGORY_THRESH_TEST,
            min_area=mango.MIN_AREA_TEST,
            unclip_ratio=mango.UNCLIP_RATIO_TEST,
            score_threshold=mango.SCORE_THRESH_TEST,
        )

    def finding(self) -> dict[str, Any]:
        """Arguments of `find_words`."""
        return {
            "center_threshold": self.center_threshold,
            "category_threshold": self.category_threshold,
            "min_area": self.min_area,
            "unclip_ratio": self.unclip_ratio,
        }

    def forced_share(self) -> float:
        """Of the words in this iteration, by chance, those that are read through their slices. The
        iteration is that of the training loop around; without one, the first ones are over."""
        iteration = get_event_storage().iter if has_event_storage() else self.forced_masks_iters
        left = 1 - iteration / self.forced_masks_iters if self.forced_masks_iters > 0 else 0.0
        return max(0.0, left) * (1 - self.forced_masks_prob) + self.forced_masks_prob

    def draw_forced(self, number: int, device: torch.device) -> Tensor | None:
        """(number,) bool, which words are read through their slices; None if none are."""
        share = self.forced_share()
        if share == 0:
            return None
        return torch.rand(number, device=device) < share
