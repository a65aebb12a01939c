"""The training loop of the distiller."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.engine import HookBase
from torch import nn

from dld_d2.modeling.distillation import (
    DynamicResolutionDistiller,
    DynamicScale,
    TextSizeEstimator,
    build_spotter,
    teacher_cfg,
    temperature,
)

from .checkpoint import SpotterCheckpointer
from .setup import ConfigError
from .trainer import SpotterTrainer

__all__ = ["DistillTrainer", "TemperatureSchedule"]

logger = logging.getLogger(__name__)


class TemperatureSchedule(HookBase):
    """Lowers the temperature of a learned policy from epoch to epoch: init * decay ** epoch.

    The epoch is that of the step's first image, so it is a function of the iteration alone.

    Args:
        policy: whose temperature it sets.
        init: tau_init.
        decay: sigma.
        num_images: in an epoch.
        images_per_batch: over all processes.
    """

    def __init__(
        self,
        policy: DynamicScale,
        *,
        init: float,
        decay: float,
        num_images: int,
        images_per_batch: int,
    ) -> None:
        self._policy = policy
        self._init = init
        self._decay = decay
        self._num_images = num_images
        self._images_per_batch = images_per_batch

    def before_step(self) -> None:
        epoch = self.trainer.iter * self._images_per_batch // self._num_images
        self._policy.temperature = temperature(epoch, init=self._init, sigma=self._decay)
        self.trainer.storage.put_scalar(
            "scale/temperature", self._policy.temperature, smoothing_hint=False
        )


class DistillTrainer(SpotterTrainer):
    """Trains a `DynamicResolutionDistiller`.

    The student starts from the teacher's weights, unless MODEL.WEIGHTS names a checkpoint of the
    distiller. Checkpoints hold student, policy and optimiser; of the teacher they keep the file's
    name and its SHA-256, and going on with another teacher is refused.
    """

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__(cfg)
        # Of the file as it was read; it may be moved or overwritten before the next checkpoint.
        self._teacher = _identity(cfg.MODEL.DISTILL.TEACHER_WEIGHTS)

    @classmethod
    def build_training_model(cls, cfg: CfgNode) -> nn.Module:
        model = cls.build_model(cfg)
        if not isinstance(model, DynamicResolutionDistiller):
            raise ConfigError(
                f"MODEL.META_ARCHITECTURE is {cfg.MODEL.META_ARCHITECTURE}; this trainer needs "
                "DynamicResolutionDistiller"
            )
        teacher = load_teacher(cfg)
        model.attach_teacher(teacher)
        if not cfg.MODEL.WEIGHTS:
            _start_from(teacher, model.student)
            if model.selector is not None and cfg.MODEL.DISTILL.SELECTOR.WEIGHTS:
                _start_selector(cfg, model.selector)
        return model

    def build_hooks(self) -> list[HookBase]:
        built = super().build_hooks()
        policy = _unwrap(self.model).policy
        if isinstance(policy, DynamicScale):
            selector = self.cfg.MODEL.DISTILL.SELECTOR
            schedule = TemperatureSchedule(
                policy,
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


def load_teacher(cfg: CfgNode) -> nn.Module:
    """The teacher with its weights.

    Raises:
        ConfigError: without MODEL.DISTILL.TEACHER_WEIGHTS or such a file, and if it does not hold
            the weights of the teacher's model.
    """
    file = cfg.MODEL.DISTILL.TEACHER_WEIGHTS
    if not file:
        raise ConfigError(
            "distillation needs a teacher: set MODEL.DISTILL.TEACHER_WEIGHTS to the weights of a "
            "trained spotter (train_net.py with a teacher_*.yaml makes them)"
        )
    if not os.path.isfile(file):
        raise ConfigError(f"MODEL.DISTILL.TEACHER_WEIGHTS: there is no file {file}")
    teacher = build_spotter(teacher_cfg(cfg))
    try:
        SpotterCheckpointer(teacher).load_exactly(file, checkpointables=[])
    except ValueError as error:
        raise ConfigError(f"MODEL.DISTILL.TEACHER_WEIGHTS: {file}: {error}") from None
    return teacher


def _start_from(teacher: nn.Module, student: nn.Module) -> None:
    try:
        student.load_state_dict(teacher.state_dict())
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise ConfigError(
            "the student cannot start from the teacher's weights, since MODEL.DISTILL.TEACHER_OPTS "
            f"makes them differ; name weights of the distiller in MODEL.WEIGHTS ({first})"
        ) from None
    logger.info("The student starts from the teacher's weights")


def _start_selector(cfg: CfgNode, selector: nn.Module) -> None:
    file = cfg.MODEL.DISTILL.SELECTOR.WEIGHTS
    if not os.path.isfile(file):
        raise ConfigError(f"MODEL.DISTILL.SELECTOR.WEIGHTS: there is no file {file}")
    estimator = TextSizeEstimator(cfg)
    try:
        SpotterCheckpointer(estimator).load_exactly(file, checkpointables=[])
    except ValueError as error:
        raise ConfigError(f"MODEL.DISTILL.SELECTOR.WEIGHTS: {file}: {error}") from None
    learnt = estimator.selector.state_dict()
    fresh = {k: v for k, v in selector.state_dict().items() if k.startswith("classifier.")}
    selector.load_state_dict(learnt | fresh)
    logger.info(f"The selector starts from {file}")


def _identity(file: str) -> dict[str, str]:
    return {"file": file, "sha256": hashlib.sha256(Path(file).read_bytes()).hexdigest()}


def _unwrap(model: nn.Module) -> nn.Module:
    return getattr(model, "module", model)
