"""Pictures of a spotter's results: five outcomes in five colours, readings beside each other."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dld_d2.evaluation.words import EvaluationInputError
from dld_d2.structures.files import check_regular_file
from dld_d2.structures.pixels import pillow_to_bgr

# Okabe and Ito's palette, told apart by colour-blind readers too.
COLOURS = {
    "correct": (0, 158, 115),
    "misread": (230, 159, 0),
    "missed": (86, 180, 233),
    "false": (204, 51, 153),
    "dont_care": (150, 150, 150),
}
_LABELS = {"false": "false positive", "dont_care": "don't care"}
_FILL_OPACITY = 70
_MIN_LONG_SIDE = 1920  # smaller photographs are enlarged, or labels would hide the words
_FONT_SIZE = 16
_LABEL_LENGTH = 60

MAX_LABELS = 1_000
"""Words of one picture that get a label: more hide the picture and each other, and finding their
places would take minutes."""

_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"}


def find_photographs(folder: str | Path, image_ids: Iterable[str]) -> dict[str, Path]:
    """Image id -> its file: named as the id, or ending in it (`img_12.jpg` for "12").

    Raises:
        EvaluationInputError: no such folder, no file fits any id, or two fit one.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise EvaluationInputError(f"{folder}: no such folder of images")
    exact: dict[str, list[Path]] = {}
    ending: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in _SUFFIXES:
            exact.setdefault(path.stem, []).append(path)
            digits = re.search(r"[0-9]+$", path.stem)
            if digits:
                ending.setdefault(digits.group(), []).append(path)
    found = {}
    for image_id in image_ids:
        paths = exact.get(image_id) or ending.get(image_id) or []
        if len(paths) > 1:
            raise EvaluationInputError(
                f"{folder}: {paths[0].name!r} and {paths[1].name!r} both fit image {image_id}"
            )
        if paths:
            found[image_id] = paths[0]
    if not found:
        raise EvaluationInputError(f"{folder}: no image fits the ground truth (img_N.jpg)")
    return found


def draw_image(photograph: str | Path, record: dict[str, object]) -> Image.Image:
    """Draw a record of `details.image_records` on its photograph.

    Detections are filled and outlined in the colour of their outcome, missed and don't-care ground
    truths likewise; the ground truth of a pair is a thin white outline. A label shows the ground
    truth on black and, beside it, the reading on the colour of its outcome.
    """
    picture = _read_photograph(Path(photograph))
    scale = max(1.0, _MIN_LONG_SIDE / max(picture.size))
    picture = picture.resize([round(side * scale) for side in picture.size])
    truths, detections = record["ground_truth"], record["detections"]
    shapes = [  # in drawing order: what matters least lies lowest
        *(word for word in truths if word["outcome"] == "dont_care"),
        *(word for word in truths if word["outcome"] == "missed"),
        *(word for word in detections if word["outcome"] in ("dont_care", "false")),
        *(word for word in detections if word["outcome"] in ("misread", "correct")),
    ]
    canvas = ImageDraw.Draw(picture, "RGBA")
    for word in shapes:
        polygon = _corners(word, scale)
        colour = COLOURS[word["outcome"]]
        canvas.polygon(polygon, fill=(*colour, _FILL_OPACITY))
        canvas.line([*polygon, polygon[0]], fill=colour, width=4, joint="curve")
    for word in truths:
        if word["detection"] is not None:
            polygon = _corners(word, scale)
            canvas.line([*polygon, polygon[0]], fill=(255, 255, 255), width=1)

    font = ImageFont.load_default(_FONT_SIZE)
    placed: list[tuple[float, float, float, float]] = []
    # Misread words choose their place before the false ones.
    labelled = [word for word in reversed(shapes) if word["outcome"] != "dont_care"]
    for word in labelled[:MAX_LABELS]:
        _draw_label(canvas, picture.size, font, _corners(word, scale), word, truths, placed)
    left_out = len(labelled) - MAX_LABELS
    return _with_legend(picture, record, font, f"{left_out} without labels" if left_out > 0 else "")


def _read_photograph(path: Path) -> Image.Image:
    """
    Raises:
        EvaluationInputError: naming the file, if it is no photograph that can be read.
    """
    try:
        check_regular_file(path)
        with Image.open(path) as opened:
            return Image.fromarray(np.ascontiguousarray(pillow_to_bgr(opened)[:, :, ::-1]))
    except Exception as error:  # Pillow raises anything on damaged files
        raise EvaluationInputError(f"{path}: cannot be drawn on ({error})") from None


def _corners(word: dict[str, object], scale: float) -> list[tuple[float, float]]:
    return [tuple(point) for point in (np.trunc(word["polygon"]) * scale).tolist()]


def _shown(text: str) -> str:
    """A reading as a label can show it."""
    return text if len(text) <= _LABEL_LENGTH else text[: _LABEL_LENGTH - 3] + "..."


def _draw_label(
    canvas: ImageDraw.ImageDraw,
    size: tuple[int, int],
    font: ImageFont.FreeTypeFont,
    corners: list[tuple[float, float]],
    word: dict[str, object],
    truths: list[dict[str, object]],
    placed: list[tuple[float, float, float, float]],
) -> None:
    """Put the readings of a word near it, clear of the labels already placed."""
    colour = COLOURS[word["outcome"]]
    black, white = (0, 0, 0), (255, 255, 255)
    if word["outcome"] == "missed":
        parts = [(_shown(word["text"]), black, white)]
    elif word["outcome"] == "false":
        parts = [(_shown(word["corrected"]), colour, white)]
    else:
        parts = [
            (_shown(truths[word["ground_truth"]]["text"]), black, white),
            (_shown(word["corrected"]), colour, black),
        ]
    pad = 3
    widths = [canvas.textlength(text, font=font) + 2 * pad for text, _, _ in parts]
    height = sum(font.getmetrics()) + 1
    x, y = _free_place(corners, sum(widths), height, size, placed)
    placed.append((x, y, x + sum(widths), y + height))
    for (text, background, foreground), part_width in zip(parts, widths, strict=True):
        canvas.rectangle([x, y, x + part_width, y + height], fill=(*background, 215))
        canvas.text((x + pad, y), text, fill=foreground, font=font)
        x += part_width


def _free_place(
    corners: list[tuple[float, float]],
    width: float,
    height: float,
    size: tuple[int, int],
    placed: list[tuple[float, float, float, float]],
) -> tuple[float, float]:
    """Above, below, right or left of the word, then ever farther; above it if all is taken."""
    (x0, y0), (x1, y1) = np.min(corners, axis=0), np.max(corners, axis=0)
    places = []
    for step in range(4):
        away = step * (height + 1)
        places += [
            (x0, y0 - height - away),
            (x0, y1 + away),
            (x1 + away, y0),
            (x0 - width - away, y0),
        ]
    places = [
        (min(max(0.0, x), max(0.0, size[0] - width)), min(max(0.0, y), max(0.0, size[1] - height)))
        for x, y in places
    ]
    left, top, right, bottom = np.reshape(placed, (-1, 4)).T
    x, y = np.array(places).T[:, :, None]
    hides = (x < right) & (left < x + width) & (y < bottom) & (top < y + height)
    return places[int(np.argmin(hides.any(axis=1)))]  # the first that hides none, or the first


def _with_legend(
    picture: Image.Image, record: dict[str, object], font: ImageFont.FreeTypeFont, note: str
) -> Image.Image:
    """Add a strip below that names the colours, counts the outcomes and ends with a note."""
    counts = dict.fromkeys(COLOURS, 0)
    for word in record["detections"]:
        counts[word["outcome"]] += word["outcome"] != "dont_care"
    for word in record["ground_truth"]:
        counts[word["outcome"]] += word["outcome"] in ("missed", "dont_care")
    height = sum(font.getmetrics()) + 8
    framed = Image.new("RGB", (picture.width, picture.height + height), (20, 20, 20))
    framed.paste(picture)
    canvas = ImageDraw.Draw(framed)
    x, top = 6.0, picture.height + 4
    for outcome, count in counts.items():
        text = f"{_LABELS.get(outcome, outcome)} {count}"
        canvas.rectangle([x, top + 3, x + height - 14, top + height - 11], fill=COLOURS[outcome])
        canvas.text((x + height - 9, top), text, fill=(255, 255, 255), font=font)
        x += height + canvas.textlength(text, font=font) + 8
    canvas.text((x, top), note, fill=(255, 255, 255), font=font)
    return framed
