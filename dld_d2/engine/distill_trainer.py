"""The training loop of the distiller."""

from __future__ import annotations

import hashlib
import logging
import os
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.engine import HookBase
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Dataset

from dld_d2.data.catalog import is_labelled
from dld_d2.distillation.distiller import Distiller
from dld_d2.distillation.learning.gumbel import temperature
from dld_d2.distillation.learning.learning import SelectorLearning
from dld_d2.distillation.text_size import TextSizeEstimator
from dld_d2.engine.checkpoint import SpotterCheckpointer
from dld_d2.engine.config_sources import ConfigError
from dld_d2.engine.named_files import check_weights
from dld_d2.engine.pseudo_labels.labelling import label_images
from dld_d2.engine.setup import setup_cfg
from dld_d2.engine.trainer import SpotterTrainer
from dld_d2.modeling.build import build_spotter
from dld_d2.modeling.dynamic_spotter import DynamicSpotter, is_dynamic
from dld_d2.modeling.selection.policies import DynamicScale
from dld_d2.modeling.spotters.contract import Spotter

__all__ = [
    "DistillTrainer",
    "TemperatureSchedule",
    "label_with_teacher",
    "load_teacher",
    "teacher_cfg",
]

logger = logging.getLogger(__name__)

_NO_TEACHER = (
    "distillation needs a teacher: set MODEL.DISTILL.TEACHER_WEIGHTS to the weights of a trained "
    "spotter (train_net.py with a teacher_*.yaml makes them)"
)


class TemperatureSchedule(HookBase):
    """Lowers the temperature of a selector's learning from epoch to epoch: init * decay ** epoch.

    The epoch is that of the step's first image, so it is a function of the iteration alone.

    Args:
        learning: whose temperature it sets.
        init: tau_init.
        decay: sigma.
        num_images: in an epoch.
        images_per_batch: over all processes.
    """

    def __init__(
        self,
        learning: SelectorLearning,
        *,
        init: float,
        decay: float,
        num_images: int,
        images_per_batch: int,
    ) -> None:
        if not decay > 0:
            raise ConfigError(
                f"MODEL.DISTILL.SELECTOR.TAU_DECAY is {decay}; the temperature, TAU_INIT * "
                "TAU_DECAY ** epoch, must stay above 0"
            )
        self._learning = learning
        self._init = init
        self._decay = decay
        self._num_images = num_images
        self._images_per_batch = images_per_batch

    def before_step(self) -> None:
        epoch = self.trainer.iter * self._images_per_batch // self._num_images
        self._learning.temperature = temperature(epoch, init=self._init, sigma=self._decay)
        self.trainer.storage.put_scalar(
            "scale/temperature", self._learning.temperature, smoothing_hint=False
        )


class DistillTrainer(SpotterTrainer):
    """Trains a `DynamicSpotter` by a `Distiller` around it.

    The spotter starts from the teacher's weights, unless MODEL.WEIGHTS names a checkpoint of a
    DynamicSpotter, or MODEL.DISTILL.STUDENT_WEIGHTS one of its spotter alone. Checkpoints hold the
    DynamicSpotter as "model", so that they are evaluated and exported as they are, and beside it
    the terms' adapters and the optimiser; of the teacher they keep the file's name and its SHA-256,
    and going on with another teacher is refused.

    Data sets of DATASETS.TRAIN without annotations are read by the teacher before the training
    begins, see `dld_d2.engine.pseudo_labels`.
    """

    @classmethod
    def check_start(cls, cfg: CfgNode, resume: bool = False) -> None:
        super().check_start(cfg, resume)
        distill = cfg.MODEL.DISTILL
        if not distill.TEACHER_WEIGHTS:
            raise ConfigError(_NO_TEACHER)
        check_weights("MODEL.DISTILL.TEACHER_WEIGHTS", distill.TEACHER_WEIGHTS)
        teacher_cfg(cfg)
        if distill.STUDENT_WEIGHTS and not cfg.MODEL.WEIGHTS:
            check_weights("MODEL.DISTILL.STUDENT_WEIGHTS", distill.STUDENT_WEIGHTS)
        if _starts_selector(cfg):
            check_weights("MODEL.DISTILL.SELECTOR.WEIGHTS", distill.SELECTOR.WEIGHTS)

    @classmethod
    def build_training_model(cls, cfg: CfgNode) -> nn.Module:
        student = cls.build_model(cfg)
        if not isinstance(student, DynamicSpotter):
            raise ConfigError(
                f"MODEL.META_ARCHITECTURE is {cfg.MODEL.META_ARCHITECTURE}; this trainer needs "
                "DynamicSpotter"
            )
        if student.spotter.teaches_only:
            raise ConfigError(
                f"MODEL.DYNAMIC.SPOTTER: a {cfg.MODEL.DYNAMIC.SPOTTER} teaches and is no student; "
                "name it in the file MODEL.DISTILL.TEACHER_CONFIG"
            )
        teacher = load_teacher(cfg)
        if not cfg.MODEL.WEIGHTS:
            if cfg.MODEL.DISTILL.STUDENT_WEIGHTS:
                _load(student.spotter, "STUDENT_WEIGHTS", cfg.MODEL.DISTILL.STUDENT_WEIGHTS)
            else:
                _start_from(teacher, student.spotter)
            if isinstance(student.policy, DynamicScale) and _starts_selector(cfg):
                _start_selector(cfg, student.policy.selector)
        return Distiller(cfg, student, teacher).train()

    def label_images(self, cfg: CfgNode, model: nn.Module) -> Mapping[str, Dataset]:
        """With what the teacher reads in them.

        Raises:
            ConfigError, AnnotationError: as `label_with_teacher`.
        """
        # Of the file as it was read; it may be moved or overwritten before the next checkpoint.
        self._teacher = _identity(cfg.MODEL.DISTILL.TEACHER_WEIGHTS)
        return label_with_teacher(cfg, model.teacher)

    @classmethod
    def deployed(cls, model: nn.Module) -> nn.Module:
        model = super().deployed(model)
        return model.student if isinstance(model, Distiller) else model

    def build_checkpointer(self, cfg: CfgNode, model: nn.Module) -> SpotterCheckpointer:
        return SpotterCheckpointer(
            self.deployed(model),
            cfg.OUTPUT_DIR,
            terms=_distiller(model).terms,
            trainer=weakref.proxy(self),
        )

    def build_hooks(self) -> list[HookBase]:
        built = super().build_hooks()
        learning = _distiller(self.model).learning
        if isinstance(learning, SelectorLearning):
            selector = self.cfg.MODEL.DISTILL.SELECTOR
            schedule = TemperatureSchedule(
                learning,
                init=selector.TAU_INIT,
                decay=selector.TAU_DECAY,
                num_images=len(self.data_loader.dataset.images),
                images_per_batch=self.cfg.SOLVER.IMS_PER_BATCH,
            )
            built.insert(0, schedule)
        return built

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"teacher": self._teacher}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        was, now = state_dict["teacher"], self._teacher
        if was["sha256"] != now["sha256"]:
            raise ConfigError(
                f"MODEL.DISTILL.TEACHER_WEIGHTS: {now['file']} is not the teacher that this "
                f"training began with, {was['file']} (SHA-256 {was['sha256']})"
            )
        super().load_state_dict(state_dict)


def teacher_cfg(cfg: CfgNode) -> CfgNode:
    """The configuration that the teacher is built of: MODEL.DISTILL.TEACHER_CONFIG, or the
    student's.

    Raises:
        ConfigError: as `setup_cfg`, and if that file's meta-architecture is no spotter.
    """
    file = cfg.MODEL.DISTILL.TEACHER_CONFIG
    if not file:
        return cfg
    try:
        teacher = setup_cfg(file, ["MODEL.DEVICE", cfg.MODEL.DEVICE])
    except ConfigError as error:
        raise ConfigError(f"MODEL.DISTILL.TEACHER_CONFIG: {error}") from None
    teacher.defrost()
    if not is_dynamic(teacher.MODEL.META_ARCHITECTURE):
        teacher.MODEL.DYNAMIC.SPOTTER = teacher.MODEL.META_ARCHITECTURE
    teacher.freeze()
    return teacher


def load_teacher(cfg: CfgNode) -> Spotter:
    """The teacher with its weights, which may also be those of a `DynamicSpotter` around it: a
    student may teach.

    Raises:
        ConfigError: without MODEL.DISTILL.TEACHER_WEIGHTS or such a file, and if it does not hold
            the weights of the teacher's model.
    """
    file = cfg.MODEL.DISTILL.TEACHER_WEIGHTS
    if not file:
        raise ConfigError(_NO_TEACHER)
    teacher = build_spotter(teacher_cfg(cfg))
    _load(teacher, "TEACHER_WEIGHTS", file)
    return teacher


def label_with_teacher(cfg: CfgNode, teacher: Spotter) -> Mapping[str, Dataset]:
    """Those sets of DATASETS.TRAIN that have no annotations, with what a teacher reads in them.

    Args:
        cfg: of the training.
        teacher: of the weights MODEL.DISTILL.TEACHER_WEIGHTS, in evaluation mode.

    Raises:
        ConfigError, AnnotationError: as `dld_d2.engine.pseudo_labels.labelling.label_images`, and
            as reading the other sets.
    """
    names = dict.fromkeys(cfg.DATASETS.TRAIN)
    unlabelled = [name for name in names if not is_labelled(name)]
    if not unlabelled:
        return {}
    # What is wrong with the other sets is told before the teacher reads, maybe for hours.
    for name in names:
        DatasetCatalog.get(name)
    sha256 = _identity(cfg.MODEL.DISTILL.TEACHER_WEIGHTS)["sha256"]
    return {name: label_images(name, teacher, sha256, cfg, teacher_cfg(cfg)) for name in unlabelled}


def _load(spotter: Spotter, key: str, file: str) -> None:
    """Weights of a spotter, or of the one in a `DynamicSpotter`, which a key of MODEL.DISTILL
    names."""
    if not os.path.isfile(file):
        raise ConfigError(f"MODEL.DISTILL.{key}: there is no file {file}")
    try:
        SpotterCheckpointer(spotter).load_exactly(file, prefix="spotter.", checkpointables=[])
    except ValueError as error:
        raise ConfigError(f"MODEL.DISTILL.{key}: {error}") from None


def _start_from(teacher: nn.Module, student: nn.Module) -> None:
    try:
        student.load_state_dict(teacher.student_state())
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise ConfigError(
            "the student cannot start from the teacher's weights, since they are other models "
            "(MODEL.DISTILL.TEACHER_CONFIG); name weights of such a spotter in "
            f"MODEL.DISTILL.STUDENT_WEIGHTS, or of a whole student in MODEL.WEIGHTS ({first})"
        ) from None
    logger.info("The student starts from the teacher's weights")


def _starts_selector(cfg: CfgNode) -> bool:
    """Whether the selector starts from a file of its own."""
    fresh = not cfg.MODEL.WEIGHTS and cfg.MODEL.DYNAMIC.POLICY == "selector"
    return fresh and bool(cfg.MODEL.DISTILL.SELECTOR.WEIGHTS)


def _start_selector(cfg: CfgNode, selector: nn.Module) -> None:
    file = cfg.MODEL.DISTILL.SELECTOR.WEIGHTS
    if not os.path.isfile(file):
        raise ConfigError(f"MODEL.DISTILL.SELECTOR.WEIGHTS: there is no file {file}")
    estimator = TextSizeEstimator(cfg)
    try:
        SpotterCheckpointer(estimator).load_exactly(file, checkpointables=[])
    except ValueError as error:
        raise ConfigError(f"MODEL.DISTILL.SELECTOR.WEIGHTS: {error}") from None
    learnt = estimator.selector.state_dict()
    fresh = {k: v for k, v in selector.state_dict().items() if k.startswith("classifier.")}
    selector.load_state_dict(learnt | fresh)
    logger.info(f"The selector starts from {file}")


def _identity(file: str) -> dict[str, str]:
    return {"file": file, "sha256": hashlib.sha256(Path(file).read_bytes()).hexdigest()}


def _distiller(model: nn.Module) -> Distiller:
    return model.module if isinstance(model, DistributedDataParallel) else model
