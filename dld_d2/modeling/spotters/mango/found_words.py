"""From maps of one image to its words: where they are, and which cells read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from dld_d2.modeling.transfer import to_device

__all__ = ["FoundWords", "find_words", "gather_cells", "vote"]


class FoundWords(NamedTuple):
    """W words of an image, and K cells that read them.

    Attributes:
        polygons: (W, 4, 2) float32, rectangles in pixels of the image.
        scores: (W,) float32 in [0, 1].
        cells: (K,) int64, numbers of cells.
        word: (K,) int64, whose they are; each word has at least one.
        weight: (K,) float32, the share of the word's pixels that lie in the cell, of those that lie
            in any of its cells.
    """

    polygons: np.ndarray
    scores: np.ndarray
    cells: np.ndarray
    word: np.ndarray
    weight: np.ndarray

    def at_least(self, score: float) -> FoundWords:
        """Those of at least this score."""
        good = self.scores >= score
        kept = good[self.word]
        return FoundWords(
            self.polygons[good],
            self.scores[good],
            self.cells[kept],
            (np.cumsum(good) - 1)[self.word[kept]],
            self.weight[kept],
        )


def gather_cells(
    found: Sequence[FoundWords], device: torch.device
) -> tuple[Tensor, Tensor, Tensor, int]:
    """The cells of a batch: their numbers, words and weights, (K,) each, the words counted over all
    images; and the number W of words."""
    numbers = np.array([len(words.scores) for words in found])
    first = np.cumsum(numbers) - numbers
    word = [words.word + start for words, start in zip(found, first, strict=True)]
    parts = (
        np.concatenate([words.cells for words in found]),
        np.concatenate(word),
        np.concatenate([words.weight for words in found]),
    )
    return (*(to_device(part, device) for part in parts), int(numbers.sum()))


def find_words(
    center_line: np.ndarray,
    category: np.ndarray,
    *,
    extent: tuple[float, float],
    stride: int,
    center_threshold: float = 0.5,
    category_threshold: float = 0.5,
    min_area: int = 8,
    unclip_ratio: float = 0.0,
) -> FoundWords:
    """Find words.

    Each 4-connected component of high pixels of the centre line is a word if there is a cell that
    reads it: one of high category that holds some of its pixels, and more of them than of another
    component.

    Args:
        center_line: (h, w) probabilities, without padding.
        category: (S, S) probabilities.
        extent: width and height in pixels of what the cells divide.
        stride: pixels of the image to one of the map.
        center_threshold, category_threshold: which are high.
        min_area: words have more pixels of the map.
        unclip_ratio: u, by which rectangles of area A and perimeter L grow: A u / L on all sides.
    """
    _, labels, stats, _ = cv2.connectedComponentsWithStats(
        (center_line >= center_threshold).astype(np.uint8), connectivity=4
    )
    large = stats[:, cv2.CC_STAT_AREA] > min_area
    large[0] = False
    row, column = np.nonzero(large[labels])
    label = labels[row, column]

    side = len(category)
    x = np.minimum((column + 0.5) * stride / extent[0] * side, side - 1).astype(np.int64)
    y = np.minimum((row + 0.5) * stride / extent[1] * side, side - 1).astype(np.int64)
    cell = y * side + x
    high = category.ravel()[cell] >= category_threshold
    pair, count = np.unique(label[high].astype(np.int64) * side**2 + cell[high], return_counts=True)
    # Of each cell the component with the most pixels: sorted by their number, the last one.
    order = np.lexsort((count, pair % side**2))
    pair, count = pair[order], count[order]
    last = np.append(np.diff(pair % side**2) != 0, True) if len(pair) else np.zeros(0, bool)
    owner, cells, count = pair[last] // side**2, pair[last] % side**2, count[last]

    found, word = np.unique(owner, return_inverse=True)
    if len(found) == 0:
        nothing = np.zeros(0, dtype=np.int64)
        empty = np.zeros(0, dtype=np.float32)
        return FoundWords(np.zeros((0, 4, 2), np.float32), empty, nothing, nothing, empty)
    order = np.argsort(label, kind="stable")
    order = order[np.isin(label[order], found)]
    pixels = np.stack([column, row], axis=1)[order].astype(np.int32)
    starts = np.searchsorted(label[order], found)
    certainty = np.add.reduceat(center_line[row, column][order], starts)
    certainty = certainty / np.diff(np.append(starts, len(order)))
    number = np.bincount(word)
    certainty *= np.bincount(word, category.ravel()[cells]) / number
    weight = count / np.bincount(word, count)[word]
    polygons = _rectangles(np.split(pixels, starts[1:]), unclip_ratio)
    return FoundWords(
        (polygons * stride).astype(np.float32),
        certainty.astype(np.float32),
        cells,
        word.astype(np.int64),
        weight.astype(np.float32),
    )


def _rectangles(components: list[np.ndarray], unclip_ratio: float) -> np.ndarray:
    """Corners (W, 4, 2) of the smallest rectangles around whole pixels, clockwise from the left end
    of the upper side, which is the one that extends farther to the right."""
    found = [cv2.minAreaRect(pixels) for pixels in components]
    found = np.array([(*centre, *sides, turn) for centre, sides, turn in found])
    # From the pixels' middles to their edges; the middle of pixel (0, 0) is at (0.5, 0.5).
    centre, sides, angle = found[:, :2] + 0.5, found[:, 2:4] + 1, np.deg2rad(found[:, 4])
    distance = sides.prod(axis=1) * unclip_ratio / (2 * sides.sum(axis=1))
    sides = sides + 2 * distance[:, None]
    cosine, sine = np.cos(angle), np.sin(angle)
    axes = np.stack([cosine, sine, -sine, cosine], axis=1).reshape(-1, 2, 2)
    edges = axes * sides[:, :, None] / 2
    rows = np.arange(len(edges))
    upper = np.abs(edges[:, :, 0]).argmax(axis=1)
    right, down = edges[rows, upper], edges[rows, 1 - upper]
    right = np.where(right[:, :1] < 0, -right, right)
    # Clockwise, as y points downwards, is where the cross product is positive.
    cross = right[:, :1] * down[:, 1:] - right[:, 1:] * down[:, :1]
    down = np.where(cross < 0, -down, down)
    corners = np.stack([-right - down, right - down, right + down, down - right], axis=1)
    return centre[:, None] + corners


def vote(
    logits: Tensor, word: Tensor, weight: Tensor, num_words: int, end: int
) -> tuple[Tensor, Tensor]:
    """Texts of words by the votes of their cells, position by position, until the end wins.

    Args:
        logits: (K, L, V) of the cells' readings.
        word: (K,) int64, whose they are.
        weight: (K,) of the votes; those of a word add up to 1.
        num_words: W.
        end: the class of a word's end.

    Returns:
        (W, L) int64 classes, from a word's end on `end`; and (W,) scores in [0, 1]: the geometric
        mean, over a word's characters and its end, of the winner's votes, each of which counts by
        the probability that its cell gives to it.
    """
    probability, classes = logits.softmax(dim=-1).max(dim=-1)
    # After its own end a cell goes on to say that the word has ended.
    classes = classes.masked_fill((classes == end).cumsum(dim=1) > 0, end)
    length = logits.shape[1]
    place = (word[:, None] * length + torch.arange(length, device=word.device)).flatten()
    place = place * logits.shape[2] + classes.flatten()
    size = num_words * length * logits.shape[2]
    votes = weight[:, None].expand(-1, length)
    shares, sure = (
        torch.zeros(size, device=logits.device)
        .index_add(0, place, value.flatten().float())
        .view(num_words, length, -1)
        for value in (votes, votes * probability)
    )
    winner = shares.argmax(dim=-1)
    certainty = sure.gather(-1, winner[..., None]).squeeze(-1).clamp(1e-12, 1)
    ended = (winner == end).cumsum(dim=1) > 0
    counts = ~ended | (ended.cumsum(dim=1) == 1)
    total = certainty.log().masked_fill(~counts, 0).sum(dim=1)
    return winner.masked_fill(ended, end), (total / counts.sum(dim=1)).exp()
