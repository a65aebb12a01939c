"""What an engine's own readings tell of what is written in an image that nobody has annotated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dld_d2.deployment.any_engine.readings import Reading
from dld_d2.structures.word import DONT_CARE, Word

__all__ = ["agreed_words", "sure_words"]

_SAME_PLACE = 0.5  # IoU of upright boxes


def sure_words(words: Sequence[Word], min_score: float) -> list[Word]:
    """Words of one reading as the truth of its image: those that are less sure are don't-care.

    Args:
        words: without a score all are sure.
        min_score: least score of a sure one.
    """
    return [Word(w.polygon, w.text if _is_sure(w, min_score) else DONT_CARE) for w in words]


def agreed_words(readings: Sequence[Reading], reference: float, min_score: float) -> list[Word]:
    """The truth of an image by all its readings: a word is what two scales read alike.

    What a single reading has is true if that reading is sure of it, and is not of a lower scale
    than the reference; else nobody knows, and it is don't-care, unless the reading is neither sure
    nor the reference: then it is nothing, and a false alarm of that scale.

    Args:
        readings: of one image, at different scales.
        reference: the scale whose reading is trusted most.
        min_score: least score of a sure word; a word without one is sure.

    Returns:
        A word for each place, with the text that most readings have, then the surest.
    """
    # The reference's polygons come first, then those of the largest scales.
    ordered = sorted(readings, key=lambda r: (r.scale != reference, -r.scale))
    words = [(r.scale, word) for r in ordered for word in r.words if word.text]
    boxes = np.array([[*w.polygon.min(0), *w.polygon.max(0)] for _, w in words]).reshape(-1, 4)
    same = _ious(boxes) > _SAME_PLACE
    left = np.ones(len(words), dtype=bool)
    truth = []
    for first in range(len(words)):
        if not left[first]:
            continue
        group = np.flatnonzero(same[first] & left)
        left[group] = False
        left[first] = False
        votes: dict[str, list[tuple[float, Word]]] = {}
        for i in dict.fromkeys([first, *group.tolist()]):
            votes.setdefault(words[i][1].text.upper(), []).append(words[i])
        best = max(votes.values(), key=lambda vote: (len({s for s, _ in vote}), _total(vote)))
        scale, word = best[0]
        sure = any(_is_sure(w, min_score) for _, w in best)
        if len({s for s, _ in best}) > 1 or (sure and scale >= reference):
            truth.append(Word(word.polygon, word.text))
        elif sure or any(s == reference for vote in votes.values() for s, _ in vote):
            truth.append(Word(word.polygon, DONT_CARE))
    return truth


def _is_sure(word: Word, min_score: float) -> bool:
    return bool(word.text) and (word.score is None or word.score >= min_score)


def _total(vote: Sequence[tuple[float, Word]]) -> float:
    return sum(1.0 if word.score is None else word.score for _, word in vote)


def _ious(boxes: np.ndarray) -> np.ndarray:
    """(N, N) of (N, 4) boxes, x0, y0, x1, y1."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = (high - low).clip(min=0).prod(axis=2)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return shared / np.maximum(areas[:, None] + areas[None] - shared, 1e-9)
