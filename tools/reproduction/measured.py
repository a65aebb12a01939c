"""What is known of a row after its evaluation, and how rows compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dld_d2.evaluation.bootstrap import hmean_intervals, spotting_difference

__all__ = ["Measured", "compare", "vanilla_at_cost"]

REPEATS = 2000


@dataclass(frozen=True)
class Measured:
    """A row's scores, image by image.

    Attributes:
        metrics: of results.json.
        counts: "e2e_none" and so on -> (I, 5), rows of `dld_d2.evaluation.protocol.Counts`.
        cost: (I,) 2^30 multiply-adds of everything.
        published_cost: (I,) of backbone, FPN and RPN head alone.
        scale: (I,) of the full resolution.
        regime: (I,) how large the words are, the last part of the image's id.
    """

    metrics: dict[str, float]
    counts: dict[str, np.ndarray]
    cost: np.ndarray
    published_cost: np.ndarray
    scale: np.ndarray
    regime: np.ndarray

    @classmethod
    def from_results(cls, results: dict, full_side: int = 512, side: int | None = None) -> Measured:
        """From results.json.

        Args:
            results: its content.
            full_side: short side of the images at full resolution.
            side: short side that the images were scaled to, for a model that chooses no scale.
        """
        images = results["images"]
        rows = list(images.values())
        fixed = (side or full_side) / full_side
        return cls(
            metrics=results["metrics"],
            counts={
                key: np.array([row["counts"][key] for row in rows], dtype=np.float64)
                for key in rows[0]["counts"]
            },
            cost=np.array([row["cost_whole"] for row in rows]),
            published_cost=np.array([row["cost_published"] for row in rows]),
            scale=np.array([row.get("scale", fixed) for row in rows]),
            regime=np.array([name.rsplit("_", 1)[-1] for name in images]),
        )

    def hmean(self, case: str) -> float:
        return self.metrics[f"{case}_hmean"]

    def interval(self, case: str) -> tuple[float, float]:
        """Ends of the 95% bootstrap interval of the spotting hmean."""
        return hmean_intervals(self.counts[case], REPEATS)["spot_hmean"]


def compare(one: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """Difference of two hmeans with its 95% interval, on the same resampled images; arguments are
    counts."""
    return spotting_difference(one, other, REPEATS)


def vanilla_at_cost(vanilla: Sequence[Measured], cost: float, case: str) -> np.ndarray | None:
    """Counts of the teacher at a mean cost between those of its fixed scales.

    A share of the images is read at the next cheaper scale and the rest at the next dearer one, so
    that counts and cost are the weighted means of both.

    Args:
        vanilla: the teacher at several scales, in any order.
        cost: mean 2^30 multiply-adds.
        case: such as "e2e_none".

    Returns:
        (I, 5), or None if the cost is beyond those of all scales.
    """
    points = sorted(vanilla, key=lambda m: m.cost.mean())
    for low, high in pairwise(points):
        a, b = low.cost.mean(), high.cost.mean()
        if a <= cost <= b:
            share = (cost - a) / (b - a)
            return (1 - share) * low.counts[case] + share * high.counts[case]
    return None
