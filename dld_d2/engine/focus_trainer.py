"""The training loop of the network that looks first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detectron2.config import CfgNode
from torch import nn
from torch.utils.data import Dataset

from dld_d2.data.catalog import is_labelled
from dld_d2.engine.config_sources import ConfigError
from dld_d2.engine.distill_trainer import label_with_teacher, load_teacher, teacher_cfg
from dld_d2.engine.evaluation.focus import FocusEvaluator
from dld_d2.engine.named_files import check_weights
from dld_d2.engine.trainer import SpotterTrainer
from dld_d2.modeling.focus.focus_map import FocusMap
from dld_d2.modeling.spotters.pp_ocr.spotter import PPOCRSpotter

__all__ = ["FocusTrainer"]


class FocusTrainer(SpotterTrainer):
    """Trains a `FocusMap`.

    With MODEL.DISTILL.TEACHER_WEIGHTS there is a teacher, the spotter MODEL.DYNAMIC.SPOTTER: the
    network starts from its detector where they are of one kind, and it reads those data sets of
    DATASETS.TRAIN that have no annotations. Without, the network starts from random weights.
    """

    @classmethod
    def check_start(cls, cfg: CfgNode, resume: bool = False) -> None:
        super().check_start(cfg, resume)
        distill = cfg.MODEL.DISTILL
        if distill.TEACHER_WEIGHTS:
            check_weights("MODEL.DISTILL.TEACHER_WEIGHTS", distill.TEACHER_WEIGHTS)
            teacher_cfg(cfg)
            return
        for name in cfg.DATASETS.TRAIN:
            if not is_labelled(name):
                raise ConfigError(
                    f"DATASETS.TRAIN: {name} has no annotations (format unlabelled); name the "
                    "weights of the spotter that is to read it in MODEL.DISTILL.TEACHER_WEIGHTS, "
                    "or leave it out"
                )

    @classmethod
    def build_training_model(cls, cfg: CfgNode) -> nn.Module:
        model = super().build_training_model(cfg)
        if not isinstance(model, FocusMap):
            raise ConfigError(
                f"MODEL.META_ARCHITECTURE is {cfg.MODEL.META_ARCHITECTURE}; this trainer needs "
                "FocusMap"
            )
        if cfg.MODEL.DISTILL.TEACHER_WEIGHTS and not cfg.MODEL.WEIGHTS:
            teacher = load_teacher(cfg)
            if isinstance(teacher, PPOCRSpotter):
                model.network.start_from(teacher.detector.backbone)
        return model

    def label_images(self, cfg: CfgNode, model: nn.Module) -> Mapping[str, Dataset]:
        """With what the teacher reads in them.

        Raises:
            ConfigError, AnnotationError: as `label_with_teacher`.
        """
        if all(map(is_labelled, cfg.DATASETS.TRAIN)):
            return {}
        return label_with_teacher(cfg, load_teacher(cfg).eval())

    @classmethod
    def build_evaluator(
        cls, cfg: CfgNode, dataset_name: str, model: nn.Module | None = None
    ) -> Any:
        return FocusEvaluator(dataset_name)
