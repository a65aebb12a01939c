"""Seconds of several things, taken in turn so that all see the same machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["Clock", "Elapsed", "Seconds", "Stopwatch", "interleave"]


class Elapsed(NamedTuple):
    """Seconds that passed, and those that this process had on CPUs: of the two, a busy machine
    stretches only the former."""

    wall: float
    cpu: float


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> Elapsed:
        return Elapsed(time.perf_counter() - self._wall, time.process_time() - self._cpu)


class Clock:
    """Seconds of work given to a device.

    Args:
        device: that is waited for, if it is a GPU.
        kind: "wall", or "cpu" for the time that this process has had on CPUs. With one thread that
            is the same, less what other processes of a shared machine took.

    Raises:
        ValueError: for another kind, and for "cpu" with a GPU.
    """

    def __init__(self, device: str, kind: str = "wall") -> None:
        self._cuda = device.startswith("cuda")
        if kind not in ("wall", "cpu") or (kind == "cpu" and self._cuda):
            raise ValueError(f"--clock {kind} cannot measure {device}; take wall")
        self.now = time.process_time if kind == "cpu" else time.perf_counter
        self._device = device

    def __call__(self) -> float:
        """Now, when the device has done what it was given."""
        if self._cuda:
            import torch  # what runs on CPUs may do without

            torch.cuda.synchronize(self._device)
        return self.now()


class Seconds(dict[str, list[float]]):
    """Measured seconds by name."""

    def median(self, name: str) -> float:
        return statistics.median(self[name])

    def ratio(self, name: str, other: str) -> float:
        """Median over the rounds of one time over the other: what slows a round slows both."""
        return statistics.median(a / b for a, b in zip(self[name], self[other], strict=True))


def interleave(
    candidates: dict[str, Callable[[], object]],
    *,
    repeats: int,
    clock: Clock,
    warmup: int = 1,
) -> Seconds:
    """Call all candidates in turn, A B C A B C ...; the first `warmup` rounds do not count."""
    seconds = Seconds({name: [] for name in candidates})
    for round_number in range(warmup + repeats):
        for name, call in candidates.items():
            start = clock()
            call()
            if round_number >= warmup:
                seconds[name].append(clock() - start)
    return seconds
