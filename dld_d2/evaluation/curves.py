"""Scores as a function of the confidence threshold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dld_d2.evaluation.geometry import Overlaps
from dld_d2.evaluation.protocol import Rates, Truth, find_candidates, rates


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

    Matching is greedy, so that a further detection may take another's place, which then looks for
    a place of its own: see `_Places`.

    Returns:
        (S, 4) float64: score, and the *changes* in scored detections, matches and correct ones.
    """
    candidates, det_dont_care = find_candidates(overlaps, truth.dont_care, iou)
    gts_of: dict[int, list[int]] = {}
    for gt, det in zip(
        overlaps.gt_index[candidates].tolist(), overlaps.det_index[candidates].tolist(), strict=True
    ):
        gts_of.setdefault(det, []).append(gt)
    readings = [text.upper() for text in det_texts]
    places = _Places(gts_of, lambda gt, det: readings[det] in truth.readings[gt])

    levels, level_of = np.unique(-scores, return_inverse=True)
    steps = np.zeros((len(levels), 4))
    steps[:, 0] = -levels
    steps[:, 1] = np.bincount(level_of[~det_dont_care], minlength=len(levels))
    for det in np.argsort(level_of, kind="stable").tolist():
        steps[level_of[det], 2:] += places.add(det)
    return steps


class _Places:
    """The greedy matching of `match_image` while detections are added one by one.

    Each ground truth holds the first detection, in their order, that no ground truth before it
    holds. A new detection can only displace one, at the first ground truth that prefers it; the
    displaced one goes on to those after, as if it were new to them.
    """

    def __init__(
        self, gts_of: Mapping[int, Sequence[int]], is_correct: Callable[[int, int], bool]
    ) -> None:
        self._gts_of = gts_of
        self._is_correct = is_correct
        self._det_at: dict[int, int] = {}

    def add(self, det: int) -> tuple[int, int]:
        """Changes in the numbers of matches and of correct ones."""
        correct, before = 0, -1
        while True:
            for gt in self._gts_of.get(det, ()):
                if gt > before and det < self._det_at.get(gt, det + 1):
                    break
            else:
                return 0, correct
            displaced = self._det_at.get(gt)
            self._det_at[gt] = det
            correct += self._is_correct(gt, det)
            if displaced is None:
                return 1, correct
            correct -= self._is_correct(gt, displaced)
            det, before = displaced, gt


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
