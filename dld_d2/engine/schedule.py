"""Schedules given in epochs, as the iterations that Detectron2 counts in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from detectron2.config import CfgNode

from dld_d2.engine.config_sources import ConfigError

__all__ = ["Schedule", "epoch_schedule", "with_epoch_schedule"]


@dataclass(frozen=True)
class Schedule:
    """Length and events of a training, in iterations.

    Attributes:
        max_iter: iterations in all.
        steps: iterations at which the learning rate drops.
        checkpoint_period: iterations from one checkpoint to the next.
        eval_period: the same for evaluations; 0 means at the end only.
    """

    max_iter: int
    steps: tuple[int, ...]
    checkpoint_period: int
    eval_period: int


def epoch_schedule(
    num_images: int,
    images_per_batch: int,
    *,
    epochs: int,
    step_epochs: Sequence[int] = (),
    checkpoint_epochs: int = 1,
    eval_epochs: int = 0,
) -> Schedule:
    """Turn epochs into iterations.

    Batches run on over the border of two epochs, so e epochs over N images in batches of B are
    e * N / B iterations. This is rounded up, once, for each number of the schedule.

    Args:
        num_images: images of the training set.
        images_per_batch: images per iteration, over all processes.
        epochs: length of training.
        step_epochs: epochs after which the learning rate drops, rising.
        checkpoint_epochs: epochs from one checkpoint to the next.
        eval_epochs: the same for evaluations; 0: at the end only.

    Raises:
        ValueError: for numbers out of range.
    """
    if num_images < 1 or images_per_batch < 1 or epochs < 1:
        raise ValueError("images, images per batch and epochs must be at least 1")
    if list(step_epochs) != sorted(set(step_epochs)) or any(e < 1 for e in step_epochs):
        raise ValueError(f"epochs of learning rate drops must be positive and rise: {step_epochs}")
    if checkpoint_epochs < 1 or eval_epochs < 0:
        raise ValueError("checkpoint epochs must be at least 1, evaluation epochs at least 0")

    def iterations(count: int) -> int:
        return -(-count * num_images // images_per_batch)

    return Schedule(
        max_iter=iterations(epochs),
        steps=tuple(iterations(e) for e in step_epochs),
        checkpoint_period=iterations(checkpoint_epochs),
        eval_period=iterations(eval_epochs),
    )


def with_epoch_schedule(cfg: CfgNode, num_images: int) -> CfgNode:
    """The configuration with its iteration keys set from the epoch keys.

    Args:
        cfg: with SOLVER.EPOCHS above 0; else it is returned as it is.
        num_images: images of the training set.

    Raises:
        ConfigError: if an epoch key is out of range.
    """
    solver = cfg.SOLVER
    if solver.EPOCHS == 0:
        return cfg
    try:
        schedule = epoch_schedule(
            num_images,
            solver.IMS_PER_BATCH,
            epochs=solver.EPOCHS,
            step_epochs=solver.STEP_EPOCHS,
            checkpoint_epochs=solver.CHECKPOINT_EPOCHS,
            eval_epochs=solver.EVAL_EPOCHS,
        )
    except ValueError as error:
        raise ConfigError(f"SOLVER.*EPOCHS: {error}") from None
    cfg = cfg.clone()
    cfg.defrost()
    cfg.SOLVER.MAX_ITER = schedule.max_iter
    cfg.SOLVER.STEPS = schedule.steps
    cfg.SOLVER.CHECKPOINT_PERIOD = schedule.checkpoint_period
    cfg.TEST.EVAL_PERIOD = schedule.eval_period
    cfg.freeze()
    return cfg
