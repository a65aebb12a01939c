"""The ICDAR end-to-end and word-spotting protocols: matching and counting.

Rules of the RRC (Robust Reading Competition), for polygons of any number of points, in the form
that the authors of DLD (ECCV 2022) used. Geometry comes ready made (`geometry.Overlaps`), so that
one set of overlaps serves every task, threshold and lexicon.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dld_d2.evaluation.geometry import Overlaps
from dld_d2.evaluation.transcription import accepted_readings, dictionary_word, strip_commas
from dld_d2.structures.word import DONT_CARE

END_TO_END = "end_to_end"
WORD_SPOTTING = "word_spotting"
TASKS = (END_TO_END, WORD_SPOTTING)


class Counts(NamedTuple):
    """What one image, or a whole set, amounts to."""

    num_gt_care: int
    num_det: int
    num_det_care: int
    num_matched: int
    num_correct: int


class Rates(NamedTuple):
    """Recall, precision and their harmonic mean, each in 0..1."""

    recall: float
    precision: float
    hmean: float


@dataclass(slots=True, eq=False)
class Truth:
    """The ground truth of one image under one task.

    Attributes:
        texts: the transcriptions as they are, without commas.
        dont_care: (G,) bool.
        readings: for each word the upper-case readings that are correct; empty for don't-care.
    """

    texts: list[str]
    dont_care: np.ndarray
    readings: list[list[str]]


@dataclass(slots=True, eq=False)
class Match:
    """Which detection belongs to which ground truth in one image.

    Attributes:
        gt_index, det_index: (M,) intp, the matched pairs, ordered by ground truth.
        ious: (M,) float64, of the pairs.
        det_dont_care: (D,) bool.
    """

    gt_index: np.ndarray
    det_index: np.ndarray
    ious: np.ndarray
    det_dont_care: np.ndarray


def prepare_truth(texts: Sequence[str], task: str) -> Truth:
    """Apply the text rules of a task to the ground truth of one image."""
    texts = [strip_commas(text) for text in texts]
    words: list[str | None] = [None if text == DONT_CARE else text for text in texts]
    if task == WORD_SPOTTING:
        words = [None if word is None else dictionary_word(word) for word in words]
    return Truth(
        texts,
        np.array([word is None for word in words], dtype=bool),
        [[] if word is None else accepted_readings(word, task) for word in words],
    )


def match_image(overlaps: Overlaps, gt_dont_care: np.ndarray, iou: float) -> Match:
    """Match the detections of one image to its ground truth.

    A detection is don't-care when more than `iou` of its own area lies in one don't-care region.
    Of the rest, ground truths are scanned in order and take the first free detection, in order,
    with IoU > `iou`: not the best one.

    Args:
        overlaps: the geometry of the image.
        gt_dont_care: (G,) bool.
        iou: threshold for both rules, 0 <= iou < 1.
    """
    candidates, det_dont_care = find_candidates(overlaps, gt_dont_care, iou)
    chosen: list[int] = []
    taken_gts: set[int] = set()
    taken_dets: set[int] = set()
    for pair, gt, det in zip(
        candidates.tolist(),
        overlaps.gt_index[candidates].tolist(),
        overlaps.det_index[candidates].tolist(),
        strict=True,
    ):
        if gt not in taken_gts and det not in taken_dets:
            chosen.append(pair)
            taken_gts.add(gt)
            taken_dets.add(det)
    pairs = np.array(chosen, dtype=np.intp)
    ious = overlaps.ious[pairs]
    return Match(overlaps.gt_index[pairs], overlaps.det_index[pairs], ious, det_dont_care)


def find_candidates(
    overlaps: Overlaps, gt_dont_care: np.ndarray, iou: float
) -> tuple[np.ndarray, np.ndarray]:
    """Which pairs may match, before any is taken; arguments as for `match_image`.

    Returns:
        (C,) intp, those of `overlaps` in its order, and (D,) bool, which detections are don't-care.
    """
    in_dont_care = gt_dont_care[overlaps.gt_index]
    det_dont_care = np.zeros(len(overlaps.det_areas), dtype=bool)
    if in_dont_care.any():
        covered = in_dont_care & overlaps.det_coverage_exceeds(iou)
        det_dont_care[overlaps.det_index[covered]] = True
    candidates = overlaps.iou_exceeds(iou) & ~in_dont_care & ~det_dont_care[overlaps.det_index]
    return np.flatnonzero(candidates), det_dont_care


def correct_pairs(match: Match, truth: Truth, det_texts: Sequence[str]) -> np.ndarray:
    """(M,) bool: whether each matched detection reads its ground truth correctly."""
    return np.array(
        [
            det_texts[det].upper() in truth.readings[gt]
            for gt, det in zip(match.gt_index.tolist(), match.det_index.tolist(), strict=True)
        ],
        dtype=bool,
    )


def count_image(match: Match, truth: Truth, correct: np.ndarray) -> Counts:
    """Count one image."""
    return Counts(
        num_gt_care=int((~truth.dont_care).sum()),
        num_det=len(match.det_dont_care),
        num_det_care=int((~match.det_dont_care).sum()),
        num_matched=len(match.gt_index),
        num_correct=int(correct.sum()),
    )


def add_counts(counts: np.ndarray) -> Counts:
    """Sum the (I, 5) counts of images, in the order of the fields of `Counts`."""
    return Counts(*counts.sum(axis=0, dtype=np.int64).tolist())


def rates(hits, gt_care, det_care) -> Rates:
    """Recall, precision and hmean from counts; 0 where nothing is to be divided.

    Args:
        hits, gt_care, det_care: numbers or arrays that broadcast.
    """
    recall = _divide(hits, gt_care)
    precision = _divide(hits, det_care)
    return Rates(recall, precision, _divide(2.0 * recall * precision, recall + precision))


def _divide(numerator, denominator):
    numerator, denominator = np.broadcast_arrays(
        np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    )
    quotient = np.divide(
        numerator, denominator, out=np.zeros(numerator.shape), where=denominator != 0
    )
    return quotient if quotient.ndim else float(quotient)
