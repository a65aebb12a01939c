"""Peak memory of a training step with all candidates, and of one with sequential distillation
alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch
from detectron2.utils.events import EventStorage

from .forcing import force_scale
from .workload import Workload, build_cfg, build_distiller, make_batch

__all__ = ["SETTINGS", "measure_memory", "peak_memory"]

# Name, selection of the scale.
SETTINGS = {"SKD-only": "fixed", "DLD": "dynamic"}


def measure_memory(arguments: list[str], opts: list[str]) -> dict[str, int]:
    """Peak bytes of each setting, each measured in a process of its own.

    Args:
        arguments: of `tools/benchmark.py` after the name of the measurement.
        opts: overrides of the configuration.
    """
    tool = Path(__file__).resolve().parents[1] / "benchmark.py"
    peaks = {}
    for name in SETTINGS:
        command = [sys.executable, str(tool), "peak", *arguments]
        command += ["--setting", name, "--opts", *opts]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        peaks[name] = json.loads(output.splitlines()[-1])["bytes"]
    return peaks


def peak_memory(config_file: str, opts: list[str], workload: Workload, setting: str) -> int:
    """Peak bytes of models, gradients and a training step in this process.

    On a GPU what PyTorch has allocated; else resident memory beyond that before the models were
    built. The optimiser's state, alike for all settings, is not in it.
    """
    selection = SETTINGS[setting]
    scale = ["MODEL.DISTILL.FIXED_SCALE", str(workload.scale)]
    cfg = build_cfg(config_file, [*opts, *scale], selection=selection)
    cuda = cfg.MODEL.DEVICE.startswith("cuda")
    before = 0 if cuda else _memory("VmRSS")
    distiller = build_distiller(cfg, workload.seed)
    if selection == "dynamic":
        force_scale(distiller, workload.scale)
    inputs = make_batch(
        workload.size, batch=workload.batch, words=workload.words, seed=workload.seed
    )
    with EventStorage():
        # The first step makes the gradients, which stay; the second one has its peak beside them.
        for _ in range(2):
            distiller.zero_grad(set_to_none=False)
            images, targets = distiller.student.preprocess(inputs)
            sum(distiller.losses(images, targets).values()).backward()
    return torch.cuda.max_memory_allocated() if cuda else _memory("VmHWM") - before


def _memory(field: str) -> int:
    """Bytes of a field of this process's status: VmRSS is resident now, VmHWM was at most.

    (`getrusage` would tell of the process that started this one if that was larger.)
    """
    status = Path("/proc/self/status")
    if not status.exists():
        raise OSError("the memory of a process on CPUs can be measured on Linux only; use a GPU")
    for line in status.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{status} does not tell {field}")
