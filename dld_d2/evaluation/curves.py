"""Scores as a function of the confidence threshold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from dld_d2.evaluation.geometry import Overlaps
from dld_d2.evaluation.protocol import Rates, Truth, correct_pairs, match_image, rates


@dataclass(slots=True, eq=False)
class Curve:
    """Rates of the whole set when only detections with score >= threshold are kept.

    Attributes:
        thresholds: (T,) float64, falling: every distinct score.
        detection, spotting: rates, each field (T,) float64.
    """

    thresholds: np.ndarray
    detection: Rates
    spotting: Rates

    def best(self) -> dict[str, float] | None:
        """Threshold of the highest spotting hmean (the highest threshold on a tie), and its hmeans.

        None without any detection.
        """
        if len(self.thresholds) == 0:
            return None
        index = int(np.argmax(self.spotting.hmean))
        return {
            "threshold": float(self.thresholds[index]),
            "det_hmean": float(self.detection.hmean[index]),
            "spot_hmean": float(self.spotting.hmean[index]),
        }

    def to_dict(self) -> dict[str, list[float]]:
        """JSON-ready columns of equal length."""
        columns = {"threshold": self.thresholds.tolist()}
        for prefix, values in (("det", self.detection), ("spot", self.spotting)):
            for field in Rates._fields:
                columns[f"{prefix}_{field}"] = getattr(values, field).tolist()
        return columns


def image_steps(
    overlaps: Overlaps, truth: Truth, iou: float, scores: np.ndarray, det_texts: Sequence[str]
) -> np.ndarray:
    """What one image adds to the counts as the threshold falls.

    Matching is greedy, so that a further detection may take another's place: it is done again for
    every distinct score of the image.

    Returns:
        (S, 4) float64: score, and the *changes* in scored detections, matches and correct ones.
    """
    levels = np.unique(scores)[::-1]
    steps = np.zeros((len(levels), 4))
    before = np.zeros(3)
    for row, level in enumerate(levels):
        active = scores >= level
        match = match_image(overlaps, truth.dont_care, iou, active)
        correct = correct_pairs(match, truth, det_texts)
        after = (active & ~match.det_dont_care).sum(), len(match.gt_index), correct.sum()
        steps[row] = level, *(np.array(after) - before)
        before = np.array(after)
    return steps


def score_curve(steps: Iterable[np.ndarray], num_gt_care: int) -> Curve:
    """Add up the steps of all images into the curve of the set."""
    table = np.concatenate([np.zeros((0, 4)), *steps])
    table = table[np.argsort(-table[:, 0], kind="stable")]
    last_of_level = np.append(np.diff(table[:, 0]) != 0, True)[: len(table)]
    totals = np.cumsum(table[:, 1:], axis=0)[last_of_level]
    det_care, matched, correct = totals.T
    return Curve(
        table[last_of_level, 0],
        rates(matched, num_gt_care, det_care),
        rates(correct, num_gt_care, det_care),
    )
