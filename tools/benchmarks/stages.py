"""Where a training step spends its time: stages, and the networks' parts within them."""

from __future__ import annotations

import contextlib
import functools
from collections import defaultdict
from collections.abc import Callable, Iterator

import torch
from torch import nn

import dld_d2.modeling.distillation.distiller as distiller_module
from dld_d2.modeling.distillation import DynamicResolutionDistiller

from .timing import Clock

__all__ = ["REGION_PARTS", "stage_seconds"]

REGION_PARTS = ("RoI masking", "encoder", "context", "decoder")


def stage_seconds(
    distiller: DynamicResolutionDistiller, step: Callable[[], None], clock: Clock, repeats: int
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

    def hook(self, module: nn.Module, part: str) -> list:
        def leave(*args):
            # Outside any stage it is the student's decoder along the teacher's sequences.
            self.leave(f"{self.stage}/{part}" if self.stage else f"sequence {part}")

        return [
            module.register_forward_pre_hook(lambda *args: self.enter()),
            module.register_forward_hook(leave),
        ]


@contextlib.contextmanager
def _labelled(distiller: DynamicResolutionDistiller, ranges: _Ranges) -> Iterator[None]:
    student, teacher, policy = distiller.student, distiller.teacher, distiller.policy
    places = [
        (teacher, "recognize", "teacher"),
        (policy, "sample_with_logits", "selector"),
        (distiller_module, "scale_images", "views"),
        (distiller_module, "scale_targets", "views"),
        (student, "recognize", "candidates"),
        (student, "losses", "selected"),
        (distiller_module, "beam_search", "beam search"),
        (torch.Tensor, "backward", "backward"),
    ]
    originals = [vars(owner).get(name) for owner, name, _ in places]
    handles = [
        handle
        for spotter in (student, teacher)
        for part, modules in _parts(spotter).items()
        for module in modules
        for handle in ranges.hook(module, part)
    ]
    for owner, name, stage in places:
        setattr(owner, name, ranges.staged(stage, getattr(owner, name)))
    try:
        yield
    finally:
        for (owner, name, _), original in zip(places, originals, strict=True):
            if original is None:
                delattr(owner, name)
            else:
                setattr(owner, name, original)
        for handle in handles:
            handle.remove()


def _parts(spotter: nn.Module) -> dict[str, list[nn.Module]]:
    backbone, branch = spotter.backbone, spotter.recognition
    return {
        "backbone": [backbone.bottom_up],
        "FPN": [*backbone.lateral_convs, *backbone.output_convs],
        "RPN": [spotter.proposal_generator],
        "box and mask heads": [spotter.roi_heads],
        "RoI masking": [branch.roi_masking],
        "encoder": [branch.encoder],
        "context": [branch.context],
        "decoder": [branch.decoder],
    }
