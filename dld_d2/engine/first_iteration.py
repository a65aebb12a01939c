"""What is heard of a training at its first iteration."""

from __future__ import annotations

import datetime
import logging
import time

from detectron2.engine import HookBase

__all__ = ["FirstIteration"]

logger = logging.getLogger(__name__)


class FirstIteration(HookBase):
    """Says how long the first iteration took, and all of them would take.

    Otherwise nothing is heard before the 20th, which on a CPU may be minutes.
    """

    def before_step(self) -> None:
        self._begin = time.perf_counter()

    def after_step(self) -> None:
        first, number = self.trainer.start_iter, self.trainer.max_iter
        if self.trainer.iter != first:
            return
        seconds = time.perf_counter() - self._begin
        left = datetime.timedelta(seconds=int(seconds * (number - first - 1)))
        logger.info(
            f"Iteration {first + 1} of {number} took {seconds:.1f} s. At this pace the training "
            f"ends in {left}; most often the first iteration is the slowest"
        )
