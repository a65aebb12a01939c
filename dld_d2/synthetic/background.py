"""Grounds that words stand on: drawn ones, or parts of photographs."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from dld_d2.data.image_size import IMAGE_SUFFIXES
from dld_d2.data.report import AnnotationError
from dld_d2.synthetic.config import SceneConfig
from dld_d2.synthetic.draws import Draws
from dld_d2.synthetic.texture import color_of_luma, smooth_field, texture

__all__ = ["make_background"]


def make_background(config: SceneConfig, draws: Draws) -> np.ndarray:
    """(height, width, 3) float32 BGR.

    Raises:
        AnnotationError: if the configured folder holds no image, or an unreadable one.
    """
    height, width = config.height, config.width
    if config.backgrounds is not None and draws.chance(config.background_share):
        return _photograph(os.fspath(config.backgrounds), draws, height, width)
    kind = draws.pick_weighted(_KINDS)
    image = np.clip(kind(draws, height, width), 0, 255).astype(np.uint8, order="C")
    if draws.chance(0.5):
        _add_distractors(draws, image)
    image = image.astype(np.float32)
    if draws.chance(0.5):
        # Out of focus, as what is behind a sign often is.
        sigma = draws.log_uniform(0.6, 6)
        image = cv2.GaussianBlur(image, (0, 0), sigma) if sigma < 2 else _strong_blur(image, sigma)
    return image


def _strong_blur(image: np.ndarray, sigma: float) -> np.ndarray:
    height, width = image.shape[:2]
    small = cv2.resize(image, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / 4)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def _dull_color(draws: Draws, target: float) -> np.ndarray:
    """(3,) float32 BGR of this luma, rarely vivid: walls, streets and plants are not."""
    return color_of_luma(draws, target, 0.75 * draws.unit() ** 2)


def _flat(draws: Draws, height: int, width: int) -> np.ndarray:
    color = _dull_color(draws, draws.uniform(15, 240))
    return np.broadcast_to(color, (height, width, 3)).astype(np.float32, order="C")


def _wall(draws: Draws, height: int, width: int) -> np.ndarray:
    """Plaster, concrete or paper, stained."""
    image = _flat(draws, height, width)
    grain = texture(draws, height, width, roughness=draws.uniform(0.3, 0.9))
    image += (draws.uniform(2, 22) * grain)[..., None]
    if draws.chance(0.5):
        stain = np.clip(texture(draws, height, width, finest=64) - draws.uniform(-0.5, 1.2), 0, 1)
        other = _dull_color(draws, draws.uniform(15, 240))
        image += (draws.uniform(0.2, 0.8) * stain)[..., None] * (other - image)
    return image


def _gradient(draws: Draws, height: int, width: int) -> np.ndarray:
    """From one colour to another, like a lit surface, a screen or the sky."""
    corners = np.stack([_dull_color(draws, draws.uniform(15, 240)) for _ in range(2)])
    if draws.chance(0.5):
        corners = corners[[0, 0, 1, 1]].reshape(2, 2, 3)
    else:
        corners = corners[[0, 1, 0, 1]].reshape(2, 2, 3)
    if draws.chance(0.5):
        corners = corners[::-1]
    image = cv2.resize(np.ascontiguousarray(corners), (width, height))
    image += (draws.uniform(0, 6) * texture(draws, height, width))[..., None]
    return image


def _masonry(draws: Draws, height: int, width: int) -> np.ndarray:
    """Bricks, tiles or planks with joints."""
    row = draws.integer(14, 90)
    column = draws.pick((row, 2 * row, 3 * row, 8 * row))
    shift = 0 if column == row else draws.pick((0, column // 2))
    rows, columns = -(-height // row) + 1, -(-width // column) + 2
    shade = draws.uniform(2, 18) * (draws.array(rows, columns) * 2 - 1)
    y, x = np.arange(height), np.arange(width)
    row_of = y // row
    x_of = x[None, :] + (shift * (row_of % 2))[:, None]
    image = _flat(draws, height, width) + shade[row_of[:, None], x_of // column][..., None]
    joint = draws.integer(1, max(1, row // 10))
    is_joint = ((y % row) < joint)[:, None] | ((x_of % column) < joint)
    image[is_joint] = color_of_luma(draws, draws.uniform(20, 220), 0.15)
    image += (draws.uniform(2, 14) * texture(draws, height, width, roughness=0.8))[..., None]
    return _tilted(draws, image)


def _tilted(draws: Draws, image: np.ndarray) -> np.ndarray:
    """Seen at an angle."""
    height, width = image.shape[:2]
    if draws.chance(0.4):
        return image
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=np.float32)
    # Corners move outwards only, so that no part of the image stays empty.
    outwards = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], dtype=np.float32)
    moved = corners + outwards * draws.array(4, 2) * (0.35 * width, 0.35 * height)
    matrix = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
    return cv2.warpPerspective(image, matrix, (width, height), flags=cv2.INTER_LINEAR)


def _foliage(draws: Draws, height: int, width: int) -> np.ndarray:
    """Leaves, gravel, carpet: strong texture in two or three colours."""
    low = _dull_color(draws, draws.uniform(10, 110))
    high = _dull_color(draws, draws.uniform(60, 200))
    roughness = draws.uniform(0.7, 1.3)
    field = 1 / (1 + np.exp(-1.5 * texture(draws, height, width, roughness=roughness)))
    image = low + field[..., None] * (high - low)
    tint = smooth_field(draws, height, width, draws.integer(2, 8))
    image += tint[..., None] * (_dull_color(draws, 100) - 100) * 0.4
    return image


def _street(draws: Draws, height: int, width: int) -> np.ndarray:
    """Sky, houses with windows, and ground."""
    image = _gradient(draws, height, width)
    horizon = int(height * draws.uniform(0.55, 0.95))
    image[horizon:] = color_of_luma(draws, draws.uniform(40, 150), 0.2)
    canvas = np.clip(image, 0, 255).astype(np.uint8, order="C")
    x = -draws.integer(0, width // 4)
    while x < width:
        house = draws.integer(width // 6, width // 2)
        top = int(horizon * draws.uniform(-0.2, 0.7))
        wall = color_of_luma(draws, draws.uniform(40, 220), 0.5 * draws.unit())
        cv2.rectangle(canvas, (x, top), (x + house, horizon), wall.tolist(), -1)
        _windows(draws, canvas, x, top, house, horizon - top)
        x += house
    image = canvas.astype(np.float32)
    image += (draws.uniform(3, 12) * texture(draws, height, width, roughness=0.9))[..., None]
    return image


def _windows(draws: Draws, canvas: np.ndarray, x: int, y: int, width: int, height: int) -> None:
    pane = _dull_color(draws, draws.uniform(20, 210)).tolist()
    step = draws.integer(28, 80)
    w, h = int(step * draws.uniform(0.35, 0.7)), int(step * draws.uniform(0.4, 0.8))
    for top in range(y + step // 3, y + height - h, step):
        for left in range(x + step // 4, x + width - w, step):
            cv2.rectangle(canvas, (left, top), (left + w, top + h), pane, -1)


def _clutter(draws: Draws, height: int, width: int) -> np.ndarray:
    """Many things of many colours, like goods on shelves."""
    canvas = np.clip(_wall(draws, height, width), 0, 255).astype(np.uint8, order="C")
    for _ in range(draws.integer(10, 45)):
        _shape(draws, canvas, draws.log_uniform(0.03, 0.4))
    image = canvas.astype(np.float32)
    image += (draws.uniform(2, 8) * texture(draws, height, width, roughness=0.9))[..., None]
    return image


_KINDS = {
    _wall: 0.24,
    _gradient: 0.14,
    _masonry: 0.17,
    _foliage: 0.13,
    _street: 0.16,
    _clutter: 0.16,
}


def _shape(draws: Draws, canvas: np.ndarray, size: float) -> None:
    """A filled rectangle, ellipse or line of about `size` of the image."""
    height, width = canvas.shape[:2]
    color = color_of_luma(draws, draws.uniform(10, 245)).tolist()
    center = (draws.uniform(0, width), draws.uniform(0, height))
    axes = (size * width * draws.uniform(0.3, 1), size * height * draws.uniform(0.3, 1))
    angle = draws.pick((0.0, 0.0, draws.uniform(0, 180)))
    kind = draws.integer(0, 2)
    if kind == 0:
        corners = cv2.boxPoints((center, axes, angle))
        cv2.fillConvexPoly(canvas, corners.astype(np.int32), color, cv2.LINE_AA)
    elif kind == 1:
        cv2.ellipse(canvas, (center, axes, angle), color, -1, cv2.LINE_AA)
    else:
        x, y = np.cos(np.radians(angle)) * axes[0], np.sin(np.radians(angle)) * axes[0]
        ends = [(round(center[0] + s * x), round(center[1] + s * y)) for s in (-1, 1)]
        cv2.line(canvas, *ends, color, draws.integer(1, 8), cv2.LINE_AA)


def _add_distractors(draws: Draws, canvas: np.ndarray) -> None:
    """Things that a detector may take for words: stripes, rings, arrows, grids, poles."""
    height, width = canvas.shape[:2]
    for _ in range(draws.integer(1, 4)):
        color = color_of_luma(draws, draws.uniform(10, 245)).tolist()
        x, y = draws.integer(0, width), draws.integer(0, height)
        size = int(draws.log_uniform(12, 90))
        thickness = max(1, size // draws.integer(5, 14))
        kind = draws.integer(0, 4)
        if kind == 0:
            for i in range(draws.integer(3, 9)):
                at = x + i * size // 2
                cv2.line(canvas, (at, y), (at, y + size), color, thickness, cv2.LINE_AA)
        elif kind == 1:
            cv2.circle(canvas, (x, y), size // 2, color, thickness, cv2.LINE_AA)
        elif kind == 2:
            end = (x + draws.integer(-size, size), y + draws.integer(-size, size))
            cv2.arrowedLine(canvas, (x, y), end, color, thickness, cv2.LINE_AA, tipLength=0.4)
        elif kind == 3:
            step = max(4, size // 4)
            for at in range(0, size, step):
                cv2.line(canvas, (x + at, y), (x + at, y + size), color, 1, cv2.LINE_AA)
                cv2.line(canvas, (x, y + at), (x + size, y + at), color, 1, cv2.LINE_AA)
        else:
            lean = draws.integer(-width // 8, width // 8)
            cv2.line(canvas, (x, 0), (x + lean, height), color, size // 2, cv2.LINE_AA)


@lru_cache(maxsize=4)
def _photographs(folder: str) -> tuple[str, ...]:
    paths = sorted(
        path
        for path in Path(folder).rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
    )
    if not paths:
        raise AnnotationError(f"{folder}: holds no images to use as backgrounds")
    return tuple(map(str, paths))


def _photograph(folder: str, draws: Draws, height: int, width: int) -> np.ndarray:
    """A random part of a random photograph, not enlarged more than needed to fill the image."""
    path = draws.pick(_photographs(folder))
    image = cv2.imread(path, cv2.IMREAD_COLOR)
    if image is None:
        raise AnnotationError(f"{path}: cannot be read as an image to use as a background")
    least = max(height / image.shape[0], width / image.shape[1])
    scale = max(least, draws.log_uniform(least, max(least, min(1.0, 2.5 * least))))
    tall, wide = (
        min(image.shape[0], round(height / scale)),
        min(image.shape[1], round(width / scale)),
    )
    y, x = draws.integer(0, image.shape[0] - tall), draws.integer(0, image.shape[1] - wide)
    part = image[y : y + tall, x : x + wide]
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    part = cv2.resize(part, (width, height), interpolation=interpolation)
    if draws.chance(0.5):
        part = part[:, ::-1]
    return np.ascontiguousarray(part).astype(np.float32)
