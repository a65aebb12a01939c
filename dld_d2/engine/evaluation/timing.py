"""How fast a model is."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from dld_d2.analysis.timing import ForwardTimer, Timing
from dld_d2.engine.evaluation.part import PartEvaluator, Summary

__all__ = ["TimingEvaluator"]


class TimingEvaluator(PartEvaluator):
    """Times the model's forward pass on one device, without loading, evaluation and what other
    evaluators ask of the model.

    Metrics: `fps`, `seconds_per_image`.

    Args:
        model: that is evaluated.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._timer: ForwardTimer | None = None
        self.reset()

    def reset(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = ForwardTimer(self._model)

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """The timer has seen the pass."""

    def seen(self) -> Timing:
        timing = Timing(0, 0.0) if self._timer is None else self._timer.stop()
        self._timer = None
        return timing

    def summarize(self, seen: Sequence[Timing]) -> Summary:
        images, seconds = sum(t.images for t in seen), sum(t.seconds for t in seen)
        if images == 0 or seconds == 0:
            return Summary()
        return Summary({"fps": images / seconds, "seconds_per_image": seconds / images})
