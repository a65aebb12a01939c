"""Where a training step spends its time: stages, and the networks' parts within them."""

from __future__ import annotations

import contextlib
import functools
from collections import defaultdict
from collections.abc import Callable, Iterator

import torch
from torch import nn

from benchmark_suite.timing import Clock
from dld_d2.distillation.distiller import Distiller
from dld_d2.modeling.spotters.mask_rcnn.spotter import MaskRCNNSpotter

__all__ = ["REGION_PARTS", "stage_seconds"]

REGION_PARTS = ("RoI masking", "encoder", "context", "decoder")


def stage_seconds(
    distiller: Distiller, step: Callable[[], None], clock: Clock, repeats: int
) -> dict[str, float]:
    """Mean seconds by stage and by "stage/part"; the whole step is "step".

    What the parts of a stage do not add up to is its remainder: sums of the FPN, losses, sampling,
    Python.
    """
    ranges = _Ranges(clock)
    with _labelled(distiller, ranges):
        for _ in range(repeats):
            with ranges.measure("step"):
                step()
    return {name: seconds / repeats for name, seconds in ranges.seconds.items()}


class _Ranges:
    """Seconds by name, of what happens between entering and leaving ranges that may nest."""

    def __init__(self, clock: Clock) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.stage = ""
        self._clock = clock
        self._starts: list[float] = []

    def enter(self) -> None:
        self._starts.append(self._clock())

    def leave(self, name: str) -> None:
        self.seconds[name] += self._clock() - self._starts.pop()

    @contextlib.contextmanager
    def measure(self, name: str) -> Iterator[None]:
        self.enter()
        yield
        self.leave(name)

    def staged(self, name: str, call: Callable) -> Callable:
        @functools.wraps(call)
        def measured(*args, **kwargs):
            outer, self.stage = self.stage, name
            with self.measure(name):
                result = call(*args, **kwargs)
            self.stage = outer
            return result

        return measured

    def part(self, part: str, call: Callable) -> Callable:
        @functools.wraps(call)
        def measured(*args, **kwargs):
            self.enter()
            result = call(*args, **kwargs)
            # Outside any stage it is the student's decoder along the teacher's sequences.
            self.leave(f"{self.stage}/{part}" if self.stage else f"sequence {part}")
            return result

        return measured


@contextlib.contextmanager
def _labelled(distiller: Distiller, ranges: _Ranges) -> Iterator[None]:
    student, teacher = distiller.student, distiller.teacher
    stages = [
        (teacher, "recognize", "teacher"),
        (distiller.learning, "draw", "selector"),
        (student, "view_with_targets", "views"),
        (student.spotter, "recognize", "candidates"),
        (student.spotter, "losses", "selected"),
        (teacher.roi_heads.text_head.decoder, "k_best", "beam search"),
        (torch.Tensor, "backward", "backward"),
    ]
    places = [
        *((owner, name, ranges.staged, stage) for owner, name, stage in stages),
        *(
            (owner, name, ranges.part, part)
            for spotter in (student.spotter, teacher)
            for owner, name, part in _parts(spotter)
        ),
    ]
    originals = [vars(owner).get(name) for owner, name, _, _ in places]
    for owner, name, measured, label in places:
        setattr(owner, name, measured(label, getattr(owner, name)))
    try:
        yield
    finally:
        for (owner, name, _, _), original in zip(places, originals, strict=True):
            if original is None:
                delattr(owner, name)
            else:
                setattr(owner, name, original)


def _parts(spotter: MaskRCNNSpotter) -> list[tuple[nn.Module, str, str]]:
    """Modules and what is called of them, by part."""
    backbone, heads = spotter.backbone, spotter.roi_heads
    branch = heads.text_head
    parts = {
        "backbone": [backbone.bottom_up],
        "FPN": [*backbone.lateral_convs, *backbone.output_convs],
        "RPN": [spotter.proposal_generator],
        "RoI masking": [branch.roi_masking],
        "encoder": [branch.encoder],
        "context": [branch.context],
    }
    heads_of_regions = ("label_and_sample_proposals", "_forward_box", "_forward_mask")
    return [
        *((module, "forward", part) for part, modules in parts.items() for module in modules),
        *((heads, name, "box and mask heads") for name in heads_of_regions),
        (branch.decoder, "trace", "decoder"),
    ]
