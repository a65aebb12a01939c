"""From a map of where words are to the rectangles that are read, without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

__all__ = ["STRIDE", "Chip", "ChipRule", "chips_of"]

STRIDE = 8
"""Of the maps, in pixels of what the network looks at."""

# More pieces than this are not put together one by one: it is a page, and is read as a whole.
_MOST_PIECES = 250
# The height of a chip's words is that of which this share of its places has less.
_LOW_QUANTILE = 0.1


class Chip(NamedTuple):
    """A part of an image that is read by itself.

    Attributes:
        box: x0, y0, x1, y1 in pixels of the full resolution.
        scale: of the full resolution, at which it is read.
    """

    box: tuple[int, int, int, int]
    scale: float


@dataclass(frozen=True)
class ChipRule:
    """How chips are cut.

    Attributes:
        threshold: probability of a word above which a place is looked at again.
        text_height: in pixels: chips are shrunk until their smallest words are so high.
        min_scale: they are not shrunk further than this.
        margin: around the places, in pixels of the chip as it is read.
        min_side: of a chip, in the same pixels.
        overhead: what a chip costs beside its pixels, in pixels; chips are put together where one
            is cheaper than two.
        multiple: of its sides, which spotters fill up to anyway, in pixels as it is read.
    """

    threshold: float = 0.3
    text_height: float = 32.0
    min_scale: float = 0.25
    margin: float = 32.0
    min_side: float = 128.0
    overhead: float = 9216.0
    multiple: int = 32


def chips_of(
    text: np.ndarray,
    height: np.ndarray,
    size: tuple[int, int],
    input_scale: float,
    rule: ChipRule,
) -> list[Chip]:
    """Cut an image.

    Places with text that touch are a piece. Each piece gets the scale at which its smallest words
    have the height that reading takes, and a margin. Then two that cost more than one around both,
    at the larger of their scales, are put together, the best pair first. The image as a whole is
    one chip where it costs no more than all.

    Args:
        text: (h, w), the probability of a word at each place.
        height: (h, w), how high it is, in pixels of what the network looked at.
        size: height and width of the image at the full resolution.
        input_scale: of it, at which the network looked.
        rule: see there.

    Returns:
        From top to bottom; none if there is no text.
    """
    marked = (text > rule.threshold).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(marked, connectivity=8)
    if count == 1:
        return []
    if count - 1 > _MOST_PIECES:
        scale = _scale(height[marked > 0] / input_scale, rule)
        return [Chip((0, 0, size[1], size[0]), scale)]
    scales = np.array(
        [_scale(height[labels == label] / input_scale, rule) for label in range(1, count)]
    )
    corners = stats[1:, :2].astype(np.float64)
    place = STRIDE / input_scale
    boxes = place * np.concatenate([corners, corners + stats[1:, 2:4]], axis=1)
    margin = (rule.margin / scales)[:, None]
    boxes = _grown(boxes + margin * [-1, -1, 1, 1], scales, size, rule, multiple=1)
    whole = np.array([[0, 0, size[1], size[0]]], dtype=np.float64)
    boxes, scales = _put_together(boxes, scales, rule)
    largest = scales.max(keepdims=True)
    if _cost(boxes, scales, rule).sum() >= _cost(whole, largest, rule)[0]:
        boxes, scales = whole, largest
    boxes = _grown(boxes, scales, size, rule, multiple=rule.multiple)
    order = np.lexsort((boxes[:, 0], boxes[:, 1]))
    return [
        Chip(tuple(np.rint(box).astype(int).tolist()), float(scale))
        for box, scale in zip(boxes[order], scales[order], strict=True)
    ]


def _scale(heights: np.ndarray, rule: ChipRule) -> float:
    smallest = np.quantile(heights, _LOW_QUANTILE)
    return float(np.clip(rule.text_height / smallest, rule.min_scale, 1.0))


def _cost(boxes: np.ndarray, scales: np.ndarray, rule: ChipRule) -> np.ndarray:
    """Of boxes (..., 4), in pixels that are read."""
    area = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    return area * scales**2 + rule.overhead


def _put_together(
    boxes: np.ndarray, scales: np.ndarray, rule: ChipRule
) -> tuple[np.ndarray, np.ndarray]:
    while len(boxes) > 1:
        around = np.concatenate(
            [
                np.minimum(boxes[:, None, :2], boxes[None, :, :2]),
                np.maximum(boxes[:, None, 2:], boxes[None, :, 2:]),
            ],
            axis=2,
        )
        scale = np.maximum(scales[:, None], scales)
        alone = _cost(boxes, scales, rule)
        gain = alone[:, None] + alone - _cost(around, scale, rule)
        np.fill_diagonal(gain, -np.inf)
        first, second = np.unravel_index(gain.argmax(), gain.shape)
        if gain[first, second] < 0:
            break
        others = np.delete(np.arange(len(boxes)), [first, second])
        boxes = np.concatenate([boxes[others], around[first, second][None]])
        scales = np.append(scales[others], scale[first, second])
    return boxes, scales


def _grown(
    boxes: np.ndarray, scales: np.ndarray, size: tuple[int, int], rule: ChipRule, *, multiple: int
) -> np.ndarray:
    """Boxes (N, 4) within the image, of the least side and of sides that are multiples of something
    in pixels as they are read, where the image is large enough."""
    grown = boxes.copy()
    for low, high, limit in ((0, 2, size[1]), (1, 3, size[0])):
        start, stop = np.clip(boxes[:, low], 0, limit), np.clip(boxes[:, high], 0, limit)
        side = np.maximum(stop - start, rule.min_side / scales)
        side = np.minimum(np.ceil(side * scales / multiple - 1e-6) * multiple / scales, limit)
        start = np.clip(start - (side - (stop - start)) / 2, 0, limit - side)
        grown[:, low], grown[:, high] = start, start + side
    return grown
