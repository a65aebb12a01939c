"""Words drawn on photographs: polygons, readable labels, a legend, pictures side by side.

Needs neither PyTorch nor Detectron2. Images are BGR uint8 arrays (H, W, 3), as OpenCV reads and
writes them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

__all__ = [
    "PALETTE",
    "DrawnWord",
    "LegendEntry",
    "add_legend",
    "as_seen",
    "below_each_other",
    "draw_words",
    "label_font",
    "side_by_side",
]

# Okabe and Ito's colours (RGB), which people with any common colour blindness tell apart.
PALETTE: dict[str, tuple[int, int, int]] = {
    "orange": (230, 159, 0),
    "sky": (86, 180, 233),
    "green": (0, 158, 115),
    "yellow": (240, 228, 66),
    "blue": (0, 114, 178),
    "vermilion": (213, 94, 0),
    "purple": (204, 121, 167),
    "grey": (160, 160, 160),
}

_SUBPIXEL_BITS = 4
_LABEL_ALPHA = 215

MAX_LABELS = 1_000
"""Words of one picture that get a label: more hide the picture and each other, and finding their
places would take minutes."""

# OpenCV counts in 32 bits, of which four are for fractions.
_FARTHEST = 1_000_000.0


@dataclass(frozen=True)
class DrawnWord:
    """One word to draw.

    Attributes:
        polygon: (K, 2) float, vertices (x, y) in pixels; pixel (0, 0) covers [0, 1] x [0, 1].
        text: label; empty for an outline without label. Characters that the font lacks appear as
            boxes, control characters as replacement characters.
        score: shown after the text with two decimals, unless None. There are several scores of a
            word, so the picture's legend should say which.
        color: a key of `PALETTE`.
        hatched: whether to hatch the inside, which is how don't-care regions are told apart.
    """

    polygon: np.ndarray
    text: str = ""
    score: float | None = None
    color: str = "sky"
    hatched: bool = False

    @property
    def label(self) -> str:
        text = "".join(c if c.isprintable() else "\ufffd" for c in self.text)
        score = "" if self.score is None else f"{self.score:.2f}"
        return " ".join(part for part in (text, score) if part)


@dataclass(frozen=True)
class LegendEntry:
    """What a colour of `PALETTE` (and hatching) means; without colour, a note on the picture."""

    text: str
    color: str | None = None
    hatched: bool = False


def draw_words(
    image: np.ndarray, words: Sequence[DrawnWord], *, enlarge: float = 1.0
) -> np.ndarray:
    """Draw outlines and labels of words on a copy of an image.

    A label goes above its word, or where it hides least: it keeps within the image and off other
    labels as far as there is room. A line leads from a label that had to move away to its word.
    The first `MAX_LABELS` words with a label get it; where there are more, the picture says so.

    Args:
        image: (H, W, 3) uint8, BGR.
        words: drawn in this order; labels lie above all outlines. Vertices far outside are drawn at
            1,000,000 pixels.
        enlarge: factor by which the picture is enlarged first, for labels that are readable on
            small images. Polygons are given in pixels of the image as it comes in.

    Returns:
        (H, W, 3) uint8, BGR, with H and W multiplied by `enlarge` and rounded.

    Raises:
        ValueError: for an image of another shape or type, or an unknown colour.
    """
    _check_image(image)
    canvas = np.ascontiguousarray(image).copy()
    if enlarge != 1:
        size = [round(side * enlarge) for side in (canvas.shape[1], canvas.shape[0])]
        canvas = cv2.resize(canvas, size, interpolation=cv2.INTER_CUBIC)
    polygons = [
        np.clip(
            np.asarray(w.polygon, dtype=np.float64).reshape(-1, 2) * enlarge, -_FARTHEST, _FARTHEST
        )
        for w in words
    ]
    thickness = max(2, round(min(canvas.shape[:2]) / 400))
    for word, polygon in zip(words, polygons, strict=True):
        color = _rgb(word.color)
        if word.hatched:
            _hatch(canvas, polygon, color)
        points = _fixed_point(polygon)
        # A wider black line below keeps the outline visible on a background of its own colour.
        for line_color, width in (((0, 0, 0), thickness + 2), (color[::-1], thickness)):
            cv2.polylines(canvas, [points], True, line_color, width, cv2.LINE_AA, _SUBPIXEL_BITS)
    return _draw_labels(canvas, words, polygons)


def add_legend(image: np.ndarray, entries: Sequence[LegendEntry]) -> np.ndarray:
    """Append a strip below the image that says what the colours and numbers mean, wrapped to its
    width."""
    _check_image(image)
    width = image.shape[1]
    font = label_font(_font_size(image))
    swatch = font.size
    rows: list[list[tuple[LegendEntry, float]]] = [[]]
    x = 0.0
    for entry in entries:
        needed = (1.0 if entry.color is None else 2.5) * swatch + font.getlength(entry.text)
        if rows[-1] and x + needed > width:
            rows.append([])
            x = 0.0
        rows[-1].append((entry, x))
        x += needed
    line = 2 * swatch
    strip = np.full((line * len(rows), width, 3), 255, dtype=np.uint8)
    for number, row in enumerate(rows):
        top = number * line + swatch // 2
        for entry, left in row:
            if entry.color is None:
                continue
            x0 = left + swatch / 2
            square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * swatch + [x0, top]
            # Hatching shows on dark ground; a plain colour fills its square.
            ground = (64, 64, 64) if entry.hatched else _rgb(entry.color)
            cv2.fillPoly(strip, [square.astype(np.int32)], ground[::-1])
            word = DrawnWord(square, color=entry.color, hatched=entry.hatched)
            strip = draw_words(strip, [word])
    picture = Image.fromarray(strip[:, :, ::-1])
    draw = ImageDraw.Draw(picture)
    for number, row in enumerate(rows):
        middle = number * line + line / 2
        for entry, left in row:
            x = left + (0.5 if entry.color is None else 1.8) * swatch
            draw.text((x, middle), entry.text, (0, 0, 0), font, anchor="lm")
    return np.concatenate([image, np.asarray(picture)[:, :, ::-1]])


def side_by_side(images: Sequence[np.ndarray], titles: Sequence[str] = ()) -> np.ndarray:
    """Join images from left to right, with a title above each.

    Args:
        images: BGR uint8 images; lower ones are padded at the bottom.
        titles: one per image, or none at all.

    Raises:
        ValueError: for no image, or a number of titles that is not that of the images.
    """
    if not images:
        raise ValueError("side_by_side needs at least one image")
    if titles and len(titles) != len(images):
        raise ValueError(f"{len(titles)} titles for {len(images)} images")
    gap = 8
    for image in images:
        _check_image(image)
    height = max(image.shape[0] for image in images)
    font_size = max(map(_font_size, images))
    columns = []
    for number, image in enumerate(images):
        column = cv2.copyMakeBorder(
            image, 0, height - image.shape[0], 0, 0, cv2.BORDER_CONSTANT, value=(255, 255, 255)
        )
        if titles:
            column = np.concatenate([_title(titles[number], column.shape[1], font_size), column])
        columns.append(column)
    spacer = np.full((columns[0].shape[0], gap, 3), 255, dtype=np.uint8)
    joined = [part for column in columns for part in (column, spacer)][:-1]
    return np.concatenate(joined, axis=1)


def below_each_other(images: Sequence[np.ndarray]) -> np.ndarray:
    """Join one or more images from top to bottom; narrower ones are padded at the right."""
    width = max(image.shape[1] for image in images)
    white = (255, 255, 255)
    return np.concatenate(
        [
            cv2.copyMakeBorder(i, 0, 8, 0, width - i.shape[1], cv2.BORDER_CONSTANT, value=white)
            for i in images
        ]
    )


def as_seen(image: np.ndarray, scale: float) -> np.ndarray:
    """An image as coarse as it is at a scale, at its own size.

    Args:
        image: (H, W, 3) uint8.
        scale: of its sides; from 1 on it stays as it is.
    """
    height, width = image.shape[:2]
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def _check_image(image: np.ndarray) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f"an image must be a (H, W, 3) uint8 array in BGR, got {image.shape} {image.dtype}"
        )


def _rgb(color: str) -> tuple[int, int, int]:
    if color not in PALETTE:
        raise ValueError(f"unknown colour {color!r}, choose one of {', '.join(PALETTE)}")
    return PALETTE[color]


def _fixed_point(polygon: np.ndarray) -> np.ndarray:
    # OpenCV puts integer coordinates at pixel centres.
    return np.rint((polygon - 0.5) * 2**_SUBPIXEL_BITS).astype(np.int32)


def _hatch(canvas: np.ndarray, polygon: np.ndarray, color: tuple[int, int, int]) -> None:
    height, width = canvas.shape[:2]
    low = np.clip(np.floor(polygon.min(axis=0)), 0, (width, height)).astype(int)
    high = np.clip(np.ceil(polygon.max(axis=0)), 0, (width, height)).astype(int)
    part = canvas[low[1] : high[1], low[0] : high[0]]
    if part.size == 0:
        return
    inside = np.zeros(part.shape[:2], dtype=np.uint8)
    cv2.fillPoly(inside, [_fixed_point(polygon - low)], 1, shift=_SUBPIXEL_BITS)
    period = max(6, min(height, width) // 60)
    rows, columns = np.indices(inside.shape)
    stripes = (rows + columns + low.sum()) % period < max(1, period // 4)
    part[(inside == 1) & stripes] = color[::-1]


def _title(text: str, width: int, font_size: int) -> np.ndarray:
    font = label_font(font_size)
    picture = Image.new("RGB", (width, 2 * font.size), (255, 255, 255))
    ImageDraw.Draw(picture).text((font.size / 2, font.size), text, (0, 0, 0), font, anchor="lm")
    return np.asarray(picture)[:, :, ::-1]


def _font_size(image: np.ndarray) -> int:
    return max(13, round(min(image.shape[:2]) / 45))


@lru_cache(maxsize=8)
def label_font(size: int) -> ImageFont.FreeTypeFont:
    """What labels are written in, `size` in pixels."""
    # matplotlib carries DejaVu Sans, which has the Latin, Greek, Cyrillic, Arabic and Hebrew
    # scripts, so that labels look alike on every machine. Without it, as where networks are run
    # without PyTorch, Pillow's own font has the Latin letters.
    package = importlib.util.find_spec("matplotlib")
    if package is None:
        return ImageFont.load_default(size)
    path = Path(package.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size)


def _draw_labels(
    canvas: np.ndarray, words: Sequence[DrawnWord], polygons: Sequence[np.ndarray]
) -> np.ndarray:
    labelled = [i for i, word in enumerate(words) if word.label]
    if not labelled:
        return canvas
    total, labelled = len(labelled), labelled[:MAX_LABELS]
    font = label_font(_font_size(canvas))
    pad = max(2, font.size // 6)
    ascent, descent = font.getmetrics()
    extents = [np.concatenate([p.min(axis=0), p.max(axis=0)]) for p in polygons]
    sizes = [
        (font.getlength(words[i].label) + 2 * pad, ascent + descent + 2 * pad) for i in labelled
    ]
    places = _place_labels(
        np.array([extents[i] for i in labelled]), np.array(sizes), canvas.shape[1], canvas.shape[0]
    )
    picture = Image.fromarray(canvas[:, :, ::-1])
    draw = ImageDraw.Draw(picture, "RGBA")
    for index, place, size in zip(labelled, places, sizes, strict=True):
        _draw_leader(draw, extents[index], place, place + size, _rgb(words[index].color))
    for index, (x, y), (width, height) in zip(labelled, places, sizes, strict=True):
        color = _rgb(words[index].color)
        # Luma of ITU-R BT.601 decides between black and white letters.
        dark = np.dot(color, (0.299, 0.587, 0.114)) > 110
        draw.rectangle((x, y, x + width, y + height), fill=(*color, _LABEL_ALPHA))
        letters = (0, 0, 0) if dark else (255, 255, 255)
        draw.text((x + pad, y + pad), words[index].label, letters, font)
    if total > len(labelled):
        note = f"labels of {len(labelled)} of {total} words"
        draw.rectangle((0, 0, font.getlength(note) + 2 * pad, ascent + descent), (0, 0, 0))
        draw.text((pad, 0), note, (255, 255, 255), font)
    return np.ascontiguousarray(np.asarray(picture)[:, :, ::-1])


def _draw_leader(
    draw: ImageDraw.ImageDraw,
    extent: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    color: tuple[int, int, int],
) -> None:
    """Line from a label [low, high] to a word's box that it does not touch."""
    on_label = np.clip((extent[:2] + extent[2:]) / 2, low, high)
    on_word = np.clip(on_label, extent[:2], extent[2:])
    if np.abs(on_label - on_word).max() > 2:
        draw.line([*on_label, *on_word], fill=color, width=2)


def _place_labels(extents: np.ndarray, sizes: np.ndarray, width: int, height: int) -> np.ndarray:
    """Top-left corners (N, 2) of labels of `sizes` (N, 2) for words of `extents` (N, 4).

    Each label in turn takes, of the places around its word, nearest first, the one that covers
    least area of the labels already placed and then of the words.
    """
    x0, y0, x1, y1 = extents.T
    w, h = sizes.T
    middle = (y0 + y1 - h) / 2
    places = []
    for away in (0 * h, h, 2 * h):
        above, below = y0 - h - away, y1 + away
        places += [(x0, above), (x0, below), (x1 - w, above), (x1 - w, below)]
        places += [(x1 + away, middle), (x0 - w - away, middle)]
    candidates = np.stack([np.stack(place, axis=1) for place in places], axis=1)  # N, places, 2
    room = np.maximum(np.array([width, height]) - sizes, 0)
    candidates = np.clip(candidates, 0, room[:, None])
    boxes = np.concatenate([candidates, candidates + sizes[:, None]], axis=2)
    chosen = np.empty((0, 4))
    for options in boxes:
        cost = 10 * _overlap(options, chosen) + _overlap(options, extents)
        chosen = np.concatenate([chosen, options[None, cost.argmin()]])
    return chosen[:, :2]


def _overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Area of each box of `a` (M, 4) that the boxes `b` (N, 4) cover, summed over them: (M,)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    return np.clip(high - low, 0, None).prod(axis=2).sum(axis=1)
