"""How many words go wrong in an image, and which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dld_d2.evaluation.geometry import Overlaps
from dld_d2.evaluation.protocol import END_TO_END, correct_pairs, match_image, prepare_truth

__all__ = ["Mistakes", "find_mistakes"]


class Mistakes(NamedTuple):
    """What goes wrong in one image, in words.

    Attributes:
        truth: (G,) float64, a half for each word that is not read correctly, 0 for don't-care.
        found: (D,) float64, likewise for what was reported.
    """

    truth: np.ndarray
    found: np.ndarray

    @property
    def total(self) -> float:
        """A misread word counts once, a missed one and a false alarm a half each."""
        return float(self.truth.sum() + self.found.sum())


def find_mistakes(
    overlaps: Overlaps, truth_texts: Sequence[str], found_texts: Sequence[str], iou: float = 0.5
) -> Mistakes:
    """Compare what was found in an image with its truth, by the rules of the end-to-end protocol.

    Args:
        overlaps: of the G true polygons and the D found ones.
        truth_texts: G texts; `DONT_CARE` for what does not count.
        found_texts: D texts.
        iou: that a match takes.
    """
    truth = prepare_truth(truth_texts, END_TO_END)
    match = match_image(overlaps, truth.dont_care, iou)
    right = correct_pairs(match, truth, found_texts)
    wrong = np.where(truth.dont_care, 0.0, 0.5), np.where(match.det_dont_care, 0.0, 0.5)
    wrong[0][match.gt_index[right]] = 0.0
    wrong[1][match.det_index[right]] = 0.0
    return Mistakes(*wrong)
