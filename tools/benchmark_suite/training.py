"""A step of distillation against the released scheme and against what its passes must cost."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.utils.events import EventStorage
from torch import Tensor

from benchmark_suite.forcing import force_scale, forced_length
from benchmark_suite.released import ReleasedScheme, bitmaps
from benchmark_suite.stages import REGION_PARTS, stage_seconds
from benchmark_suite.timing import Clock, Seconds, interleave
from benchmark_suite.workload import Workload, build_cfg, build_distiller, calibrate, make_batch
from dld_d2.distillation.distiller import Distiller

__all__ = ["compare_losses", "cost_model", "measure_training"]


def cost_model(scales: tuple[float, ...], selected: float) -> float:
    """A step's cost in units of the teacher's pass, if every pass cost as many pixels as it sees.

    The teacher's pass, one of each candidate, and the selected one with its gradient, which counts
    three times.
    """
    return 1 + sum(s**2 for s in scales) + 3 * selected**2


def measure_training(
    config_file: str,
    opts: list[str],
    workload: Workload,
    *,
    clock: str = "wall",
    precision: torch.dtype | None = None,
) -> dict[str, Any]:
    """Seconds of a step, of the released scheme's, and of the teacher's pass.

    Args:
        config_file: of a spotter or a distillation.
        opts: overrides of the configuration.
        workload: what to measure on.
        clock: see `Clock`.
        precision: of a second and a third measurement of our step: with what needs no gradient
            in that type, and with everything autocast to it.
    """
    cfg = build_cfg(config_file, opts)
    ticks = Clock(cfg.MODEL.DEVICE, clock)
    distiller, inputs = _prepare(cfg, workload)
    steps = _steps(distiller, inputs, precision)
    longest = max(int((x["instances"].gt_texts >= 0).sum(dim=1).max()) for x in inputs) - 1
    # The teacher's search ends when the words do; random weights would end anywhere.
    with EventStorage(), forced_length(distiller.teacher.roi_heads.text_head.decoder, longest):
        seconds = interleave(steps, repeats=workload.repeats, clock=ticks)
        stages = stage_seconds(distiller, steps["ours"], ticks, workload.repeats)
    scales = distiller.student.scales
    bound = cost_model(scales, workload.scale)
    return {
        "seconds": seconds,
        "released_over_ours": {
            name: seconds.ratio("released", name) for name in steps if name.startswith("ours")
        },
        "ours_over_teacher": seconds.ratio("ours", "teacher"),
        "bound_over_teacher": bound,
        "ours_over_bound": seconds.ratio("ours", "teacher") / bound,
        "ours_over_bound_with_regions": seconds.median("ours")
        / _bound_with_regions(seconds, stages, bound, len(scales)),
        "stages": stages,
        "scales": scales,
        "selected": workload.scale,
    }


def compare_losses(
    config_file: str, opts: list[str], workload: Workload
) -> dict[str, tuple[float, float]]:
    """Each loss here and in the released scheme, where the operations are the same.

    That is with RoI masking's convolution on the map, in single precision.
    """
    same = [
        *("MODEL.ROI_TEXT_HEAD.POOLER_CONV_ON", "map"),
        *("MODEL.DISTILL.NO_GRAD_PRECISION", "float32"),
    ]
    distiller, inputs = _prepare(build_cfg(config_file, [*opts, *same]), workload)
    images, targets = distiller.student.spotter.preprocess(inputs)
    with EventStorage():
        # Both sample proposals at random.
        torch.manual_seed(workload.seed)
        ours = distiller.losses(images, targets)
        torch.manual_seed(workload.seed)
        theirs = ReleasedScheme(distiller).losses(images, targets, bitmaps(targets))
    if ours.keys() != theirs.keys():
        raise RuntimeError(f"the losses are {sorted(ours)} here and {sorted(theirs)} there")
    return {name: (ours[name].item(), theirs[name].item()) for name in ours}


def _prepare(cfg: CfgNode, workload: Workload) -> tuple[Distiller, list[dict]]:
    distiller = build_distiller(cfg, workload.seed)
    inputs = make_batch(
        workload.size, batch=workload.batch, words=workload.words, seed=workload.seed
    )
    calibrate(distiller, inputs)
    force_scale(distiller, workload.scale)
    return distiller, inputs


def _steps(
    distiller: Distiller, inputs: list[dict], precision: torch.dtype | None
) -> dict[str, Callable[[], None]]:
    images, targets = distiller.student.spotter.preprocess(inputs)
    released, masks = ReleasedScheme(distiller), bitmaps(targets)
    device = images.device.type

    def backward(losses: dict[str, Tensor]) -> None:
        sum(losses.values()).backward()
        distiller.zero_grad()

    def ours(no_grad_precision: torch.dtype, autocast: torch.dtype | None) -> None:
        distiller.no_grad_precision = no_grad_precision
        with torch.autocast(device, autocast) if autocast else contextlib.nullcontext():
            losses = distiller.losses(images, targets)
        backward(losses)

    @torch.no_grad()
    def teacher() -> None:
        distiller.teacher.recognize(images, targets)

    steps = {
        "ours": lambda: ours(torch.float32, None),
        "released": lambda: backward(released.losses(images, targets, masks)),
        "teacher": teacher,
    }
    if precision is not None:
        name = str(precision).removeprefix("torch.")
        steps[f"ours, {name} without gradient"] = lambda: ours(precision, None)
        steps[f"ours, {name}"] = lambda: ours(torch.float32, precision)
    return steps


def _bound_with_regions(
    seconds: Seconds, stages: dict[str, float], bound: float, num_candidates: int
) -> float:
    """Seconds that the cost model gives when what goes with regions does not shrink with scale.

    The reading of words counts in all passes, box and mask heads in the selected one.
    """
    regions = sum(stages[f"teacher/{part}"] for part in REGION_PARTS) / stages["teacher"]
    heads = stages["selected/box and mask heads"] / stages["teacher"]
    passes = 1 + num_candidates + 3
    return seconds.median("teacher") * ((1 - regions) * bound + regions * passes + 3 * heads)
