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

import torch
from torch import Tensor

from dld_d2.modeling.selection.selector import select

__all__ = ["Budget", "choose_cost_bias"]


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


def choose_cost_bias(logits: Tensor, relative_cost: Tensor, target_cost: float) -> Budget:
    """The bias whose mean cost is closest to the target without being above.

    Args:
        logits: (N, k), of N images, as inference computes them.
        relative_cost: (k,), of the candidates.
        target_cost: wanted mean relative cost.

    Returns:
        b from the middle of its step, so that it stands away from the values at which an image
        changes its scale; 0 if the step has it.

    Raises:
        ValueError: if no bias gives such a mean, for no images, and for logits that are not finite.
    """
    if len(logits) == 0:
        raise ValueError("a cost bias is chosen on images, and there are none")
    if not torch.isfinite(logits).all():
        raise ValueError("the selector's logits are not finite: its weights are of no use")
    cheapest, dearest = relative_cost.min().item(), relative_cost.max().item()
    if not cheapest - 1e-6 <= target_cost <= dearest + 1e-6:  # users round what they are told
        raise ValueError(
            f"a mean relative cost of {target_cost:g} is out of reach: the candidate scales allow "
            f"{cheapest:.4f} to {dearest:.4f}"
        )
    target_cost = max(target_cost, cheapest) + 1e-9  # means of equal costs are rounded too
    costs = relative_cost.double()

    @cache
    def mean_cost(bias: float) -> float:
        return costs[select(logits, bias, relative_cost)].mean().item()

    changes = _changes(logits, relative_cost)
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
    choice = select(logits, bias, relative_cost)
    shares = torch.bincount(choice, minlength=len(relative_cost)).double() / len(logits)
    return Budget(bias, reached, tuple(shares.tolist()))


def _changes(logits: Tensor, relative_cost: Tensor) -> list[float]:
    """All values of b, ascending, at which two candidates of an image are level."""
    i, j = torch.triu_indices(len(relative_cost), len(relative_cost), offset=1)
    differ = relative_cost[i] != relative_cost[j]
    i, j = i[differ], j[differ]
    logits, relative_cost = logits.double(), relative_cost.double()
    level = (logits[:, i] - logits[:, j]) / (relative_cost[i] - relative_cost[j])
    return torch.unique(level).tolist() or [0.0]


def _beyond(bias: float) -> float:
    """A distance that single precision keeps."""
    return max(1.0, abs(bias) / 1000)
