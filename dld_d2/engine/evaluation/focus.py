"""What a look at an image at a low scale finds of its words, and how much is to be read for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dld_d2.engine.evaluation.part import PartEvaluator, Summary
from dld_d2.engine.evaluation.truth import read_sizes, read_truth
from dld_d2.modeling.focus.chips import Chip
from dld_d2.structures.word import DONT_CARE, Word

__all__ = ["FocusEvaluator", "coverage"]


class FocusEvaluator(PartEvaluator):
    """Of a `FocusMap`: `words_covered`, the share of the words that are not don't-care which lie in
    one chip as a whole; `pixels_read`, the mean share of the full resolution's pixels that are
    read; `chips`, the mean number of them.

    Args:
        dataset_name: a registered data set.
    """

    def __init__(self, dataset_name: str) -> None:
        self._truth = read_truth(dataset_name)
        self._sizes = read_sizes(dataset_name)
        self.reset()

    def reset(self) -> None:
        self._seen: dict[str, tuple[list[Chip], tuple[int, int]]] = {}

    def process(self, inputs: Sequence[dict[str, Any]], outputs: Sequence[dict[str, Any]]) -> None:
        for item, output in zip(inputs, outputs, strict=True):
            size = tuple(item["image"].shape[-2:])
            self._seen[str(item["image_id"])] = output["chips"], size

    def seen(self) -> dict[str, tuple[list[Chip], tuple[int, int]]]:
        return self._seen

    def summarize(self, seen: Sequence[Mapping[str, Any]]) -> Summary:
        every = {name: one for part in reversed(seen) for name, one in part.items()}
        rows = np.array(
            [
                coverage(self._truth[name], self._sizes[name], chips, size)
                for name, (chips, size) in every.items()
            ]
        ).reshape(-1, 4)
        words, covered, pixels, chips = rows.T
        return Summary(
            metrics={
                "words_covered": float(covered.sum() / max(words.sum(), 1)),
                "pixels_read": float(pixels.sum() / max(len(rows), 1)),
                "chips": float(chips.sum() / max(len(rows), 1)),
            }
        )


def coverage(
    words: Sequence[Word], image_size: tuple[int, int], chips: Sequence[Chip], size: tuple[int, int]
) -> tuple[int, int, float, int]:
    """
    Args:
        words: of an image, in its pixels.
        image_size: its height and width.
        chips: in pixels of the full resolution.
        size: height and width of that.

    Returns:
        Words that are not don't-care; how many of them lie in one chip; the share of the full
        resolution's pixels that chips have, as they are read; and how many chips there are.
    """
    ratio = np.array([size[1] / image_size[1], size[0] / image_size[0]])
    cared = [ratio * np.asarray(word.polygon) for word in words if word.text != DONT_CARE]
    # A pixel more, for outlines that are drawn with some play.
    covered = sum(
        any(
            (polygon >= np.array(chip.box[:2]) - 1).all()
            and (polygon <= np.array(chip.box[2:]) + 1).all()
            for chip in chips
        )
        for polygon in cared
    )
    read = sum((x1 - x0) * (y1 - y0) * scale**2 for (x0, y0, x1, y1), scale in chips)
    return len(cared), covered, read / (size[0] * size[1]), len(chips)
