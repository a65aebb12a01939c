"""How many words go wrong in an image, found and read by itself: what choosing a scale is about."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from detectron2.structures import Instances
from torch import Tensor

from dld_d2.evaluation.geometry import compute_overlaps
from dld_d2.evaluation.mistakes import find_mistakes
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
    words = [
        rescale_instances(one, target.image_size)
        for one, target in zip(found, targets, strict=True)
    ]
    overlaps = compute_overlaps(
        [list(target.gt_masks.vertices.cpu().numpy()) for target in targets],
        [one.pred_polygons for one in words],
    )
    errors = [
        find_mistakes(geometry, _texts(target, vocabulary), one.pred_texts, iou).total
        for geometry, one, target in zip(overlaps, words, targets, strict=True)
    ]
    return torch.tensor(errors, dtype=torch.float32, device=targets[0].gt_texts.device)


def _texts(target: Instances, vocabulary: Vocabulary) -> list[str]:
    rows = zip(target.gt_texts.tolist(), target.gt_readable.tolist(), strict=True)
    return [vocabulary.decode(row) if readable else DONT_CARE for row, readable in rows]
