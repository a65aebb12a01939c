"""`dld-d2 train`, but with the losses of every iteration, as they are, in metrics.json.

Detectron2 writes those of every 20th, smoothed over 20, which is all that a long training needs.
"""

from __future__ import annotations

import os

from detectron2.engine import HookBase
from detectron2.engine.hooks import PeriodicWriter
from detectron2.utils.events import EventWriter, JSONWriter

from dld_d2.commands import train
from dld_d2.engine.distill_trainer import DistillTrainer
from dld_d2.engine.setup import setup_cfg


class LoggedTrainer(DistillTrainer):
    """Writes metrics.json alone, a line for each iteration."""

    def build_writers(self) -> list[EventWriter]:
        return [JSONWriter(os.path.join(self.cfg.OUTPUT_DIR, "metrics.json"), window_size=1)]

    def build_hooks(self) -> list[HookBase]:
        hooks = [hook for hook in super().build_hooks() if not isinstance(hook, PeriodicWriter)]
        return [*hooks, PeriodicWriter(self.build_writers(), period=1)]


if __name__ == "__main__":
    arguments = train.parse_arguments(None)
    train.run(setup_cfg(arguments.config_file, arguments.opts), arguments, LoggedTrainer)
