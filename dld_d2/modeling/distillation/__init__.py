"""Dynamic low-resolution distillation: choosing a scale, and learning to read at it."""

from .alignment import FeatureAligner, resample_context
from .losses import (
    accuracy_loss,
    context_loss,
    cross_entropy_accuracy_loss,
    flops_loss,
    power_law_cost,
    roi_loss,
    sequence_loss,
)
from .selector import ResolutionSelector, gumbel_select, select, temperature

__all__ = [
    "FeatureAligner",
    "ResolutionSelector",
    "accuracy_loss",
    "context_loss",
    "cross_entropy_accuracy_loss",
    "flops_loss",
    "gumbel_select",
    "power_law_cost",
    "resample_context",
    "roi_loss",
    "select",
    "sequence_loss",
    "temperature",
]
