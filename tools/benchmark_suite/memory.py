"""Peak memory of a training step with all candidates, and of one with sequential distillation
alone."""

from __future__ import annotations

import logging

import torch
from detectron2.utils.events import EventStorage

from benchmark_suite.forcing import force_scale
from benchmark_suite.processes import in_new_process, process_memory
from benchmark_suite.workload import Workload, build_cfg, build_distiller, make_batch

__all__ = ["measure_memory"]

# Name, policy of the scale.
SETTINGS = {"SKD-only": "fixed", "DLD": "selector"}


def measure_memory(
    config_file: str, opts: list[str], workload: Workload, *, threads: int
) -> dict[str, int]:
    """Peak bytes of each setting, each measured in a process of its own.

    Args:
        config_file: of a spotter or a distillation.
        opts: overrides of the configuration.
        workload: what to measure on.
        threads: that a process computes with.
    """
    return {
        name: in_new_process(_peak_memory, config_file, opts, workload, policy, threads)
        for name, policy in SETTINGS.items()
    }


def _peak_memory(
    config_file: str, opts: list[str], workload: Workload, policy: str, threads: int
) -> int:
    """Peak bytes of models, gradients and a training step in this process.

    On a GPU what PyTorch has allocated; else resident memory beyond that before the models were
    built. The optimiser's state, alike for all settings, is not in it.
    """
    logging.basicConfig(level=logging.ERROR)
    torch.set_num_threads(threads)
    scale = ["MODEL.DYNAMIC.FIXED_SCALE", str(workload.scale)]
    cfg = build_cfg(config_file, [*opts, *scale], policy=policy)
    cuda = cfg.MODEL.DEVICE.startswith("cuda")
    before = 0 if cuda else process_memory("VmRSS")
    distiller = build_distiller(cfg, workload.seed)
    if policy == "selector":
        force_scale(distiller, workload.scale)
    inputs = make_batch(
        workload.size, batch=workload.batch, words=workload.words, seed=workload.seed
    )
    with EventStorage():
        # The first step makes the gradients, which stay; the second one has its peak beside them.
        for _ in range(2):
            distiller.zero_grad(set_to_none=False)
            images, targets = distiller.student.spotter.preprocess(inputs)
            sum(distiller.losses(images, targets).values()).backward()
    return torch.cuda.max_memory_allocated() if cuda else process_memory("VmHWM") - before
