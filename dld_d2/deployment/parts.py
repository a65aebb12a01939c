"""Which parts of an image are read, and the image's words of what is found in them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from dld_d2.deployment.result import SpottingResult, Tile
from dld_d2.deployment.tiles import Box, merge_chips, merge_tiles
from dld_d2.modeling.focus.chips import Chip

__all__ = [
    "Looks",
    "NothingToReadError",
    "Part",
    "PartsOfImage",
    "all_together",
    "parts_of_chips",
    "whole_image",
]


class Looks(Protocol):
    """What says which chips of an image to read: `dld_d2.deployment.runtime.focus.Focus`."""

    def chips(self, image: np.ndarray, full: tuple[int, int]) -> list[Chip]:
        """See there."""

    def multiply_adds(self, full: tuple[int, int]) -> float:
        """See there."""


class NothingToReadError(ValueError):
    """Stands for the parts of an image that has none, so that no image waits for the next one."""


class Part(NamedTuple):
    """A part of an image.

    Attributes:
        box: x0, y0, x1, y1 in pixels of the image.
        size: height and width at which the model gets it; None for its own full resolution.
    """

    box: Box
    size: tuple[int, int] | None = None


class PartsOfImage(NamedTuple):
    """All parts of an image.

    Attributes:
        parts: in the order in which they are read.
        image_size: height and width in pixels.
        full: the same at the full resolution, if the parts are chips; else None, and the first is
            the image as a whole, the others are tiles.
        scales: of the chips, of the full resolution.
    """

    parts: Sequence[Part]
    image_size: tuple[int, int]
    full: tuple[int, int] | None = None
    scales: tuple[float, ...] = ()

    def together(self, results: Sequence[SpottingResult]) -> SpottingResult:
        """The image's result, of those of its parts."""
        if self.full is None and len(results) == 1:
            return results[0]
        tiles = [Tile(part.box, one) for part, one in zip(self.parts, results, strict=True)]
        if self.full is None:
            return merge_tiles(self.image_size, tiles)
        return merge_chips(self.image_size, self.full, tiles, self.scales)


def whole_image(image_size: tuple[int, int], tiles: Sequence[Box] = ()) -> PartsOfImage:
    """The image as a whole, and tiles of it."""
    height, width = image_size
    return PartsOfImage([Part(box) for box in ((0, 0, width, height), *tiles)], image_size)


def parts_of_chips(
    chips: Sequence[Chip], image_size: tuple[int, int], full: tuple[int, int]
) -> PartsOfImage:
    """
    Args:
        chips: in pixels of the full resolution.
        image_size: height and width of the image in pixels.
        full: the same at the full resolution.
    """
    ratio = np.array([image_size[1] / full[1], image_size[0] / full[0]] * 2)
    most = np.array([image_size[1], image_size[0]] * 2)
    parts = []
    for (x0, y0, x1, y1), scale in chips:
        box = np.clip(np.rint(ratio * [x0, y0, x1, y1]), 0, most).astype(int)
        box[2:] = np.maximum(box[2:], box[:2] + 1)  # of an image that is far smaller than that
        size = max(1, round((y1 - y0) * scale)), max(1, round((x1 - x0) * scale))
        parts.append(Part(tuple(box.tolist()), size))
    return PartsOfImage(parts, image_size, full, tuple(chip.scale for chip in chips))


def all_together(
    images: deque[PartsOfImage], results: Iterator[SpottingResult | Exception]
) -> Iterator[SpottingResult | Exception]:
    """One result for each image, of those of its parts.

    Args:
        images: is filled as results are asked for; each image is taken out with its result.
        results: of all parts of all images in order; of an image without parts a
            `NothingToReadError`. The first other error stands for the image.
    """
    found: list[SpottingResult | Exception] = []
    for result in results:
        if isinstance(result, NothingToReadError):
            yield images.popleft().together([])
            continue
        found.append(result)
        if len(found) == len(images[0].parts):
            error = next((item for item in found if isinstance(item, Exception)), None)
            yield error or images[0].together(found)
            images.popleft()
            found = []
