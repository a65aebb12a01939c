"""Pictures with captions on one sheet, as a file of its own."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from html_page.parts import jpeg
from PIL import Image, ImageDraw

from appendix_page.item import Cell
from dld_d2.analysis.appendix.characters import Marked
from dld_d2.analysis.visualization import label_font

__all__ = ["sheet"]

_GAP = 10
_INK, _RED = (30, 36, 48), (192, 0, 0)


def sheet(rows: Sequence[Sequence[Cell | None]], width: int = 420) -> bytes:
    """A JPEG of a grid.

    Args:
        rows: of cells; None leaves a place empty.
        width: of each picture in pixels.
    """
    strips = [[_drawn(cell, width) for cell in row] for row in rows]
    columns = max(map(len, strips))
    heights = [max(cell.shape[0] for cell in strip) for strip in strips]
    size = (sum(heights) + _GAP * (len(rows) + 1), columns * (width + _GAP) + _GAP, 3)
    canvas = np.full(size, 255, dtype=np.uint8)
    top = _GAP
    for strip, height in zip(strips, heights, strict=True):
        for column, cell in enumerate(strip):
            left = _GAP + column * (width + _GAP)
            canvas[top : top + cell.shape[0], left : left + width] = cell
        top += height + _GAP
    return jpeg(canvas)


def _drawn(cell: Cell | None, width: int) -> np.ndarray:
    if cell is None:
        return np.full((1, width, 3), 255, dtype=np.uint8)
    height = max(1, round(cell.picture.shape[0] * width / cell.picture.shape[1]))
    picture = cv2.resize(cell.picture, (width, height), interpolation=cv2.INTER_AREA)
    return np.concatenate([picture, _caption([[(cell.head, False)], *cell.readings], width)])


def _caption(texts: Sequence[Marked], width: int) -> np.ndarray:
    """The head on lines of its own, the words after it as many to a line as fit."""
    font = label_font(14)
    space = font.getlength("   ")
    placed: list[tuple[float, int, str, bool]] = []
    x, line = 0.0, 0
    for number, text in enumerate(texts):
        pieces = [
            (word, wrong)
            for piece, wrong in text
            for word in ([f"{part} " for part in piece.split()] if number == 0 else [piece])
        ]
        needed = sum(font.getlength(piece) for piece, _ in pieces)
        if number == 1 or (number > 1 and x + needed > width):
            x, line = 0.0, line + 1
        for piece, wrong in pieces:
            if number == 0 and x and x + font.getlength(piece.rstrip()) > width:
                x, line = 0.0, line + 1
            placed.append((x, line, piece, wrong))
            x += font.getlength(piece)
        x += space
    height = sum(font.getmetrics()) + 2
    strip = Image.new("RGB", (width, (line + 1) * height + 4), (255, 255, 255))
    canvas = ImageDraw.Draw(strip)
    for x, line, piece, wrong in placed:
        canvas.text((x, line * height + 2), piece, _RED if wrong else _INK, font)
    return np.asarray(strip)[:, :, ::-1]
