"""Drawing the blocks of a scene: boards, letters, pictures of words."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dld_d2.synthetic.compose import Block, BlockWord, Style, run_of
from dld_d2.synthetic.config import SceneConfig
from dld_d2.synthetic.draws import Draws
from dld_d2.synthetic.fonts import EM
from dld_d2.synthetic.layout import PlacedBlock
from dld_d2.synthetic.placement import Arc, Placement, Plane
from dld_d2.synthetic.texture import color_of_luma, luma, white_noise

__all__ = ["coverage", "draw_block"]

_SUBPIXEL_BITS = 4


@dataclass(frozen=True)
class _Part:
    """A rectangle of the image: rows and columns that it covers."""

    rows: slice
    columns: slice

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    @property
    def corner(self) -> tuple[int, int]:
        """x and y."""
        return self.columns.start, self.rows.start

    def of(self, image: np.ndarray) -> np.ndarray:
        return image[self.rows, self.columns]


def draw_block(canvas: np.ndarray, placed: PlacedBlock, config: SceneConfig, draws: Draws) -> None:
    """Draw a block.

    Args:
        canvas: (H, W, 3) float32 BGR, changed in place.
    """
    if placed.block.crop is not None:
        _draw_crop(canvas, placed, draws)
        return
    block, placement = placed.block, placed.placement
    outline = placement.polygon(block.box)
    part = _part_around(outline, canvas.shape[:2])
    if part is None:
        return
    board = _fill(outline, part)
    if block.panel:
        _draw_board(canvas, part, board, block, draws)
    color = _ink_color(canvas, part, board, placed, config, draws)
    ground = luma(np.array(cv2.mean(part.of(canvas), cv2.compare(board, 128, cv2.CMP_GT))[:3]))
    edge = _opposite(draws, float(luma(color)), float(ground))
    if placed.faint:
        edge = None
    opacity = draws.uniform(0.88, 1.0)
    fade = draws.uniform(-18, 18) if draws.chance(0.3) and not placed.faint else 0.0
    for word in block.words:
        _draw_word(canvas, word, block.style, placement, color, edge, opacity, fade, draws)


def coverage(
    word: BlockWord, style: Style, placement: Placement, shape: tuple[int, int], border: float = 0.0
) -> tuple[_Part, np.ndarray] | None:
    """How much of each pixel the letters of a word cover.

    Args:
        shape: height and width of the image.
        border: pixels of empty border to include.

    Returns:
        The part of the image around the word and its (h, w) uint8 coverage; None outside.
    """
    part = _part_around(placement.polygon(word.box), shape, border)
    if part is None:
        return None
    mask, left, top = style.font.mask(word.text, run_of(word, style))
    scale_x, scale_y = word.size * style.stretch / EM, word.size / EM  # mask to block pixels
    x = word.x + left * scale_x
    y = word.y + top * scale_y
    mask, scale_x, scale_y = _shrunk(mask, scale_x, scale_y, word, placement)
    if isinstance(placement, Plane):
        to_block = np.array([[scale_x, 0, x], [0, scale_y, y], [0, 0, 1]])
        return part, _warp(mask, placement.matrix @ to_block, part)
    return part, _bend(mask, placement, (scale_x, scale_y, x, y), part)


def _shrunk(
    mask: np.ndarray, scale_x: float, scale_y: float, word: BlockWord, placement: Placement
) -> tuple[np.ndarray, float, float]:
    """Averages a mask to about the size that it has in the image, as a lens does."""
    x0, y0, x1, y1 = word.box
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    d = 0.5
    points = placement(np.array([(x - d, y), (x + d, y), (x, y - d), (x, y + d)]))
    along, across = (float(np.hypot(*(points[i + 1] - points[i]))) for i in (0, 2))
    height, width = mask.shape
    small_w = min(width, max(2, round(width * scale_x * along * 1.15)))
    small_h = min(height, max(2, round(height * scale_y * across * 1.15)))
    if (small_h, small_w) == (height, width):
        return mask, scale_x, scale_y
    small = cv2.resize(mask, (small_w, small_h), interpolation=cv2.INTER_AREA)
    return small, scale_x * width / small_w, scale_y * height / small_h


def _warp(picture: np.ndarray, matrix: np.ndarray, part: _Part) -> np.ndarray:
    """Apply a homography of coordinates in which pixel (0, 0) covers [0, 1] x [0, 1]."""
    x, y = part.corner
    to_part = np.array([[1, 0, -x - 0.5], [0, 1, -y - 0.5], [0, 0, 1]])
    to_continuous = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    height, width = part.shape
    return cv2.warpPerspective(
        picture, to_part @ matrix @ to_continuous, (width, height), flags=cv2.INTER_LINEAR
    )


def _bend(
    mask: np.ndarray, arc: Arc, scale: tuple[float, float, float, float], part: _Part
) -> np.ndarray:
    scale_x, scale_y, x, y = scale
    left, top = part.corner
    height, width = part.shape
    columns, rows = left + 0.5 + np.arange(width), top + 0.5 + np.arange(height)
    block = arc.inverse(np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2))
    map_x = ((block[:, 0] - x) / scale_x - 0.5).reshape(height, width).astype(np.float32)
    map_y = ((block[:, 1] - y) / scale_y - 0.5).reshape(height, width).astype(np.float32)
    return cv2.remap(mask, map_x, map_y, cv2.INTER_LINEAR)


def _part_around(polygon: np.ndarray, shape: tuple[int, int], border: float = 0.0) -> _Part | None:
    low = np.maximum(np.floor(polygon.min(axis=0) - border), 0).astype(int)
    high = np.minimum(np.ceil(polygon.max(axis=0) + border), (shape[1], shape[0])).astype(int)
    if (high - low < 1).any():
        return None
    return _Part(slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0])))


def _fill(polygon: np.ndarray, part: _Part) -> np.ndarray:
    """(h, w) uint8 coverage of a polygon."""
    mask = np.zeros(part.shape, dtype=np.uint8)
    points = np.rint((polygon - part.corner - 0.5) * 2**_SUBPIXEL_BITS).astype(np.int32)
    cv2.fillPoly(mask, [points], 255, cv2.LINE_AA, _SUBPIXEL_BITS)
    return mask


def _blend(image: np.ndarray, mask: np.ndarray, color: np.ndarray, opacity: float = 1.0) -> None:
    """Paint `color`, (3,) or (h, w, 3), where the uint8 `mask` is, in place."""
    alpha = cv2.merge([mask.astype(np.float32) * (opacity / 255)] * 3)
    difference = color - image
    difference *= alpha
    image += difference


def _draw_board(
    canvas: np.ndarray, part: _Part, board: np.ndarray, block: Block, draws: Draws
) -> None:
    image = part.of(canvas)
    color = color_of_luma(draws, draws.uniform(8, 247))
    surface = np.broadcast_to(color, image.shape).astype(np.float32, order="C")
    if draws.chance(0.4):
        shade = np.linspace(-1, 1, image.shape[0], dtype=np.float32) * draws.uniform(-20, 20)
        surface += shade[:, None, None]
    if draws.chance(0.5):
        surface += (draws.uniform(1, 6) * white_noise(draws, *image.shape[:2]))[..., None]
    _blend(image, board, surface, draws.pick((1.0, 1.0, draws.uniform(0.75, 1.0))))
    if draws.chance(0.4) and block.padding > 3:
        # A frame just inside the board's edge.
        width = max(1, round(block.padding * draws.uniform(0.1, 0.3)))
        inner = cv2.erode(board, np.ones((2 * width + 1, 2 * width + 1), np.uint8))
        frame = color_of_luma(draws, draws.uniform(8, 247))
        if abs(float(luma(frame) - luma(color))) > 40:
            _blend(image, cv2.subtract(board, inner), frame)


def _ink_color(
    canvas: np.ndarray,
    part: _Part,
    board: np.ndarray,
    placed: PlacedBlock,
    config: SceneConfig,
    draws: Draws,
) -> np.ndarray:
    """A colour that stands out from all of the ground as configured, or just not for faint blocks.

    Where the ground is too varied for any colour to stand out, it is evened out first.
    """
    low, high = config.contrast
    if placed.faint:
        contrast = draws.uniform(4, 9)
    elif draws.chance(config.low_contrast):
        contrast = draws.uniform(low, low + (high - low) / 5)
    else:
        contrast = draws.uniform(low, high)
    darkest, brightest = _luma_range(part.of(canvas), board)
    room = max(darkest, 255 - brightest)
    needed = contrast if placed.faint else low
    if room < needed:
        target = draws.pick((draws.uniform(5, 255 - low - 5), draws.uniform(low + 5, 250)))
        _even_out(part.of(canvas), board, color_of_luma(draws, target))
        darkest, brightest = _luma_range(part.of(canvas), board)
        room = max(darkest, 255 - brightest)
    contrast = min(contrast, room)
    choices = []
    if darkest >= contrast:
        choices.append(darkest - contrast)
    if 255 - brightest >= contrast:
        choices.append(brightest + contrast)
    return color_of_luma(draws, draws.pick(choices))


def _luma_range(image: np.ndarray, board: np.ndarray) -> tuple[float, float]:
    """Nearly the darkest and brightest luma of an area, in cells of a few pixels."""
    height, width = board.shape
    size = (max(1, width // 4), max(1, height // 4))
    cells = luma(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    inside = cv2.resize(board, size, interpolation=cv2.INTER_AREA) > 128
    values = cells[inside] if inside.any() else cells
    low, high = np.percentile(values, (3, 97))
    return float(np.clip(low, 0, 255)), float(np.clip(high, 0, 255))


def _even_out(image: np.ndarray, board: np.ndarray, color: np.ndarray) -> None:
    """Lay a translucent sheet with soft edges over the ground, dense enough to hide its variety."""
    soft = cv2.GaussianBlur(board, (0, 0), 2.0)
    darkest, brightest = _luma_range(image, board)
    # What shows through may vary by some 25 levels of luma.
    _blend(image, soft, color, max(0.6, 1 - 25 / max(brightest - darkest, 1.0)))


def _opposite(draws: Draws, ink: float, ground: float) -> np.ndarray:
    """A colour for outlines and shadows, on the ground's side of the ink's luma."""
    if ink > ground:
        return color_of_luma(draws, draws.uniform(0, max(0.0, ground - 10)), 0.3)
    return color_of_luma(draws, draws.uniform(min(255.0, ground + 10), 255), 0.3)


def _draw_word(
    canvas: np.ndarray,
    word: BlockWord,
    style: Style,
    placement: Placement,
    color: np.ndarray,
    edge: np.ndarray | None,
    opacity: float,
    fade: float,
    draws: Draws,
) -> None:
    found = coverage(word, style, placement, canvas.shape[:2], border=0.15 * word.cap + 2)
    if found is None:
        return
    part, mask = found
    image = part.of(canvas)
    if style.shadow and edge is not None:
        distance = word.cap * 0.07
        x, y = draws.uniform(-distance, distance), draws.uniform(0, distance)
        shifted = cv2.warpAffine(mask, np.array([[1, 0, x], [0, 1, y]]), mask.shape[::-1])
        _blend(image, cv2.GaussianBlur(shifted, (0, 0), max(0.5, 0.03 * word.cap)), edge, 0.7)
    if style.outline and edge is not None:
        _blend(image, _widened(mask, style.outline * word.size), edge)
    ink = color
    if fade:
        shade = np.linspace(-fade, fade, mask.shape[0], dtype=np.float32)
        ink = color + shade[:, None, None]
    _blend(image, mask, ink, opacity)


def _widened(mask: np.ndarray, by: float) -> np.ndarray:
    """A mask grown by a number of pixels, which need not be whole."""
    whole = int(by)
    grown = mask
    if whole:
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * whole + 1, 2 * whole + 1))
        grown = cv2.dilate(mask, disc)
    rest = by - whole
    if rest > 0.05:
        wider = cv2.dilate(grown, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)))
        grown = cv2.addWeighted(grown, 1 - rest, wider, rest, 0)
    return grown


def _draw_crop(canvas: np.ndarray, placed: PlacedBlock, draws: Draws) -> None:
    """Paste the picture of a word with soft edges."""
    crop, word = placed.block.crop, placed.block.words[0]
    polygon = placed.placement.polygon(word.box)
    part = _part_around(polygon, canvas.shape[:2])
    if part is None:
        return
    picture = cv2.imread(crop.path, cv2.IMREAD_COLOR)
    if picture is None:
        raise OSError(f"{crop.path}: cannot be read as the picture of a word")
    height = max(2, round(1.15 * (word.box[3] - word.box[1])))
    if height < picture.shape[0]:
        width = max(2, round(picture.shape[1] * height / picture.shape[0]))
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    x0, y0, x1, y1 = word.box
    scale = np.array([[(x1 - x0) / picture.shape[1], 0, x0], [0, (y1 - y0) / picture.shape[0], y0]])
    # A border of repeated pixels, so that interpolation does not darken the edges.
    picture = cv2.copyMakeBorder(picture, 2, 2, 2, 2, cv2.BORDER_REPLICATE)
    shift = np.array([[1, 0, -2], [0, 1, -2], [0, 0, 1]])
    matrix = placed.placement.matrix @ np.vstack([scale, [0, 0, 1]]) @ shift
    warped = _warp(picture, matrix, part).astype(np.float32)
    mask = _fill(polygon, part)
    sigma = draws.uniform(0.4, 1.2)
    soft = cv2.min(cv2.GaussianBlur(mask, (0, 0), sigma), mask)
    _blend(part.of(canvas), soft, warped)
