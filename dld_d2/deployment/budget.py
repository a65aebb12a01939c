"""Sliding along the accuracy-cost curve: the cost bias that meets a wanted mean cost.

A resolution selector gives logits l of the candidate scales; with a cost bias b an image gets the
scale with the largest l_i - b * cost_i. The mean cost over images is a step function of b that
never rises.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np

__all__ = ["Budget", "choose_cost_bias", "choose_scales"]


@dataclass(frozen=True)
class Budget:
    """A cost bias and what comes of it on the images it was chosen on.

    Attributes:
        cost_bias: b.
        mean_cost: mean relative cost; the full resolution's is 1, the selector's own not counted.
        shares: of the images at each candidate scale.
    """

    cost_bias: float
    mean_cost: float
    shares: tuple[float, ...]


def choose_scales(logits: np.ndarray, cost_bias: float, relative_cost: np.ndarray) -> np.ndarray:
    """Which scale each image is read at.

    Args:
        logits: (N, k).
        cost_bias: b.
        relative_cost: (k,).

    Returns:
        (N,) int64, argmax_i(logits_i - b * relative_cost_i), in single precision, as by
        `dld_d2.modeling.selection.selector.select`.
    """
    logits = np.asarray(logits, dtype=np.float32)
    if cost_bias:
        logits = logits - np.float32(cost_bias) * np.asarray(relative_cost, dtype=np.float32)
    return logits.argmax(axis=1)


def choose_cost_bias(logits: np.ndarray, relative_cost: np.ndarray, target_cost: float) -> Budget:
    """The bias whose mean cost is closest to the target without being above.

    Args:
        logits: (N, k) float32, of N images, as inference computes them; a tensor on the CPU does.
        relative_cost: (k,) float32, of the candidates.
        target_cost: wanted mean relative cost.

    Returns:
        b from the middle of its step, so that it stands away from the values at which an image
        changes its scale; 0 if the step has it.

    Raises:
        ValueError: if no bias gives such a mean, for no images, and for logits that are not finite.
    """
    if len(logits) == 0:
        raise ValueError("a cost bias is chosen on images, and there are none")
    logits = np.asarray(logits, dtype=np.float32)
    costs = np.asarray(relative_cost, dtype=np.float32).astype(np.float64)
    if not np.isfinite(logits).all():
        raise ValueError("the selector's logits are not finite: its weights are of no use")
    cheapest, dearest = float(costs.min()), float(costs.max())
    if not cheapest - 1e-6 <= target_cost <= dearest + 1e-6:  # users round what they are told
        raise ValueError(
            f"a mean relative cost of {target_cost:g} is out of reach: the candidate scales allow "
            f"{cheapest:.4f} to {dearest:.4f}"
        )
    target_cost = max(target_cost, cheapest) + 1e-9  # means of equal costs are rounded too

    @cache
    def mean_cost(bias: float) -> float:
        return float(costs[choose_scales(logits, bias, costs)].mean())

    changes = _changes(logits, costs)
    # Between each two changes, and beyond the first and last, one bias stands for all.
    edges = [changes[0] - _beyond(changes[0]), *changes, changes[-1] + _beyond(changes[-1])]
    steps = [(low + high) / 2 for low, high in pairwise(edges)]
    first = bisect_left(steps, True, key=lambda bias: mean_cost(bias) <= target_cost)
    # Single precision, in which inference subtracts, may blur steps that are very narrow.
    while first < len(steps) - 1 and mean_cost(steps[first]) > target_cost:
        first += 1
    first = min(first, len(steps) - 1)
    reached = mean_cost(steps[first])
    end = bisect_left(steps, True, lo=first, key=lambda bias: mean_cost(bias) < reached)
    low, high = edges[first], edges[end]
    bias = 0.0 if low < 0 < high else (low + high) / 2
    if mean_cost(bias) != reached:
        bias = steps[first]
    choice = choose_scales(logits, bias, costs)
    shares = np.bincount(choice, minlength=len(costs)) / len(logits)
    return Budget(bias, reached, tuple(shares.tolist()))


def _changes(logits: np.ndarray, costs: np.ndarray) -> list[float]:
    """All values of b, ascending, at which two candidates of an image are level."""
    i, j = np.triu_indices(len(costs), k=1)
    differ = costs[i] != costs[j]
    i, j = i[differ], j[differ]
    logits = logits.astype(np.float64)
    level = (logits[:, i] - logits[:, j]) / (costs[i] - costs[j])
    return np.unique(level).tolist() or [0.0]


def _beyond(bias: float) -> float:
    """A distance that single precision keeps."""
    return max(1.0, abs(bias) / 1000)
