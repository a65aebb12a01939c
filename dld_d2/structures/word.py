"""A word in an image: the record that annotations, results and scores share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["DONT_CARE", "Word"]

DONT_CARE = "###"
"""Transcription of a region that counts neither as a word nor as background (ICDAR RRC)."""


@dataclass(frozen=True, slots=True, eq=False)
class Word:
    """One word: where it is, what it says and how sure its finder was.

    Attributes:
        polygon: (K, 2) float, vertices (x, y) in pixels of the image, K >= 3, in either direction,
            not closed; pixel (0, 0) covers [0, 1] x [0, 1].
        text: the transcription; `DONT_CARE` marks a don't-care region of a ground truth.
        score: confidence that results are ranked by, higher is surer; None where there is none.
        detection_score: confidence that there is text, where it is told apart from `score`;
            otherwise None.
    """

    polygon: np.ndarray
    text: str
    score: float | None = None
    detection_score: float | None = None
