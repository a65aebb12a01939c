"""Time of reading a photograph at each scale, and of choosing the scale."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from benchmark_suite.forcing import force_scale, forced_detections
from benchmark_suite.timing import Clock, Seconds, interleave
from benchmark_suite.workload import Workload, build_cfg, build_distiller, calibrate, make_batch
from dld_d2.distillation.distiller import Distiller

__all__ = ["INPUT_SCALES", "measure_inference", "measure_selector"]

INPUT_SCALES = (1.0, 0.5, 0.25)
_CHARACTERS = 8


@torch.inference_mode()
def measure_inference(
    config_file: str,
    opts: list[str],
    workload: Workload,
    *,
    clock: str = "wall",
    word_counts: tuple[int, ...] = (5, 50),
) -> dict[str, Any]:
    """Time at each scale over time at full resolution, with what the cost model predicts.

    The prediction is s^2 times the part per image of the full resolution, plus its part per region
    (all that follows the RPN's convolutions), plus the selector; all of them measured.

    Returns:
        By number of words: seconds, and per scale the measured ratio and the predicted one.
    """
    cfg = build_cfg(config_file, opts)
    ticks = Clock(cfg.MODEL.DEVICE, clock)
    distiller = build_distiller(cfg, workload.seed)
    results = {}
    for words in word_counts:
        inputs = make_batch(workload.size, batch=1, words=words, seed=workload.seed)
        calibrate(distiller, inputs)
        distiller.eval()
        seconds = _measure(distiller, inputs, workload, ticks)
        results[words] = _compare(seconds, distiller.student.scales)
    return {"words": results, "characters": _CHARACTERS}


def _measure(distiller: Distiller, inputs: list[dict], workload: Workload, clock: Clock) -> Seconds:
    teacher, student = distiller.teacher, distiller.student
    images, _ = student.spotter.preprocess(inputs)

    def at_scale(scale: float) -> None:
        force_scale(distiller, scale)
        student(inputs)

    candidates = {
        "full": lambda: teacher(inputs),
        **{f"{scale:g}": functools.partial(at_scale, scale) for scale in student.scales},
        "selector": lambda: student.policy.choose(images, student.relative_cost),
    }
    truth = inputs[0]["instances"].to(images.device)
    with (
        forced_detections(teacher, truth, characters=_CHARACTERS),
        forced_detections(student.spotter, truth, characters=_CHARACTERS),
        _region_seconds(teacher, clock) as regions,
    ):
        seconds = interleave(candidates, repeats=workload.repeats, clock=clock)
    seconds["regions"] = regions[-workload.repeats :]
    return seconds


@contextmanager
def _region_seconds(spotter: torch.nn.Module, clock: Clock) -> Iterator[list[float]]:
    """For each call of the spotter, the seconds after the convolutions of its RPN."""
    starts: list[float] = []
    seconds: list[float] = []
    hooks = [
        spotter.proposal_generator.rpn_head.register_forward_hook(
            lambda *args: starts.append(clock())
        ),
        spotter.register_forward_hook(lambda *args: seconds.append(clock() - starts.pop())),
    ]
    try:
        yield seconds
    finally:
        for hook in hooks:
            hook.remove()


def _compare(seconds: Seconds, scales: tuple[float, ...]) -> dict[str, Any]:
    full, regions, selector = (seconds.median(name) for name in ("full", "regions", "selector"))
    rows = []
    for scale in scales:
        predicted = ((full - regions) * scale**2 + regions + selector) / full
        measured = seconds.ratio(f"{scale:g}", "full")
        rows.append(
            {
                "scale": scale,
                "seconds": seconds.median(f"{scale:g}"),
                "measured": measured,
                "predicted": predicted,
                "measured_over_predicted": measured / predicted,
            }
        )
    return {
        "seconds": seconds,
        "regions_over_full": regions / full,
        "selector_over_full": selector / full,
        "scales": rows,
    }


@torch.inference_mode()
def measure_selector(
    config_file: str, opts: list[str], workload: Workload, *, clock: str = "wall"
) -> dict[str, Any]:
    """Time of the selector, at several sizes of its input, over that of the full resolution."""
    cfg = build_cfg(config_file, opts)
    ticks = Clock(cfg.MODEL.DEVICE, clock)
    distiller = build_distiller(cfg, workload.seed)
    inputs = make_batch(workload.size, batch=1, words=5, seed=workload.seed)
    calibrate(distiller, inputs)
    distiller.eval()
    student, policy = distiller.student, distiller.student.policy
    images, _ = student.spotter.preprocess(inputs)

    def choose(input_scale: float) -> None:
        policy.selector.input_scale = input_scale
        policy.choose(images, student.relative_cost)

    truth = inputs[0]["instances"].to(images.device)
    candidates = {"full": lambda: distiller.teacher(inputs)}
    candidates |= {f"{s:g}": functools.partial(choose, s) for s in INPUT_SCALES}
    with forced_detections(distiller.teacher, truth, characters=_CHARACTERS):
        seconds = interleave(candidates, repeats=workload.repeats, clock=ticks)
    return {
        "seconds": seconds,
        "over_full": {s: seconds.ratio(f"{s:g}", "full") for s in INPUT_SCALES},
    }
