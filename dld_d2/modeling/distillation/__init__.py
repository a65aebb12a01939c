"""Dynamic low-resolution distillation: choosing a scale, and learning to read at it."""

from .alignment import FeatureAligner, resample_context
from .build import build_spotter, teacher_cfg
from .distiller import DynamicResolutionDistiller
from .losses import (
    accuracy_loss,
    best_scale_loss,
    context_loss,
    cross_entropy_accuracy_loss,
    flops_loss,
    image_divergence,
    power_law_cost,
    roi_loss,
    sequence_loss,
)
from .policy import DynamicScale, FixedScale, RandomScale, ScalePolicy
from .selector import ResolutionSelector, gumbel_select, select, temperature
from .settings import DistillationSettings
from .text_size import TextSizeEstimator
from .views import scale_images, scale_targets

__all__ = [
    "DistillationSettings",
    "DynamicResolutionDistiller",
    "DynamicScale",
    "FeatureAligner",
    "FixedScale",
    "RandomScale",
    "ResolutionSelector",
    "ScalePolicy",
    "TextSizeEstimator",
    "accuracy_loss",
    "best_scale_loss",
    "build_spotter",
    "context_loss",
    "cross_entropy_accuracy_loss",
    "flops_loss",
    "gumbel_select",
    "image_divergence",
    "power_law_cost",
    "resample_context",
    "roi_loss",
    "scale_images",
    "scale_targets",
    "select",
    "sequence_loss",
    "teacher_cfg",
    "temperature",
]
