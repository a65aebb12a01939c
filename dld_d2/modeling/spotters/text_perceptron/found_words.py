"""From score maps and offsets to words: components, their ends, and points along their sides."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from dld_d2.modeling.spotters.text_perceptron.cells import (
    BOUNDARY,
    CENTRE,
    HEAD,
    OFFSET_UNIT,
    STRIDE,
    TAIL,
    TargetRule,
)

__all__ = ["Cells", "FoundWords", "find_words", "outlines_of", "words_of_cells"]

# A component of fewer cells is no word.
_LEAST_CELLS = 3
# Pixels along a side within which cells tell where it is.
_NEAR = 10
# Points of a side, by their index between 0 and 6, each half way between two that are known.
_BISECTIONS = ((0, 6, 3), (0, 3, 1), (3, 6, 4), (1, 3, 2), (4, 6, 5))
# Of the offsets of centre cells.
_LEFT, _ABOVE, _RIGHT, _BELOW = range(4)


class Cells(NamedTuple):
    """M cells of an image's maps, all that are no background.

    Attributes:
        row, column: (M,) int.
        label: (M,) int, as in `MapTargets.labels`.
        score: (M,) float, centre probability.
        offsets: (M, 12) float, see `DetectionMaps`.
    """

    row: np.ndarray
    column: np.ndarray
    label: np.ndarray
    score: np.ndarray
    offsets: np.ndarray


class FoundWords(NamedTuple):
    """N words.

    Attributes:
        sides: (N, 14, 2) float32 in pixels, upper and lower side in reading order.
        scores: (N,) float32, mean centre probability.
    """

    sides: np.ndarray
    scores: np.ndarray


def find_words(
    cells: Cells, size: tuple[int, int], rule: TargetRule, bond_threshold: float = 0.6
) -> FoundWords:
    """Put words together.

    A word is a connected component of more than two centre cells that touches a head and a tail,
    and is surrounded by what belongs to words: of the neighbours of its cells that are background,
    boundary, or, once for each component, heads and tails, at least the part `bond_threshold` is no
    background. Its corners are what the cells of its largest head and largest tail say on average,
    the points between are found by bisection, from what centre cells near them say of the outline.

    Args:
        cells: of one image.
        size: height and width of its maps, without padding.
        rule: by which the maps were drawn that were learnt.
        bond_threshold: least part of the surroundings that is bound to the word.
    """
    labels = np.zeros(size, dtype=np.uint8)
    labels[cells.row, cells.column] = cells.label
    # Number, component by cell, and size of each component; 0 is everything else.
    numbers, components, areas = {}, {}, {}
    for kind in (CENTRE, HEAD, TAIL):
        numbers[kind], components[kind], stats, _ = cv2.connectedComponentsWithStats(
            (labels == kind).astype(np.uint8), connectivity=4
        )
        areas[kind] = stats[:, cv2.CC_STAT_AREA]
    centre, near = _neighbours(components[CENTRE], labels, components[HEAD], components[TAIL])
    label, head, tail = near
    count = numbers[CENTRE]
    back = np.bincount(centre[label == 0], minlength=count)
    bond = np.bincount(centre[label == BOUNDARY], minlength=count)
    heads, touched = _largest(centre, head, areas[HEAD], count)
    bond = bond + touched
    tails, touched = _largest(centre, tail, areas[TAIL], count)
    bond = bond + touched
    kept = (
        (areas[CENTRE] >= _LEAST_CELLS)
        & (heads > 0)
        & (tails > 0)
        & (bond >= bond_threshold * (bond + back))
    )
    kept[0] = False
    if not kept.any():
        return FoundWords(np.zeros((0, 14, 2), np.float32), np.zeros(0, np.float32))

    place = np.stack([cells.column, cells.row], axis=1) * float(STRIDE) + rule.at
    told = cells.offsets * OFFSET_UNIT
    component = {kind: part[cells.row, cells.column] for kind, part in components.items()}
    corners = place[:, [0, 1, 0, 1]]
    begins = _means(component[HEAD], corners - told[:, :4], numbers[HEAD])[heads[kept]]
    ends = _means(component[TAIL], corners - told[:, 4:8], numbers[TAIL])[tails[kept]]

    word = np.full(count, -1)
    word[kept] = np.arange(kept.sum())
    word = word[component[CENTRE]]
    mine = word >= 0
    word, place, told = word[mine], place[mine], place[mine][:, [0, 1, 0, 1]] - told[mine, 8:]
    upper = _side(begins[:, :2], ends[:, :2], word, place, told, rule)
    lower = _side(ends[:, 2:], begins[:, 2:], word, place, told, rule)[:, ::-1]
    scores = _means(word, cells.score[mine][:, None], len(begins))[:, 0]
    sides = np.concatenate([upper, lower], axis=1)
    return FoundWords(sides.astype(np.float32), scores.astype(np.float32))


def words_of_cells(
    packed: np.ndarray,
    size: tuple[int, int],
    rule: TargetRule,
    bond_threshold: float,
    score_threshold: float,
    max_words: int,
) -> FoundWords:
    """The words of an image, see `find_words`.

    Args:
        packed: (M, 16), in a row for each cell that is no background its row, column, label, score
            and 12 offsets.
        size: height and width of the image in pixels, without padding.
        rule, bond_threshold: see `find_words`.
        score_threshold: words with a lower score are left out.
        max_words: at most so many; those of the highest scores stay, in their order.
    """
    height, width = (-(-side // STRIDE) for side in size)
    packed = packed[(packed[:, 0] < height) & (packed[:, 1] < width)]
    row, column, label = packed[:, :3].astype(np.int64).T
    cells = Cells(row, column, label, packed[:, 3], packed[:, 4:])
    words = find_words(cells, (height, width), rule, bond_threshold)
    kept = np.flatnonzero(words.scores >= score_threshold)
    kept = np.sort(kept[np.argsort(-words.scores[kept], kind="stable")[:max_words]])
    return FoundWords(words.sides[kept], words.scores[kept])


def outlines_of(words: FoundWords, size: tuple[int, int]) -> np.ndarray:
    """(N, 14, 2) float32, polygons around the sides, within an image of a height and width."""
    limit = np.array([size[1], size[0]], dtype=np.float32)
    polygons = np.concatenate([words.sides[:, :7], words.sides[:, :6:-1]], axis=1)
    return polygons.clip(0, limit)


def _neighbours(centre: np.ndarray, *maps: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """The component of each centre cell for each of its neighbours up, down, left and right, and
    what maps show at these neighbours."""
    below, above = np.s_[1:, :], np.s_[:-1, :]
    right, left = np.s_[:, 1:], np.s_[:, :-1]
    shifts = ((below, above), (above, below), (right, left), (left, right))
    own = np.concatenate([centre[here].ravel() for here, _ in shifts])
    inside = own > 0
    seen = [np.concatenate([m[there].ravel() for _, there in shifts])[inside] for m in maps]
    return own[inside], seen


def _largest(
    centre: np.ndarray, other: np.ndarray, areas: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """For each of `count` components the largest component of another kind that it touches, 0 if it
    touches none, and how many it touches."""
    pairs = np.unique(np.stack([centre[other > 0], other[other > 0]], axis=1), axis=0)
    touched = np.bincount(pairs[:, 0], minlength=count)
    largest = np.zeros(count, dtype=np.int64)
    # Assigned in this order, the last one stays.
    pairs = pairs[np.argsort(areas[pairs[:, 1]], kind="stable")]
    largest[pairs[:, 0]] = pairs[:, 1]
    return largest, touched


def _means(group: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """(count, K) mean of values (M, K) by group (M,); 0 of none."""
    number = np.bincount(group, minlength=count)
    sums = [np.bincount(group, column, minlength=count) for column in values.T]
    return np.stack(sums, axis=1) / np.maximum(number, 1)[:, None]


def _side(
    first: np.ndarray,
    last: np.ndarray,
    word: np.ndarray,
    place: np.ndarray,
    told: np.ndarray,
    rule: TargetRule,
) -> np.ndarray:
    """Points along a side of N words that has them to its right.

    Args:
        first, last: (N, 2) its ends.
        word: (M,) of each centre cell.
        place: (M, 2) where it is.
        told: (M, 4) where it says that the outline is: x to the left, y above, x to the right, y
            below.
        rule: see `find_words`.

    Returns:
        (N, 7, 2).
    """
    count = len(first)
    points = np.zeros((count, 7, 2))
    points[:, 0], points[:, 6] = first, last
    rows, every = np.arange(count), np.arange(len(word))
    # Of each cell the point of the side before it, of those that are known.
    before = np.zeros(len(word), dtype=np.int64)
    for i, j, middle in _BISECTIONS:
        way = points[:, j] - points[:, i]
        # The released code takes another fraction, which is right from the first point alone.
        fraction = (middle - i) / (j - i) if rule.on_cells else middle / (i + j)
        expected = points[:, i] + way * fraction
        steep = np.abs(way[:, 1]) > np.abs(way[:, 0])
        along = steep.astype(np.int64)  # the axis along which the side runs
        forward = way[rows, along] >= 0
        flat_told = np.where(forward, _ABOVE, _BELOW)
        steep_told = np.where(forward, _RIGHT, _LEFT)
        channel = np.where(steep, steep_told, flat_told)

        beyond = place[every, along[word]] - expected[word, along[word]]
        active = before == i
        near = active & (np.abs(beyond) <= _NEAR)
        tellers = word[near]
        number = np.bincount(tellers, minlength=count)
        total = np.bincount(tellers, told[every, channel[word]][near], minlength=count)
        points[:, middle] = expected
        known = number > 0
        points[known, middle, 1 - along[known]] = total[known] / number[known]
        before[active & (np.where(forward[word], beyond, -beyond) > 0)] = middle
    return points
