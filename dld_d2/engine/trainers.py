"""Which trainer a configuration calls for."""

from __future__ import annotations

from detectron2.config import CfgNode

from dld_d2.engine.distill_trainer import DistillTrainer
from dld_d2.engine.trainer import SpotterTrainer
from dld_d2.modeling.dynamic_spotter import is_dynamic

__all__ = ["trainer_for"]


def trainer_for(cfg: CfgNode) -> type[SpotterTrainer]:
    """A `DynamicSpotter`, or what derives from it, is distilled; all else learns by itself."""
    return DistillTrainer if is_dynamic(cfg.MODEL.META_ARCHITECTURE) else SpotterTrainer
