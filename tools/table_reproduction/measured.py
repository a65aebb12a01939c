"""What is known of a row after its evaluation, and how rows compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from demo_page.scores import hmean

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
    def from_results(cls, results: dict, scale: float = 1.0) -> Measured:
        """From results.json.

        Args:
            results: its content.
            scale: at which all images were read, for a model that chooses none.
        """
        images = results["images"]
        rows = list(images.values())
        return cls(
            metrics=results["metrics"],
            counts={
                key: np.array([row["counts"][key] for row in rows], dtype=np.float64)
                for key in rows[0]["counts"]
            },
            cost=np.array([row["cost_whole"] for row in rows]),
            published_cost=np.array([row["cost_published"] for row in rows]),
            scale=np.array([row.get("scale", scale) for row in rows]),
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


def vanilla_at_cost(
    vanilla: Mapping[str, Measured], cost: float, case: str
) -> tuple[np.ndarray, str, str] | None:
    """Counts of the teacher at a mean cost between those of its fixed scales, at its best.

    A share of the images is read at a cheaper scale and the rest at a dearer one, so that counts
    and cost are the weighted means of both. Of all pairs of scales that one is taken whose mixture
    reads best: neighbours on the upper hull of accuracy over cost.

    Args:
        vanilla: name -> the teacher at one scale.
        cost: mean 2^30 multiply-adds.
        case: such as "e2e_none".

    Returns:
        (I, 5) counts and the names of the cheaper and the dearer, which are one where its cost is
        the wanted one; or None if the cost is beyond those of all scales.
    """
    mixtures = []
    for low, high in combinations_with_replacement(
        sorted(vanilla, key=lambda name: vanilla[name].cost.mean()), 2
    ):
        a, b = vanilla[low].cost.mean(), vanilla[high].cost.mean()
        if a <= cost <= b:
            share = (cost - a) / (b - a) if b > a else 0.0
            counts = (1 - share) * vanilla[low].counts[case] + share * vanilla[high].counts[case]
            mixtures.append((hmean(counts), counts, low, high))
    if not mixtures:
        return None
    return max(mixtures, key=lambda mixture: mixture[0])[1:]
