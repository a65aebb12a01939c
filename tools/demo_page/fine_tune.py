"""A few steps of distillation on scenes that lie in files, as a user's own images would."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dld_d2.deployment.pretrained import weights_file
from dld_d2.synthetic import SyntheticDataset
from dld_d2.synthetic.writer import write_annotations, write_scene

__all__ = ["FineTuning", "FineTuningError", "fine_tune", "group_losses"]

ROOT = Path(__file__).resolve().parents[2]
SCENES = 4
SEED = 11
_NAME = "my_scenes"
_GROUPS = {
    "recognition": ("loss_rec", "loss_ctc"),
    "distillation": ("loss_roi", "loss_con", "loss_seq"),
    "scale selection": ("loss_acc", "loss_flops", "loss_scale"),
}


class FineTuningError(Exception):
    """The training failed; the message says where to look."""


@dataclass(frozen=True)
class FineTuning:
    """What a training gave.

    Attributes:
        losses: name -> a value for each iteration; "total" is their sum.
        images: trained on.
        batch: images in an iteration.
        command: that a user would type for the same.
    """

    losses: dict[str, list[float]]
    images: int
    batch: int
    command: str

    @property
    def ends(self) -> tuple[float, float, int]:
        """Mean total loss of the first and the last iterations, and how many those are."""
        total = self.losses["total"]
        number = max(1, len(total) // 3)
        return float(np.mean(total[:number])), float(np.mean(total[-number:])), number


def fine_tune(folder: Path, iterations: int, *, teacher: str, student: str) -> FineTuning:
    """Write a few scenes, register them by a YAML file, and go on distilling the student on them.

    Args:
        folder: new or empty; gets the scenes and all that train_net.py writes.
        iterations: steps of 2 images.
        teacher, student: names of shipped models.

    Raises:
        FineTuningError: if the training fails.
    """
    batch = 2
    registration = _write_scenes(folder)
    run = folder / "run"
    options = {
        "MODEL.WEIGHTS": _relative(weights_file(student)),
        "MODEL.DISTILL.TEACHER_WEIGHTS": _relative(weights_file(teacher)),
        "MODEL.DISTILL.SELECTOR.WEIGHTS": "",
        "DATASETS.REGISTER": _relative(registration),
        "DATASETS.TRAIN": f'("{_NAME}",)',
        "DATASETS.TEST": "()",
        "SOLVER.IMS_PER_BATCH": str(batch),
        "SOLVER.BASE_LR": "1e-4",
        "SOLVER.LR_SCHEDULER_NAME": "WarmupMultiStepLR",
        "SOLVER.STEPS": "()",
        "SOLVER.WARMUP_ITERS": "0",
        "SOLVER.MAX_ITER": str(iterations),
        "SOLVER.CHECKPOINT_PERIOD": str(iterations),
        "OUTPUT_DIR": _relative(run),
    }
    arguments = ["--config-file", "configs/tiny/dld.yaml", "--num-gpus", "0"]
    arguments += [word for option in options.items() for word in option]
    log = folder / "console.txt"
    with log.open("w", encoding="utf-8") as stream:
        status = subprocess.call(
            [sys.executable, "tools/demo_page/train_logged.py", *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    metrics = run / "metrics.json"
    if status or not metrics.exists():
        raise FineTuningError(
            f"the fine-tuning failed with status {status}; what it said is in {log}, and ends in: "
            f"{_last_line(log)}"
        )
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    losses = group_losses(rows)
    return FineTuning(losses, SCENES, batch, _command(arguments))


def group_losses(rows: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    """From lines of metrics.json to total and parts.

    Args:
        rows: those without a `total_loss`, such as Detectron2 adds at the end, are left out.

    Returns:
        "total", "detection" (all that is in no other group) and the groups that occur.
    """
    rows = [row for row in rows if "total_loss" in row]
    grouped = {name for names in _GROUPS.values() for name in names}
    groups = {"total": [row["total_loss"] for row in rows]}
    for group, names in _GROUPS.items():
        if any(name in row for row in rows for name in names):
            groups[group] = [sum(row.get(name, 0.0) for name in names) for row in rows]
    groups["detection"] = [
        sum(v for k, v in row.items() if k.startswith("loss_") and k not in grouped) for row in rows
    ]
    return groups


def _write_scenes(folder: Path) -> Path:
    scenes = SyntheticDataset(SCENES, SEED, prefix="mine")
    (folder / "images").mkdir(parents=True)
    for index in range(len(scenes)):
        write_scene(scenes, index, folder)
    write_annotations(scenes, folder)
    registration = folder / "data.yaml"
    registration.write_text(
        f"datasets:\n  {_NAME}:\n    image_root: images\n    annotations: gt\n    format: polygon\n"
    )
    return registration


def _command(arguments: Sequence[str]) -> str:
    """For a shell, an option or a key and its value on each line."""
    pairs = zip(arguments[::2], arguments[1::2], strict=True)
    lines = (" ".join(map(shlex.quote, pair)) for pair in pairs)
    return " \\\n    ".join(["python train_net.py", *lines])


def _relative(path: Path) -> str:
    """As a user in the repository would type it."""
    path = path.resolve()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "(nothing)"
