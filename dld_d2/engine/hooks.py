"""Hooks of the training loop."""

from __future__ import annotations

import json
import logging
import math
import random
from pathlib import Path

import numpy as np
import torch
from detectron2.engine import HookBase
from detectron2.utils import comm
from torch import distributed, nn

from dld_d2.engine.checkpoint import SpotterCheckpointer
from dld_d2.engine.stream import seed_for
from dld_d2.engine.whole_files import write_whole

__all__ = ["BestCheckpointer", "SharedBuffers", "StepSeed"]

logger = logging.getLogger(__name__)


class StepSeed(HookBase):
    """Seeds all generators anew before each step, from seed, process and iteration.

    What a step draws at random (regions to sample, noise) is the same then whether the training
    came this far in one go, was resumed, or evaluated in between.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def before_step(self) -> None:
        seed = seed_for(self.seed, comm.get_rank(), self.trainer.iter)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)


class SharedBuffers(HookBase):
    """Whenever a checkpoint is due, gives all processes the buffers of the one that saves it.

    Each process has running statistics of its own images, and candidate passes use them. A resumed
    training has those of the checkpoint in all processes; with this, so has an undisturbed one.
    """

    def __init__(self, model: nn.Module, period: int) -> None:
        """
        Args:
            model: what is trained.
            period: iterations between checkpoints.
        """
        self._model = model
        self._period = period

    def after_step(self) -> None:
        if comm.get_world_size() > 1 and (self.trainer.iter + 1) % self._period == 0:
            for buffer in self._model.buffers():
                distributed.broadcast(buffer, src=0)


class BestCheckpointer(HookBase):
    """After each evaluation, saves the weights as `model_best.pth` if a metric is the best so far.

    Comes after the hook that evaluates. Unlike Detectron2's hook of this name it remembers the best
    value over a resumption, in `model_best.json`, and leaves `last_checkpoint` alone.
    """

    def __init__(self, period: int, checkpointer: SpotterCheckpointer, metric: str) -> None:
        """
        Args:
            period: iterations between evaluations, 0 for one at the end only.
            checkpointer: knows the model and the directory.
            metric: name of the value in the event storage; higher is better.
        """
        self._period = period
        self._checkpointer = checkpointer
        self._metric = metric
        self._record = Path(checkpointer.save_dir) / "model_best.json"
        self._best = -math.inf

    def before_train(self) -> None:
        if self.trainer.start_iter == 0:
            self._record.unlink(missing_ok=True)
        elif self._record.is_file():
            record = json.loads(self._record.read_text())
            if record["metric"] == self._metric:
                self._best = record["value"]

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if self._period > 0 and done % self._period == 0 and done != self.trainer.max_iter:
            self._compare()

    def after_train(self) -> None:
        # As in Detectron2's EvalHook, the evaluation at the end happens here.
        if self.trainer.iter + 1 >= self.trainer.max_iter:
            self._compare()

    def _compare(self) -> None:
        values = self.trainer.storage.latest()
        if self._metric not in values:
            known = sorted(name for name in values if "/" in name)
            logger.warning(
                f"TEST.BEST_METRIC: there is no metric {self._metric!r}, so no model_best.pth is "
                f"saved; the evaluation has {', '.join(known) or 'none'}"
            )
            return
        value, iteration = values[self._metric]
        if value > self._best:
            self._best = value
            self._checkpointer.save_weights("model_best")
            record = {"metric": self._metric, "value": value, "iteration": iteration}
            write_whole(self._record, json.dumps(record).encode())
            logger.info(f"{self._metric} is the best so far: {value:.4f}")
