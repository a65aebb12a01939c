"""What each term of the distillation loss costs of a training step, and how large it is.

    python tools/benchmark.py terms --config-file configs/skd_only_mixed.yaml --size 896 1344

Each term is alone in a step of SKD-only, beside the same step without any. The teacher's pass,
which all terms share, is measured by itself. No weights, data or GPU are needed.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.utils.events import EventStorage

from benchmark_suite.forcing import forced_length
from benchmark_suite.models import machine, parse_arguments
from benchmark_suite.report import print_terms
from benchmark_suite.timing import Clock, interleave
from benchmark_suite.workload import Workload, build_cfg, build_distiller, calibrate, make_batch
from dld_d2.commands.console import console
from dld_d2.commands.errors import ends_in_one_line
from dld_d2.distillation.distiller import Distiller
from dld_d2.distillation.terms.term import known_terms

__all__ = ["main", "measure_terms"]


@ends_in_one_line()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    arguments = parse_arguments(argv, __doc__)
    logging.basicConfig(level=logging.ERROR)
    torch.set_num_threads(arguments.threads)
    workload = Workload(
        size=tuple(arguments.size),
        batch=arguments.batch,
        words=arguments.words,
        scale=arguments.scale,
        repeats=arguments.repeats,
    )
    console.print(f"{machine(arguments)}\n{workload}")
    figures = measure_terms(arguments.config_file, arguments.opts, workload, clock=arguments.clock)
    print_terms(figures)
    if arguments.json:
        figures |= {"machine": machine(arguments), "workload": vars(workload)}
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


def measure_terms(
    config_file: str, opts: list[str], workload: Workload, *, clock: str = "wall"
) -> dict[str, Any]:
    """Seconds of a step with each term alone, forward and backward.

    Args:
        config_file: of a spotter or a distillation; the terms have its weights and forms.
        opts: overrides of the configuration.
        workload: what to measure on.
        clock: see `Clock`.

    Returns:
        "seconds" of each step, of the one with "none", and of the "teacher's pass" alone;
        "over_none", by term, the median over the rounds of what it adds, in units of the step
        without any; "losses", by term, its weighted size with random weights; "refused", by term,
        why it cannot be had.
    """
    fixed = ("MODEL.DYNAMIC.FIXED_SCALE", str(workload.scale), "MODEL.DISTILL.TERMS", "()")
    cfg = build_cfg(config_file, [*opts, *fixed], policy="fixed")
    none = build_distiller(cfg, workload.seed)
    inputs = make_batch(
        workload.size, batch=workload.batch, words=workload.words, seed=workload.seed
    )
    calibrate(none, inputs)
    images, targets = none.student.spotter.preprocess(inputs)
    longest = max(int((x["instances"].gt_texts >= 0).sum(dim=1).max()) for x in inputs) - 1

    def step(distiller: Distiller) -> None:
        sum(distiller.losses(images, targets).values()).backward()
        distiller.zero_grad()

    @torch.no_grad()
    def teacher() -> None:
        none.teacher.recognize(images, targets)

    steps, losses, refused = (
        {"none": functools.partial(step, none), "teacher's pass": teacher},
        {},
        {},
    )
    # The teacher's search ends when the words do; random weights would end anywhere. Weights of
    # terms rise in the first iterations.
    ends = forced_length(none.teacher.roi_heads.text_head.decoder, longest)
    with EventStorage(1_000_000), ends:
        before = none.losses(images, targets)
        for name in sorted(known_terms()):
            try:
                distiller = _with_term(cfg, name, none)
                found = distiller.losses(images, targets)
            except ValueError as error:
                refused[name] = str(error)
                continue
            own = found.keys() - before.keys()
            losses[name] = sum(found[loss].item() for loss in own)
            steps[name] = functools.partial(step, distiller)
        clock_of_device = Clock(cfg.MODEL.DEVICE, clock)
        seconds = interleave(steps, repeats=workload.repeats, clock=clock_of_device)
    return {
        "seconds": seconds,
        "over_none": {name: seconds.ratio(name, "none") - 1 for name in losses},
        "losses": losses,
        "refused": refused,
    }


def _with_term(cfg: CfgNode, name: str, without: Distiller) -> Distiller:
    """The same student and teacher with one term."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DISTILL.TERMS = (name,)
    cfg.freeze()
    return Distiller(cfg, without.student, without.teacher).train()
