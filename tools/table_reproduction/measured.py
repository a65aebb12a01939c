"""What is known of a row after its evaluation, and how rows compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from demo_page.scores import hmean

from dld_d2.evaluation.bootstrap import hmean_intervals, mean_intervals, spotting_difference
from dld_d2.evaluation.protocol import Counts

__all__ = ["Measured", "compare", "detection_alone", "scored", "vanilla_at_cost"]

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
        regions: (I, 2) ground-truth regions, and those that are read as they are; None if
            results.json is of an earlier version, which did not tell.
    """

    metrics: dict[str, float]
    counts: dict[str, np.ndarray]
    cost: np.ndarray
    published_cost: np.ndarray
    scale: np.ndarray
    regime: np.ndarray
    regions: np.ndarray | None = None

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
            regions=(
                np.array([row["regions"][:2] for row in rows], dtype=np.float64)
                if all("regions" in row for row in rows)
                else None
            ),
        )

    def hmean(self, case: str) -> float:
        return self.metrics[f"{case}_hmean"]

    def interval(self, case: str) -> tuple[float, float]:
        """Ends of the 95% bootstrap interval of the spotting hmean."""
        return hmean_intervals(self.counts[case], REPEATS)["spot_hmean"]

    def regions_read(self) -> tuple[float, float, float] | None:
        """Share of the ground-truth regions that is read, with its 95% interval; None if that is
        not known of each image."""
        if self.regions is None:
            return None
        known = self.regions[self.regions[:, 0] > 0]
        return tuple(mean_intervals(known[:, 1:], known[:, 0], REPEATS)[0].tolist())


def compare(one: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """Difference of two hmeans with its 95% interval, on the same resampled images; arguments are
    counts."""
    return spotting_difference(one, other, REPEATS)


def scored(counts: np.ndarray) -> tuple[float, float, float]:
    """The spotting hmean of (I, 5) counts, with its 95% bootstrap interval."""
    return (hmean(counts), *hmean_intervals(counts, REPEATS)["spot_hmean"])


def detection_alone(counts: np.ndarray) -> np.ndarray:
    """Counts by which every word that is found is right, whatever it is read as."""
    counts = counts.copy()
    fields = Counts._fields
    counts[:, fields.index("num_correct")] = counts[:, fields.index("num_matched")]
    return counts


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
