"""Why a spotter fails: what became of each ground-truth word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from rapidfuzz.distance import Levenshtein

from dld_d2.evaluation.geometry import Overlaps
from dld_d2.evaluation.protocol import Match, Truth

HALF = 0.5
"""Share of a region's own area that must be covered to speak of merging or splitting."""


class Failures(NamedTuple):
    """Counts of outcomes.

    The first seven add up to the scored ground truths. `false_positive` counts scored detections
    that match nothing, those that merge or split words included.

    - correct: found and read.
    - misread_1, misread_2, misread_more: found, read with that many edits (upper case, nearest
      accepted reading).
    - merged: not found, but half or more of it lies in a detection that also covers half or more
      of another scored word.
    - split: not found nor merged, but two or more unmatched detections lie in it with half or more
      of their areas.
    - missed: not found in any way.
    """

    correct: int = 0
    misread_1: int = 0
    misread_2: int = 0
    misread_more: int = 0
    merged: int = 0
    split: int = 0
    missed: int = 0
    false_positive: int = 0


def break_down(
    overlaps: Overlaps, truth: Truth, match: Match, correct: np.ndarray, det_texts: Sequence[str]
) -> Failures:
    """Count the outcomes of one image; arguments as in `protocol.correct_pairs`."""
    edits = [
        min(Levenshtein.distance(det_texts[det].upper(), form) for form in truth.readings[gt])
        for gt, det in zip(
            match.gt_index[~correct].tolist(), match.det_index[~correct].tolist(), strict=True
        )
    ]
    num_gts, num_dets = len(truth.dont_care), len(match.det_dont_care)
    unmatched_gt = ~truth.dont_care
    unmatched_gt[match.gt_index] = False
    unmatched_det = ~match.det_dont_care
    unmatched_det[match.det_index] = False

    scored = ~truth.dont_care[overlaps.gt_index] & ~match.det_dont_care[overlaps.det_index]
    gt_index, det_index = overlaps.gt_index[scored], overlaps.det_index[scored]
    covers_gt = overlaps.gt_coverage_reaches(HALF)[scored]
    words_in_det = np.bincount(det_index[covers_gt], minlength=num_dets)
    in_merging = covers_gt & (words_in_det[det_index] >= 2)
    merged = unmatched_gt.copy()
    merged &= np.bincount(gt_index[in_merging], minlength=num_gts) > 0

    inside_gt = unmatched_det[det_index] & overlaps.det_coverage_reaches(HALF)[scored]
    split = unmatched_gt & ~merged & (np.bincount(gt_index[inside_gt], minlength=num_gts) >= 2)
    return Failures(
        correct=int(correct.sum()),
        misread_1=edits.count(1),
        misread_2=edits.count(2),
        misread_more=len(edits) - edits.count(1) - edits.count(2),
        merged=int(merged.sum()),
        split=int(split.sum()),
        missed=int((unmatched_gt & ~merged & ~split).sum()),
        false_positive=int(unmatched_det.sum()),
    )
