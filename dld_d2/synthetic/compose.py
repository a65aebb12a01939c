"""Blocks of words, before they have a place in the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from dld_d2.synthetic.config import SceneConfig
from dld_d2.synthetic.draws import Draws
from dld_d2.synthetic.fonts import Font, TextRun
from dld_d2.synthetic.texts import TextSource
from dld_d2.synthetic.word_crops import WordCrop

__all__ = [
    "MAX_ENLARGEMENT",
    "Block",
    "BlockWord",
    "Box",
    "Style",
    "compose_block",
    "compose_picture",
    "run_of",
]

Box = tuple[float, float, float, float]

MAX_ENLARGEMENT = 1.5
"""A capital letter may become this much higher than the picture of a word is: more is a blur."""

_CAP_OF_CROP = 0.72  # a capital's height, typically, in a box around a word


@dataclass(frozen=True)
class Style:
    """How the letters of a block look.

    Attributes:
        font: of all its words.
        spacing: em added between letters.
        stretch: factor of the letters' width.
        outline: width in em of a line around the letters, 0 for none.
        shadow: whether they cast a shadow.
    """

    font: Font
    spacing: float
    stretch: float
    outline: float
    shadow: bool


@dataclass(frozen=True)
class BlockWord:
    """A word in block coordinates, which are pixels at the block's centre.

    Attributes:
        text: what it says.
        x, y: start of its baseline.
        size: pixels per em.
        cap: height of a capital letter in pixels.
        box: around its ink, with margin.
    """

    text: str
    x: float
    y: float
    size: float
    cap: float
    box: Box

    def moved(self, x: float, y: float) -> BlockWord:
        x0, y0, x1, y1 = self.box
        box = (x0 + x, y0 + y, x1 + x, y1 + y)
        return BlockWord(self.text, self.x + x, self.y + y, self.size, self.cap, box)


@dataclass(frozen=True)
class Block:
    """Words around the origin.

    Attributes:
        words: at least one.
        style: None for the picture of a word.
        panel: whether there is a board behind it.
        padding: pixels that the board, or free ground, leaves around the words.
        crop: the picture of a word, if it is one.
    """

    words: tuple[BlockWord, ...]
    style: Style | None
    panel: bool
    padding: float
    crop: WordCrop | None = None

    @cached_property
    def box(self) -> Box:
        """Around all words and the padding."""
        return _pad(_union([word.box for word in self.words]), self.padding)


def compose_block(
    draws: Draws,
    config: SceneConfig,
    fonts: Sequence[Font],
    heights: tuple[float, float],
    words: int,
    *,
    one_line: bool = False,
) -> Block | None:
    """Write some words in lines.

    Args:
        heights: smallest and largest height of a capital letter in pixels.
        words: how many at most.
        one_line: whether there may be one line only.

    Returns:
        A block at most about nine tenths as wide as the image, or None where no word fits.
    """
    style = _style(draws, config, fonts)
    source = TextSource(config)
    case = source.case(draws)
    widest = 0.92 * config.width
    height = draws.log_uniform(*heights)
    limit = min(widest, height * draws.uniform(4, 16))
    lines: list[list[BlockWord]] = [[]]
    gap = draws.uniform(0.34, 0.6) + 1.5 * style.spacing
    for _ in range(words):
        word = _fitting_word(draws, config, source, style, case, height, widest)
        if word is None:
            break
        line = lines[-1]
        x = line[-1].box[2] + gap * word.size if line else 0.0
        if line and x + word.box[2] - word.box[0] > limit:
            if one_line:
                break
            line = []
            lines.append(line)
            x = 0.0
            if draws.chance(0.4):
                height = min(max(height * draws.uniform(0.6, 1.3), heights[0]), heights[1])
                word = _word(config, style, word.text, height)
                if word.box[2] - word.box[0] > widest:
                    lines.pop()
                    break
        line.append(word.moved(x - word.box[0], 0.0))
    if not lines[0]:
        return None
    placed = _stack(draws, lines)
    panel = draws.chance(config.panel)
    padding = placed[0].cap * (draws.uniform(0.25, 0.8) if panel else 0.25)
    return _centred(Block(tuple(placed), style, panel, padding))


def compose_picture(crop: WordCrop, height: float, widest: float) -> Block:
    """A block that is the picture of a word.

    Args:
        height: of a capital letter in pixels, about; less if the picture would be too wide.
        widest: pixels.
    """
    box_height = min(height / _CAP_OF_CROP, widest * crop.height / crop.width)
    box = (0.0, 0.0, box_height * crop.width / crop.height, box_height)
    word = BlockWord(crop.text, 0.0, 0.0, 0.0, box_height * _CAP_OF_CROP, box)
    return _centred(Block((word,), None, False, 0.1 * box_height, crop))


def _style(draws: Draws, config: SceneConfig, fonts: Sequence[Font]) -> Style:
    return Style(
        font=draws.pick(fonts),
        spacing=draws.uniform(0.03, 0.2) if draws.chance(0.25) else 0.0,
        stretch=draws.log_uniform(0.75, 1.25),
        outline=draws.uniform(0.02, 0.05) if draws.chance(config.outline) else 0.0,
        shadow=draws.chance(config.shadow),
    )


def _fitting_word(
    draws: Draws,
    config: SceneConfig,
    source: TextSource,
    style: Style,
    case: str,
    height: float,
    widest: float,
) -> BlockWord | None:
    """A word that is no wider than `widest`; shorter and shorter ones are tried."""
    # No letter is narrower than this part of a capital's height, on average over a word.
    length = max(2, int(widest / (0.45 * style.stretch * height)))
    for _ in range(12):
        text = source.draw(draws, case, length)
        if not style.font.can_write(text):
            continue
        word = _word(config, style, text, height)
        if word.box[2] - word.box[0] <= widest:
            return word
        length = max(2, min(length, len(text)) - 1)
    return None


def _word(config: SceneConfig, style: Style, text: str, height: float) -> BlockWord:
    """A word whose baseline starts at the origin."""
    size = height / style.font.cap_height
    ink = style.font.run(text, style.spacing).ink
    margin = max(config.margin * height, 0.5) + style.outline * size
    across = size * style.stretch
    box = _pad((ink[0] * across, ink[1] * size, ink[2] * across, ink[3] * size), margin)
    return BlockWord(text, 0.0, 0.0, size, height, box)


def _stack(draws: Draws, lines: Sequence[Sequence[BlockWord]]) -> list[BlockWord]:
    """Put lines below each other, all flush left or all centred."""
    centred = draws.chance(0.5)
    leading = draws.uniform(0.2, 0.7)
    placed: list[BlockWord] = []
    bottom = 0.0
    for line in lines:
        left, top, right, _ = _union([word.box for word in line])
        x = -(left + right) / 2 if centred else -left
        y = bottom - top + (leading * line[0].cap if placed else 0.0)
        placed += [word.moved(x, y) for word in line]
        bottom = max(word.box[3] for word in placed)
    return placed


def _centred(block: Block) -> Block:
    x0, y0, x1, y1 = block.box
    x, y = -(x0 + x1) / 2, -(y0 + y1) / 2
    words = tuple(word.moved(x, y) for word in block.words)
    return Block(words, block.style, block.panel, block.padding, block.crop)


def _union(boxes: Sequence[Box]) -> Box:
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def _pad(box: Box, by: float) -> Box:
    return box[0] - by, box[1] - by, box[2] + by, box[3] + by


def run_of(word: BlockWord, style: Style) -> TextRun:
    """Where the letters of a word are."""
    return style.font.run(word.text, style.spacing)
