"""train_net.py, but with the losses of every iteration, as they are, in metrics.json.

Detectron2 writes those of every 20th, smoothed over 20, which is all that a long training needs.
Takes the arguments of train_net.py.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from detectron2.engine import HookBase
from detectron2.engine.hooks import PeriodicWriter
from detectron2.utils.events import EventWriter, JSONWriter

from dld_d2.engine.distill_trainer import DistillTrainer
from dld_d2.engine.setup import setup_cfg

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import train_net


class LoggedTrainer(DistillTrainer):
    """Writes metrics.json alone, a line for each iteration."""

    def build_writers(self) -> list[EventWriter]:
        return [JSONWriter(os.path.join(self.cfg.OUTPUT_DIR, "metrics.json"), window_size=1)]

    def build_hooks(self) -> list[HookBase]:
        hooks = [hook for hook in super().build_hooks() if not isinstance(hook, PeriodicWriter)]
        return [*hooks, PeriodicWriter(self.build_writers(), period=1)]


if __name__ == "__main__":
    arguments = train_net.parse_args()
    train_net.DistillTrainer = LoggedTrainer
    train_net.main(setup_cfg(arguments.config_file, arguments.opts), arguments)
