"""How long a model's forward passes take."""

from __future__ import annotations

import time
from typing import NamedTuple

import torch
from torch import nn

__all__ = ["ForwardTimer", "Timing"]


class Timing(NamedTuple):
    """Images that were timed, and the seconds they took together."""

    images: int
    seconds: float


class ForwardTimer:
    """Measures calls of a model on batches: forward passes alone, the device synchronised before
    and after, without loading, evaluation, and the first images."""

    def __init__(self, model: nn.Module, num_warmup: int = 5) -> None:
        """
        Args:
            model: called with a list of images.
            num_warmup: calls at the beginning that are left out, unless there are no others.
        """
        self._num_warmup = num_warmup
        self._calls: list[Timing] = []
        self._start = 0.0
        self._handles = [
            model.register_forward_pre_hook(self._before),
            model.register_forward_hook(self._after),
        ]

    def stop(self) -> Timing:
        """Leave the model as it was, and return what was measured."""
        for handle in self._handles:
            handle.remove()
        calls = self._calls[self._num_warmup :] or self._calls[-1:]
        return Timing(sum(call.images for call in calls), sum(call.seconds for call in calls))

    def _before(self, model: nn.Module, args: tuple) -> None:
        _synchronize(model)
        self._start = time.perf_counter()

    def _after(self, model: nn.Module, args: tuple, output: object) -> None:
        _synchronize(model)
        self._calls.append(Timing(len(args[0]), time.perf_counter() - self._start))


def _synchronize(model: nn.Module) -> None:
    parameter = next(model.parameters(), None)
    if parameter is not None and parameter.is_cuda:
        torch.cuda.synchronize(parameter.device)
