"""Images with what a setting reads in them, and words cut out of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import cv2
import numpy as np

from appendix_page.evaluations import Evaluation
from appendix_page.item import Cell
from appendix_page.study import Study
from dld_d2.analysis.appendix.characters import Marked, mark_reading
from dld_d2.analysis.appendix.outcomes import WordPair
from dld_d2.analysis.visualization import DrawnWord, draw_words
from dld_d2.evaluation.details import CORRECT, DONT_CARE, FALSE, MISREAD, MISSED

__all__ = ["COLOURS", "crop_cell", "image_cell", "padded", "reading_cell"]

COLOURS = {CORRECT: "sky", MISREAD: "vermilion", FALSE: "yellow", DONT_CARE: "grey"}
"""Of detections; words that were not found are hatched in the colour of misread ones."""

_LONG_SIDE = 640  # of a picture on the page, at most
_CROP_HEIGHT = 64
_CROP_WIDTH = 320
_MARGIN = 0.15  # around a word, in parts of its height


def image_cell(study: Study, image_id: str, head: str) -> Cell:
    """An image as it is."""
    image = study.image(image_id)
    return Cell(draw_words(image, (), enlarge=_shrinking(image)), head)


def reading_cell(
    study: Study, evaluation: Evaluation, image_id: str, listed: Collection[int]
) -> Cell:
    """An image as coarse as it was seen, with all that was read.

    Args:
        study, evaluation, image_id: what to show.
        listed: indices of words whose readings stand below it.
    """
    record = evaluation.records[image_id]
    truths, detections = record["ground_truth"], record["detections"]
    words = [
        DrawnWord(word["polygon"], color=COLOURS[MISREAD], hatched=True)
        for word in truths
        if word["outcome"] == MISSED
    ] + [
        DrawnWord(
            word["polygon"],
            "" if word["outcome"] == DONT_CARE else word["corrected"],
            color=COLOURS[word["outcome"]],
        )
        for word in detections
    ]
    image = study.seen(image_id, evaluation)
    counts = record["counts"]
    head = (
        f"{', '.join(filter(None, (evaluation.label, evaluation.at_scale(image_id))))}: "
        f"{counts['num_correct']} of {counts['num_gt_care']} words right"
    )
    readings = []
    for index in sorted(listed):
        word = truths[index]
        found = word["detection"]
        reading = None if found is None else detections[found]["corrected"]
        readings.append(_told(word["text"], word["outcome"], reading))
    return Cell(draw_words(image, words, enlarge=_shrinking(image)), head, readings)


def crop_cell(study: Study, evaluation: Evaluation, pair: WordPair, *, second: bool) -> Cell:
    """A word as coarse as it was seen, with its reading.

    Args:
        study, evaluation: what to show.
        pair: the word.
        second: whether `evaluation` is the second of the pair, or the first.
    """
    image = study.seen(pair.image, evaluation)
    (x0, y0), (x1, y1) = pair.polygon.min(axis=0), pair.polygon.max(axis=0)
    margin = _MARGIN * min(x1 - x0, y1 - y0)
    left, top = (max(0, int(v - margin)) for v in (x0, y0))
    right = min(image.shape[1], int(np.ceil(x1 + margin)))
    bottom = min(image.shape[0], int(np.ceil(y1 + margin)))
    crop = image[top : max(bottom, top + 1), left : max(right, left + 1)]
    factor = min(_CROP_HEIGHT / crop.shape[0], _CROP_WIDTH / crop.shape[1])
    size = [max(1, round(side * factor)) for side in (crop.shape[1], crop.shape[0])]
    head = evaluation.at_scale(pair.image)
    told = _told(pair.text, pair.outcomes[second], pair.readings[second], short=True)
    return Cell(cv2.resize(crop, size, interpolation=cv2.INTER_CUBIC), head, [told])


def _told(written: str, outcome: str, reading: str | None, *, short: bool = False) -> Marked:
    """A word with its reading; what is wrong is marked."""
    if outcome == CORRECT:
        return [(f"{reading} \N{CHECK MARK}", False)]
    before: Marked = [] if short else [(f"{written} \N{RIGHTWARDS ARROW} ", False)]
    if reading is None:
        return [*before, ("not found", True)]
    return [*before, *(mark_reading(written, reading) or [("nothing", True)])]


def _shrinking(image: np.ndarray) -> float:
    return min(1.0, _LONG_SIDE / max(image.shape[:2]))


def padded(cell: Cell, size: Sequence[int]) -> Cell:
    """The same with a picture of a size (height, width), with white around it."""
    height, width = cell.picture.shape[:2]
    picture = cv2.copyMakeBorder(
        cell.picture,
        0,
        max(0, size[0] - height),
        0,
        max(0, size[1] - width),
        cv2.BORDER_CONSTANT,
        value=(255, 255, 255),
    )
    return Cell(picture, cell.head, cell.readings)
