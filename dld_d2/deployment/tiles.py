"""Reading an image that is far larger than the network's input: as a whole, for its large words,
and in overlapping tiles, each at a scale of its own, for its small ones."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import cv2
import numpy as np
import shapely

from dld_d2.deployment.result import SpottingResult, Tile
from dld_d2.evaluation.geometry import even_odd_regions
from dld_d2.structures.word import Word

__all__ = [
    "LEAST_SIDE",
    "Box",
    "check_tiles",
    "merge_chips",
    "merge_tiles",
    "tile_boxes",
    "tile_side",
]

LEAST_SIDE = 64  # of a tile, in pixels

_OVERLAP = 0.25  # of tiles, in units of their side: words that long are whole in one of them
_MOST_SHRUNK = 2.0  # how much smaller than it is an image is read by "auto", at most
_SAME = 0.5  # two words are one if they have more of the smaller one's area in common

# How close to a border that goes through the image a word counts as cut by it: a share of its
# height, but some pixels at least. One that is whole after all is whole in the neighbour, too.
_NEAR, _NEAR_PIXELS = 0.25, 2.0

Box = tuple[int, int, int, int]


def check_tiles(tiles: int | str | None) -> int | str | None:
    """What was given, if it says into which tiles images are cut.

    Raises:
        ValueError: if it is neither None, nor "auto", nor a whole number from `LEAST_SIDE`.
    """
    whole = isinstance(tiles, int) and not isinstance(tiles, bool)
    if tiles is None or tiles == "auto" or (whole and tiles >= LEAST_SIDE):
        return tiles
    raise ValueError(
        f'tiles are None, "auto", or their side in pixels, a whole number of at least '
        f"{LEAST_SIDE}; not {tiles!r}"
    )


def tile_side(
    height: int, width: int, tiles: int | str | None, min_size: int, max_size: int
) -> int | None:
    """The side of the tiles that an image is cut into.

    Args:
        height, width: of the image in pixels.
        tiles: as `check_tiles` lets it pass. With a number, images that are longer are cut; with
            "auto", those that would be read at less than half their size, into tiles of twice
            `min_size`.
        min_size, max_size: to which images are scaled: `INPUT.MIN_SIZE_TEST`, or 0 for images that
            are left as they are, and `INPUT.MAX_SIZE_TEST`.

    Returns:
        Pixels; None if the image is read as a whole.
    """
    if tiles is None:
        return None
    if tiles == "auto":
        if min_size == 0:
            return None
        shrunk = max(min(height, width) / min_size, max(height, width) / max_size)
        return int(_MOST_SHRUNK * min_size) if shrunk > _MOST_SHRUNK else None
    return tiles if max(height, width) > tiles else None


def tile_boxes(height: int, width: int, side: int) -> list[Box]:
    """Tiles of about equal size that cover an image and overlap by a quarter of their side.

    Args:
        height, width: of the image in pixels.
        side: of a tile in pixels, at most.

    Returns:
        x0, y0, x1, y1 of each, row by row.
    """
    rows, columns = _spans(height, side), _spans(width, side)
    return [(x0, y0, x1, y1) for y0, y1 in rows for x0, x1 in columns]


def merge_tiles(image_size: tuple[int, int], tiles: Sequence[Tile]) -> SpottingResult:
    """The words of an image, each once.

    Of the words that several tiles found, the one read most surely stays, but those that the border
    of a tile cuts give way to all others. Words of one and the same tile do not compete.

    Args:
        image_size: height and width of the image in pixels.
        tiles: the image as a whole first, then its parts, as `tile_boxes` gives them.

    Returns:
        See `SpottingResult`.
    """
    found = [
        _Found(tile, word, number) for number, tile in enumerate(tiles) for word in tile.result
    ]
    found = _each_once(found, image_size)
    found.sort(key=lambda one: -(one.word.detection_score or 0))
    areas = np.array([np.prod(tile.result.input_size) for tile in tiles], dtype=np.float64)
    shares = areas / areas.sum()
    height, width = (
        round(size * of_tile / whole)
        for size, of_tile, whole in zip(
            image_size, tiles[-1].result.input_size, tiles[-1].result.image_size, strict=True
        )
    )
    return SpottingResult(
        words=tuple(one.word for one in found),
        image_size=image_size,
        input_size=(height, width),
        scale=float(shares @ [tile.result.scale for tile in tiles]),
        relative_cost=float(shares @ [tile.result.relative_cost for tile in tiles]),
        tiles=tuple(tiles),
    )


def merge_chips(
    image_size: tuple[int, int],
    full: tuple[int, int],
    chips: Sequence[Tile],
    scales: Sequence[float],
) -> SpottingResult:
    """The words of an image of which chips were read, each once; none that a chip cuts: what
    continues outside of it was not taken for text.

    Args:
        image_size: height and width of the image in pixels.
        full: the same at the full resolution.
        chips: what was found in each.
        scales: of the chips, of the full resolution.

    Returns:
        See `SpottingResult`.
    """
    # Of the full resolution, and what boxes of whole pixels are off by.
    near = _NEAR_PIXELS * image_size[0] / full[0] + 0.5
    found = [
        one
        for number, chip in enumerate(chips)
        for word in chip.result
        if not (one := _Found(chip, word, number)).is_cut(image_size, by=near)
    ]
    found = _each_once(found, image_size)
    found.sort(key=lambda one: -(one.word.detection_score or 0))
    areas = np.array([np.prod(chip.result.input_size) for chip in chips], dtype=np.float64)
    costs = np.array([chip.result.relative_cost for chip in chips])
    read = np.array([chip.result.scale * scale for chip, scale in zip(chips, scales, strict=True)])
    return SpottingResult(
        words=tuple(one.word for one in found),
        image_size=image_size,
        input_size=full,
        scale=float(areas @ read / areas.sum()) if chips else 1.0,
        relative_cost=float(areas @ costs / np.prod(full, dtype=np.float64)),
        tiles=tuple(chips),
        focused=True,
    )


class _Found:
    """A word, in pixels of the image, and the number of the tile that found it."""

    def __init__(self, tile: Tile, word: Word, number: int) -> None:
        polygon = word.polygon + np.array(tile.box[:2], dtype=word.polygon.dtype)
        self.word = Word(polygon, word.text, word.score, word.detection_score)
        self.box = tile.box
        self.number = number

    def is_cut(self, image_size: tuple[int, int], by: float | None = None) -> bool:
        """Whether it is so near to a border of its tile that is none of the image, in pixels or as
        a share of its height."""
        height, width = image_size
        near = by
        if near is None:
            polygon = np.asarray(self.word.polygon, dtype=np.float32)
            near = max(_NEAR * min(cv2.minAreaRect(polygon)[1]), _NEAR_PIXELS)
        low, high = self.word.polygon.min(axis=0), self.word.polygon.max(axis=0)
        x0, y0, x1, y1 = self.box
        return bool(
            (x0 > 0 and low[0] < x0 + near)
            or (y0 > 0 and low[1] < y0 + near)
            or (x1 < width and high[0] > x1 - near)
            or (y1 < height and high[1] > y1 - near)
        )


def _each_once(found: Sequence[_Found], image_size: tuple[int, int]) -> list[_Found]:
    regions = even_odd_regions([np.asarray(one.word.polygon, np.float64) for one in found])
    areas = shapely.area(regions)
    first, second = shapely.STRtree(regions).query(regions, predicate="intersects")
    numbers = np.array([one.number for one in found], dtype=np.int64)
    other = numbers[first] != numbers[second]
    first, second = first[other], second[other]
    common = shapely.area(shapely.intersection(regions[first], regions[second]))
    same = common > _SAME * np.minimum(areas[first], areas[second])
    rivals: list[list[int]] = [[] for _ in found]
    for i, j in zip(first[same].tolist(), second[same].tolist(), strict=True):
        rivals[i].append(j)

    def rank(i: int) -> tuple[bool, float, int]:
        one = found[i]
        # All else being equal, tiles come before the image as a whole, which is coarser.
        if one.is_cut(image_size):
            return True, -areas[i], -one.number  # of the pieces of a word the largest
        return False, -(one.word.score or 0) * (one.word.detection_score or 0), -one.number

    kept: list[int] = []
    lost: set[int] = set()
    for i in sorted(range(len(found)), key=rank):
        if i not in lost:
            kept.append(i)
            lost.update(rivals[i])
    return [found[i] for i in kept]


def _spans(length: int, side: int) -> list[tuple[int, int]]:
    """Starts and ends of the fewest pieces of equal length, at most `side`, that overlap enough."""
    if length <= side:
        return [(0, length)]
    overlap = ceil(_OVERLAP * side)
    number = ceil((length - overlap) / (side - overlap))
    piece = min(side, ceil((length + (number - 1) * overlap) / number))
    starts = np.linspace(0, length - piece, number).round().astype(int).tolist()
    return [(start, start + piece) for start in starts]
