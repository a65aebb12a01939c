"""Pages of print, drawn while they are used: text that is everywhere, in even lines, and small.

No more than what a look at an image must know so that it does not take a page for a pattern
(`dld_d2.modeling.focus`); the scenes are what spotters learn to read from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dld_d2.data.records import ImageRecord, image_id
from dld_d2.data.text_dataset import standard_annotations
from dld_d2.synthetic.catalog import register_drawn
from dld_d2.synthetic.drawn import DrawnDataset
from dld_d2.synthetic.draws import Draws
from dld_d2.synthetic.fonts import Font, scene_fonts
from dld_d2.synthetic.texts import word_list

__all__ = ["PageDataset", "PageReader", "register_pages"]

_SIZES = ((1040, 736), (736, 1040), (880, 880))  # height, width
_CAP_HEIGHTS = (5.0, 30.0)  # of body text, in pixels
_PICTURE_STREAM = 1


@dataclass(frozen=True)
class _PageWord:
    """A word on a page.

    Attributes:
        text: what it says.
        start: x and y of the start of its baseline, in pixels.
        size: of the font, in pixels per em.
        font: the font's file.
        box: x0, y0, x1, y1 of its ink.
    """

    text: str
    start: tuple[float, float]
    size: float
    font: str
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class _Page:
    size: tuple[int, int]
    words: tuple[_PageWord, ...]


@dataclass(frozen=True)
class PageReader:
    """Draws one page when it is called: what `read_image` of a dictionary holds."""

    page: _Page
    seed: int
    index: int

    def __call__(self, image_format: str) -> np.ndarray:
        """(H, W, 3) uint8, in "BGR" or "RGB".

        Raises:
            ValueError: for any other order of the channels.
        """
        if image_format not in ("BGR", "RGB"):
            raise ValueError(f"pages come in BGR or RGB, not in {image_format!r}")
        image = _draw(self.page, Draws(self.seed, self.index, _PICTURE_STREAM))
        return image if image_format == "BGR" else np.ascontiguousarray(image[:, :, ::-1])


class PageDataset(DrawnDataset):
    """Map-style data set of pages, each a function of a seed and its index.

    Items are as `SyntheticDataset` gives them.
    """

    what = "page"

    def __init__(self, length: int, seed: int, prefix: str = "page") -> None:
        """
        Args:
            length: number of pages.
            seed: non-negative; pages of different seeds are independent.
            prefix: first part of the images' ids.

        Raises:
            ValueError: for a length below 1 or a negative seed.
        """
        super().__init__(length, seed, prefix)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The dictionary of one page, the caller's to change. Nothing is drawn yet.

        Raises:
            IndexError: if there is no such page.
        """
        index = self._checked(index)
        page = _lay_out(Draws(self.seed, index))
        boxes = np.array([word.box for word in page.words], dtype=np.float64)
        record = ImageRecord(
            f"{self.prefix}_{index:05d}.png",
            *page.size,
            list(boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)),
            [word.text for word in page.words],
            np.zeros(len(page.words), dtype=bool),
        )
        return {
            "file_name": record.file_name,
            "image_id": image_id(record.file_name),
            "height": record.height,
            "width": record.width,
            "annotations": standard_annotations(record),
            "read_image": PageReader(page, self.seed, index),
        }


@dataclass
class _RegisteredPages:
    """What `DatasetCatalog` calls."""

    length: int
    seed: int
    prefix: str
    _cache: list[PageDataset] = field(default_factory=list, compare=False, repr=False)

    def __call__(self) -> PageDataset:
        if not self._cache:
            self._cache.append(PageDataset(self.length, self.seed, self.prefix))
        return self._cache[0]


def register_pages(name: str, *, length: int, seed: int, prefix: str = "page") -> None:
    """Make a set of pages known to Detectron2 under a name. Nothing is drawn yet.

    Args:
        name: as used in `DATASETS.TRAIN` and `DATASETS.TEST`.
        length, seed, prefix: of `PageDataset`.

    Raises:
        ValueError: for a name that is taken by another set (the same registration may be
            repeated), and what `PageDataset` raises.
    """
    register_drawn(name, _RegisteredPages(length, seed, prefix), lexicons={})


def _lay_out(draws: Draws) -> _Page:
    """One to three columns of paragraphs, some with a heading."""
    size = height, width = draws.pick(_SIZES)
    font = draws.pick(scene_fonts())
    em = draws.log_uniform(*_CAP_HEIGHTS) / font.cap_height
    margin = draws.uniform(0.04, 0.12) * width
    columns = draws.integer(1, 3) if em < 24 else 1
    gap = 2 * em
    column = (width - 2 * margin - (columns - 1) * gap) / columns
    leading = draws.uniform(1.2, 2.0)
    words: list[_PageWord] = []
    for number in range(columns):
        left = margin + number * (column + gap)
        bottom = height - draws.uniform(0.03, 0.3) * height
        y = draws.uniform(0.03, 0.15) * height + em
        while y < bottom:
            title = draws.chance(0.15)
            scale = draws.uniform(1.3, 2.2) if title else 1.0
            lines = 1 if title else draws.integer(2, 12)
            for _ in range(lines):
                if y >= bottom:
                    break
                last = draws.uniform(0.3, 1.0) if title or draws.chance(0.15) else 1.0
                words += _line(draws, font, em * scale, left, y, last * column)
                y += em * scale * leading
            y += em * draws.uniform(0.2, 1.5)
    return _Page(size, tuple(words))


def _line(
    draws: Draws, font: Font, em: float, left: float, y: float, width: float
) -> Iterator[_PageWord]:
    """Words from left to right, as many as there is room for."""
    x = left
    while True:
        text = draws.pick(word_list())
        if draws.chance(0.15):
            text = text.capitalize()
        if draws.chance(0.05):
            text = str(draws.integer(1, 9999))
        x0, y0, x1, y1 = (em * value for value in font.run(text).ink)
        if x + x1 > left + width:
            return
        yield _PageWord(text, (x, y), em, font.path, (x + x0, y + y0, x + x1, y + y1))
        x += x1 + 0.3 * em


def _draw(page: _Page, draws: Draws) -> np.ndarray:
    height, width = page.size
    paper, ink = draws.uniform(190, 255), draws.uniform(0, 90)
    if draws.chance(0.1):
        paper, ink = ink, paper
    picture = Image.new("L", (width, height), 0)
    canvas = ImageDraw.Draw(picture)
    for word in page.words:
        font = ImageFont.truetype(word.font, max(4.0, word.size))
        canvas.text(word.start, word.text, fill=255, font=font, anchor="ls")
    cover = np.asarray(picture, dtype=np.float32) / 255
    if draws.chance(0.5):
        cover = cv2.GaussianBlur(cover, (0, 0), draws.uniform(0.4, 0.9))
    tint = 1 + 0.06 * (draws.array(2, 3) - 0.5)
    image = paper * tint[0] + cover[:, :, None] * (ink * tint[1] - paper * tint[0])
    light = 1 - draws.uniform(0, 0.3) * np.linspace(0, 1, width, dtype=np.float32)[None, :, None]
    noise = draws.uniform(0, 8) * (draws.array(height, width, 1) - 0.5)
    return np.clip(image * light + noise, 0, 255).astype(np.uint8)
