"""Collages: the words of other images, cut out and laid side by side, as many as there is room for.

Reading is learnt word by word, and what an image costs is shared by its words: a photograph has
four readable ones, a collage of its size some 250. So a spotter whose text head starts without
knowing photographs learns to read them sooner from both than from photographs alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from dld_d2.data.mapper import load_image
from dld_d2.structures.sides import POINTS_PER_SIDE, word_sides
from dld_d2.synthetic.draws import Draws

__all__ = ["Collage", "CutWord", "cut_words", "make_collage"]

_MARGIN = 0.3  # of a word's height, of its surroundings that are cut out with it
_MIN_HEIGHT = 7.0  # pixels; what is lower nobody reads
_MAX_HEIGHT = 64  # pixels that a cut word keeps; collages hold no larger ones
_TRIES = 8  # words that a row may find too long before it ends
_JPEG_QUALITY = 95


@dataclass(frozen=True)
class CutWord:
    """A word, straightened, with some of what is around it.

    Attributes:
        text: what it says.
        picture: (H, W, 3) uint8 BGR as a JPEG file's bytes, since there are tens of thousands.
        box: x0, y0, x1, y1 of the word in it, in pixels.
    """

    text: str
    picture: bytes
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Collage:
    """A picture and its words.

    Attributes:
        image: (H, W, 3) uint8 BGR.
        polygons: N arrays (4, 2) float64, clockwise from the top left corner of each word.
        texts: what they say.
    """

    image: np.ndarray
    polygons: Sequence[np.ndarray]
    texts: Sequence[str]


def cut_words(dataset: Iterable[Mapping[str, Any]]) -> Iterator[CutWord]:
    """The readable words of a data set, each laid straight by the perspective of its four corners.

    Left out are don't-care regions, words without a transcription or of less than seven pixels in
    height, and words that run downwards or upwards rather than to the side. Curved words stay as
    curved as they are.

    Args:
        dataset: Detectron2's dictionaries, as `TextDataset` has them.

    Raises:
        OSError: for an image that cannot be read.
    """
    for item in dataset:
        image = None
        for word in item["annotations"]:
            if word["ignore"] or not word["text"]:
                continue
            polygon = np.asarray(word["segmentation"][0], dtype=np.float64).reshape(-1, 2)
            # Both sides run in reading order: the lower one's end is the lower right corner.
            corners = word_sides(polygon)[[0, POINTS_PER_SIDE - 1, -1, POINTS_PER_SIDE]]
            width, height = _extent(corners)
            across, down = np.abs(corners[1] - corners[0])
            if height < _MIN_HEIGHT or down > across:
                continue
            image = load_image(dict(item), "BGR") if image is None else image
            yield _cut(image, corners, width, height, word["text"])


def make_collage(
    words: Sequence[Sequence[CutWord]],
    shares: Sequence[float],
    draws: Draws,
    *,
    size: tuple[int, int] = (512, 512),
    heights: tuple[float, float] = (10.0, 44.0),
) -> Collage:
    """A collage, a function of the state of `draws` alone.

    Rows of words of about one height from top to bottom, on a ground that is a word seen from much
    too near. Each word is stretched, turned by a few degrees, made lighter or darker, sometimes
    inverted, grey or out of focus; the whole gets a sensor's noise.

    Args:
        words: of one or more sources.
        shares: relative frequency of each source.
        size: height and width in pixels.
        heights: smallest and largest height of words in pixels; smaller is drawn more often
            (log-uniform).

    Raises:
        ValueError: if a source of positive share has no words.
    """
    if any(share > 0 and not source for share, source in zip(shares, words, strict=True)):
        raise ValueError("there are no readable words to make collages of")
    weights = dict(enumerate(shares))
    height, width = size
    image = _ground(draws.pick(words[draws.pick_weighted(weights)]), size, draws)
    polygons, texts = [], []
    y = draws.uniform(2, 8)
    while True:
        row = draws.log_uniform(*heights)
        if y + 1.8 * row > height:
            break
        x, misses, lowest = draws.uniform(0, row), 0, y
        while misses < _TRIES:
            word = draws.pick(words[draws.pick_weighted(weights)])
            patch, polygon = _vary(word, row * draws.uniform(0.8, 1.1), draws)
            if x + patch.shape[1] > width or y + patch.shape[0] > height:
                misses += 1
                continue
            left, top = int(x), int(y)
            image[top : top + patch.shape[0], left : left + patch.shape[1]] = patch
            polygons.append(polygon + np.array([left, top]))
            texts.append(word.text)
            x = left + patch.shape[1] + draws.uniform(0, 0.5) * row
            lowest = max(lowest, top + patch.shape[0])
        if lowest == y:
            break
        y = lowest + draws.uniform(0, 0.3) * row
    noise = draws.uniform(0, 10) * (draws.array(height, width, 1) - 0.5)
    image = np.clip(image + noise, 0, 255).astype(np.uint8)
    return Collage(image, polygons, texts)


def _extent(corners: np.ndarray) -> tuple[float, float]:
    """Width and height in pixels of corners in clockwise order."""
    edges = np.linalg.norm(np.roll(corners, -1, axis=0) - corners, axis=1)
    return float(edges[[0, 2]].mean()), float(edges[[1, 3]].mean())


def _cut(image: np.ndarray, corners: np.ndarray, width: float, height: float, text: str) -> CutWord:
    scale = min(1.0, _MAX_HEIGHT / height)
    width, height = max(2.0, width * scale), height * scale
    margin = _MARGIN * height
    box = (margin, margin, margin + width, margin + height)
    x0, y0, x1, y1 = box
    to = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=np.float32)
    matrix = cv2.getPerspectiveTransform(corners.astype(np.float32), to)
    size = (int(np.ceil(x1 + margin)), int(np.ceil(y1 + margin)))
    picture = cv2.warpPerspective(
        image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    return CutWord(text, cv2.imencode(".jpg", picture, options)[1].tobytes(), box)


def _ground(word: CutWord, size: tuple[int, int], draws: Draws) -> np.ndarray:
    """(H, W, 3) float32: colours and soft forms of a photograph, and nothing to read."""
    near = cv2.resize(_decode(word), (4, 3), interpolation=cv2.INTER_AREA)
    ground = cv2.resize(near, size[::-1], interpolation=cv2.INTER_CUBIC).astype(np.float32)
    rough = cv2.resize(draws.array(size[0] // 4, size[1] // 4, 1), size[::-1])
    return ground + draws.uniform(0, 30) * (rough[:, :, None] - 0.5)


def _vary(word: CutWord, height: float, draws: Draws) -> tuple[np.ndarray, np.ndarray]:
    """A picture of the word at about a height, and its corners in it.

    Returns:
        (H, W, 3) float32 and (4, 2) float64.
    """
    picture = _decode(word)
    x0, y0, x1, y1 = word.box
    scale = height / (y1 - y0)
    stretch = scale * draws.log_uniform(0.8, 1.25)
    angle = np.deg2rad(draws.uniform(-7, 7) if draws.chance(0.7) else 0.0)
    shear = draws.uniform(-0.25, 0.25) if draws.chance(0.5) else 0.0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.array([[stretch, shear * scale], [0.0, scale]])
    corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    laid = corners @ linear.T
    margin = 0.15 * height
    low, high = laid.min(axis=0) - margin, laid.max(axis=0) + margin
    size = np.ceil(high - low).astype(int)
    matrix = np.hstack([linear, -low[:, None]])
    if scale < 0.7:
        # What is made smaller would flicker where one pixel in two or three is taken.
        picture = cv2.GaussianBlur(picture, (0, 0), 0.4 / scale)
    patch = cv2.warpAffine(
        picture,
        matrix,
        tuple(size.tolist()),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    ).astype(np.float32)
    return _recolour(patch, height, draws), laid - low


def _recolour(patch: np.ndarray, height: float, draws: Draws) -> np.ndarray:
    if draws.chance(0.1):
        patch = 255 - patch
    if draws.chance(0.1):
        patch = np.repeat(patch.mean(axis=2, keepdims=True), 3, axis=2)
    mean = patch.mean()
    patch = (patch - mean) * draws.uniform(0.6, 1.4) + mean + draws.uniform(-40, 40)
    patch = patch * (1 + 0.2 * (draws.array(3) - 0.5))
    if draws.chance(0.3):
        patch = cv2.GaussianBlur(patch, (0, 0), draws.uniform(0.02, 0.06) * height)
    return patch


def _decode(word: CutWord) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(word.picture, dtype=np.uint8), cv2.IMREAD_COLOR)
