"""Which trainer a configuration calls for."""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY, ROI_HEADS_REGISTRY, GeneralizedRCNN

from dld_d2.engine.distill_trainer import DistillTrainer
from dld_d2.engine.focus_trainer import FocusTrainer
from dld_d2.engine.setup import ConfigError
from dld_d2.engine.trainer import SpotterTrainer
from dld_d2.modeling.dynamic_spotter import is_dynamic
from dld_d2.modeling.focus.focus_map import FocusMap

__all__ = ["trainer_for"]


def trainer_for(cfg: CfgNode) -> type[SpotterTrainer]:
    """A `DynamicSpotter`, or what derives from it, is distilled; a `FocusMap` may have a teacher;
    all else learns by itself.

    Raises:
        ConfigError: for a model of Detectron2's own that does not read, as the default does not.
    """
    name = cfg.MODEL.META_ARCHITECTURE
    if name in META_ARCH_REGISTRY and not _reads(cfg, META_ARCH_REGISTRY.get(name)):
        known = sorted(key for key, model in META_ARCH_REGISTRY if not _is_detectron2s(model))
        raise ConfigError(
            f"MODEL.META_ARCHITECTURE is {name}, which reads no text; expected one of "
            f"{', '.join(known)}. A config file gets one with all that it needs by "
            '_BASE_: ".../Base-*.yaml"'
        )
    if is_dynamic(name):
        return DistillTrainer
    model = META_ARCH_REGISTRY.get(name) if name in META_ARCH_REGISTRY else None
    return (
        FocusTrainer if isinstance(model, type) and issubclass(model, FocusMap) else SpotterTrainer
    )


def _reads(cfg: CfgNode, model: type) -> bool:
    """Whether a model is none of Detectron2's, or has other heads than Detectron2's."""
    if not _is_detectron2s(model):
        return True
    heads = cfg.MODEL.ROI_HEADS.NAME
    return model is GeneralizedRCNN and not _is_detectron2s(ROI_HEADS_REGISTRY.get(heads))


def _is_detectron2s(model: type) -> bool:
    return model.__module__.startswith("detectron2.")
