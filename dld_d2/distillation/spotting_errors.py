"""How many words go wrong in an image, found and read by itself: what choosing a scale is about."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from detectron2.structures import Instances
from torch import Tensor

from dld_d2.evaluation.geometry import compute_overlaps, truncate
from dld_d2.evaluation.protocol import END_TO_END, correct_pairs, match_image, prepare_truth
from dld_d2.modeling.spotters.rescale import rescale_instances
from dld_d2.structures.vocabulary import Vocabulary
from dld_d2.structures.word import DONT_CARE

__all__ = ["spotting_errors"]


def spotting_errors(
    found: Sequence[Instances],
    targets: Sequence[Instances],
    vocabulary: Vocabulary,
    iou: float = 0.5,
) -> Tensor:
    """Words that are missed or misread, and reported words that are none, by the rules of the
    end-to-end protocol (ICDAR RRC).

    Args:
        found: per image, what a spotter found in an image of any size.
        targets: per image its ground truth, in pixels of another size, in which words are
            compared. Words that the vocabulary cannot express count as don't-care.
        vocabulary: of `gt_texts`.
        iou: that a match takes.

    Returns:
        (B,) float32 on the targets' device: (words + reports) / 2 - right ones, in words, so that
        a misread word counts once, a missed one and a false alarm a half each.
    """
    errors = [
        _errors(rescale_instances(words, target.image_size), target, vocabulary, iou)
        for words, target in zip(found, targets, strict=True)
    ]
    return torch.tensor(errors, dtype=torch.float32, device=targets[0].gt_texts.device)


def _errors(found: Instances, target: Instances, vocabulary: Vocabulary, iou: float) -> float:
    readable = target.gt_readable.tolist()
    texts = [
        vocabulary.decode(row) if known else DONT_CARE
        for row, known in zip(target.gt_texts.tolist(), readable, strict=True)
    ]
    truth = prepare_truth(texts, END_TO_END)
    polygons = [truncate(polygon) for polygon in target.gt_masks.vertices.cpu().numpy()]
    reported = [truncate(polygon) for polygon in found.pred_polygons]
    (overlaps,) = compute_overlaps([polygons], [reported])
    match = match_image(overlaps, truth.dont_care, iou)
    right = int(correct_pairs(match, truth, found.pred_texts).sum())
    words = int((~truth.dont_care).sum())
    reports = int(np.sum(~match.det_dont_care))
    return (words + reports) / 2 - right
