"""Random numbers that stay the same from one NumPy release to the next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

__all__ = ["Draws"]

T = TypeVar("T")


class Draws:
    """A stream of random numbers that is a function of its key.

    NumPy promises that its bit generators and seed sequences never change, but not what the
    distributions of `Generator` make of them. So everything here is made of uniform numbers.
    """

    def __init__(self, *key: int) -> None:
        """
        Args:
            key: non-negative numbers; streams of different keys are independent.
        """
        self._generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))
        self._buffer: list[float] = []

    def unit(self) -> float:
        """Uniform in [0, 1)."""
        if not self._buffer:
            self._buffer = self._generator.random(256).tolist()
        return self._buffer.pop()

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self.unit()

    def log_uniform(self, low: float, high: float) -> float:
        return math.exp(self.uniform(math.log(low), math.log(high)))

    def integer(self, low: int, high: int) -> int:
        """Uniform among low, ..., high, both included."""
        return low + int(self.unit() * (high - low + 1))

    def chance(self, probability: float) -> bool:
        return self.unit() < probability

    def pick(self, items: Sequence[T]) -> T:
        return items[int(self.unit() * len(items))]

    def pick_weighted(self, weights: Mapping[T, float]) -> T:
        """A key, with a frequency in proportion to its value."""
        rest = self.unit() * sum(weights.values())
        chosen = None
        for key, weight in weights.items():
            if weight <= 0:
                continue
            chosen = key
            rest -= weight
            if rest < 0:
                break
        if chosen is None:
            raise ValueError("no weight is positive")
        return chosen

    def array(self, *shape: int) -> np.ndarray:
        """Uniform in [0, 1), float32."""
        return self._generator.random(shape, dtype=np.float64).astype(np.float32)
