"""Fonts as layouts and pictures need them: exact measures, and masks of letters."""

from __future__ import annotations

import logging
import string
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from fontTools.pens.boundsPen import BoundsPen
from fontTools.ttLib import TTFont, TTLibError
from PIL import Image, ImageDraw, ImageFont

__all__ = ["EM", "Font", "TextRun", "load_font", "scene_fonts"]

EM = 160
"""Pixels per em of the masks."""

_ASCII = frozenset(chr(code) for code in range(ord("!"), ord("~") + 1))
_ALPHANUMERIC = frozenset(string.ascii_letters + string.digits)

# Of the fonts that matplotlib carries, those with Latin letters. Computer Modern has other signs
# in place of some ASCII punctuation.
_FULL_ASCII = (
    *(f"DejaVuSans{style}.ttf" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}.ttf" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{style}.ttf" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}.ttf" for style in ("", "Bol", "Italic", "BolIta")),
)
_LETTERS_ONLY = ("cmb10.ttf", "cmr10.ttf", "cmss10.ttf", "cmti10.ttf", "cmtt10.ttf")


class TextRun(NamedTuple):
    """Where the letters of a text are, in em, from the start of its baseline, y downwards.

    Attributes:
        origins: x of each letter's own origin.
        ink: x0, y0, x1, y1 of what is black.
    """

    origins: list[float]
    ink: tuple[float, float, float, float]


@dataclass(frozen=True)
class Font:
    """A font file, of which `characters` can be used."""

    path: str
    characters: frozenset[str]

    def can_write(self, text: str) -> bool:
        return self.characters.issuperset(text)

    @cached_property
    def cap_height(self) -> float:
        """Height of the letter H in em."""
        return -_measures(self.path, "H").ink[1]

    def run(self, text: str, spacing: float = 0.0) -> TextRun:
        """Lay out a text without kerning.

        Args:
            spacing: em added after each letter.
        """
        origins, boxes, x = [], [], 0.0
        for character in text:
            letter = _measures(self.path, character)
            x0, y0, x1, y1 = letter.ink
            origins.append(x)
            boxes.append((x + x0, y0, x + x1, y1))
            x += letter.advance + spacing
        left, top, right, bottom = zip(*boxes, strict=True)
        return TextRun(origins, (min(left), min(top), max(right), max(bottom)))

    def mask(self, text: str, run: TextRun) -> tuple[np.ndarray, float, float]:
        """Draw a text at `EM` pixels per em.

        Returns:
            (H, W) uint8 coverage with an empty border, and x, y of its top left corner in pixels
            from the start of the baseline.
        """
        left, top = (int(np.floor(v * EM)) - 4 for v in run.ink[:2])
        right, bottom = (int(np.ceil(v * EM)) + 4 for v in run.ink[2:])
        mask = np.zeros((bottom - top, right - left), dtype=np.uint8)
        for character, origin in zip(text, run.origins, strict=True):
            glyph, x, y = _glyph(self.path, character)
            x += round(origin * EM) - left
            y -= top
            height, width = glyph.shape
            # Hinting may push a letter over the exact box by a pixel; the border has room for more.
            part = mask[y : y + height, x : x + width]
            np.maximum(part, glyph[: part.shape[0], : part.shape[1]], out=part)
        return mask, left, top


@lru_cache(maxsize=256)
def load_font(path: str, characters: frozenset[str]) -> Font:
    """The same object for the same file, so that its measures are taken once."""
    return Font(path, characters)


@lru_cache(maxsize=2)
def scene_fonts(use_system_fonts: bool = False) -> tuple[Font, ...]:
    """Fonts of scenes, in an order that is the same everywhere (but for the system's fonts).

    Raises:
        FileNotFoundError: if matplotlib came without its fonts.
    """
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    fonts = [load_font(str(folder / name), _ASCII) for name in _FULL_ASCII]
    fonts += [load_font(str(folder / name), _ALPHANUMERIC) for name in _LETTERS_ONLY]
    missing = [font.path for font in fonts if not Path(font.path).is_file()]
    if missing:
        raise FileNotFoundError(
            f"matplotlib's font {missing[0]} is missing; install matplotlib with its fonts"
        )
    return (*fonts, *(_system_fonts() if use_system_fonts else ()))


def _system_fonts() -> list[Font]:
    from matplotlib import font_manager

    found = []
    for path in sorted(font_manager.findSystemFonts(fontext="ttf")):
        try:
            characters = frozenset(map(chr, _tables(path).names)) & _ASCII
            # Fonts of symbols claim letters that they do not draw.
            usable = characters >= _ALPHANUMERIC and all(
                _measures(path, character).ink[2] > _measures(path, character).ink[0]
                for character in sorted(_ALPHANUMERIC)
            )
        except (OSError, KeyError, ValueError, AssertionError, TTLibError):
            continue
        if usable:
            found.append(load_font(path, characters))
    return found


class _Tables(NamedTuple):
    names: Mapping[int, str]  # of glyphs, by code point
    glyphs: Any
    units: int  # per em


class _Measures(NamedTuple):
    """Of a letter, in em: its advance, and the box x0, y0, x1, y1 of its ink, y downwards."""

    advance: float
    ink: tuple[float, float, float, float]


@lru_cache(maxsize=256)
def _tables(path: str) -> _Tables:
    # fontTools warns of dates that it finds unlikely, which is no concern of a layout.
    logging.getLogger("fontTools.ttLib.tables._h_e_a_d").setLevel(logging.ERROR)
    font = TTFont(path, lazy=True, fontNumber=0)
    return _Tables(font.getBestCmap() or {}, font.getGlyphSet(), font["head"].unitsPerEm)


# Room for all letters of a machine with two thousand fonts.
@lru_cache(maxsize=2**18)
def _measures(path: str, character: str) -> _Measures:
    """Exact, from the outline: no rasteriser, and so none of its versions, has a say."""
    names, glyphs, units = _tables(path)
    glyph = glyphs[names[ord(character)]]
    pen = BoundsPen(glyphs)
    glyph.draw(pen)
    x0, y0, x1, y1 = (value / units for value in pen.bounds or (0, 0, 0, 0))
    return _Measures(glyph.width / units, (x0, -y1, x1, -y0))


@lru_cache(maxsize=256)
def _mask_font(path: str) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, EM, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=4096)
def _glyph(path: str, character: str) -> tuple[np.ndarray, int, int]:
    """Mask of a letter, and x, y of its top left corner from its origin, in pixels."""
    font = _mask_font(path)
    x0, y0, x1, y1 = (round(v) for v in font.getbbox(character, anchor="ls"))
    picture = Image.new("L", (x1 - x0 + 2, y1 - y0 + 2))
    ImageDraw.Draw(picture).text((1 - x0, 1 - y0), character, fill=255, font=font, anchor="ls")
    # Pillow's box reaches from the origin to the advance; only the ink is wanted.
    ink = picture.getbbox() or (0, 0, 1, 1)
    return np.asarray(picture.crop(ink)), x0 - 1 + ink[0], y0 - 1 + ink[1]
